"""Which of a Flower app's metrics are the accuracy and the loss, and what the others are called."""

import pytest

from fedsight.integrations.flower import metric_names


@pytest.mark.parametrize(
    "name", ["accuracy", "acc", "train_acc", "val-Accuracy", "Test Accuracy", "local_train_acc", "eval/acc"]
)
def test_a_name_that_only_says_whose_accuracy_it_is_is_the_accuracy(name):
    assert metric_names.find({name: 0.9}, "accuracy", "train") == name
    assert metric_names.find({name: 0.9}, "loss", "train") is None


@pytest.mark.parametrize("name", ["top5_accuracy", "loss_weight", "regularisation_loss", "accuracy_std", "f1", ""])
def test_a_name_that_says_more_is_not(name):
    assert metric_names.find({name: 0.9}, "accuracy", "train") is None
    assert metric_names.find({name: 0.9}, "loss", "train") is None


def test_of_several_the_bare_one_is_preferred_then_the_one_of_the_phase():
    losses = {"val_loss": 1.0, "train_loss": 2.0}
    assert metric_names.find(losses, "loss", "train") == "train_loss"
    assert metric_names.find(losses, "loss", "evaluate") == "val_loss"
    assert metric_names.find(losses | {"loss": 3.0}, "loss", "train") == "loss"
    assert metric_names.find({"test_loss": 1.0, "eval_loss": 2.0}, "loss", "train") == "eval_loss"  # by the alphabet


def test_a_list_is_no_accuracy():
    assert metric_names.find({"accuracy": [0.1, 0.9]}, "accuracy", "train") is None


def test_metrics_of_evaluation_and_of_the_server_say_so():
    assert metric_names.of_evaluation({"f1": 1, "eval_acc": 2, "val-loss": 3, "loss": 4}) == {
        "eval_f1": 1,
        "eval_acc": 2,
        "val-loss": 3,
        "eval_loss": 4,
    }
    assert metric_names.of_server({"f1": 1, "central_f1": 2}) == {"server_f1": 1, "central_f1": 2}


def test_no_metric_takes_the_place_of_what_the_bridge_itself_records():
    assert metric_names.of_update({"round": 3, "client_id": 4, "gradient_norm": 2.0}) == {
        "train_round": 3,
        "train_client_id": 4,
        "gradient_norm": 2.0,
    }
    assert metric_names.of_round({"num_selected": 3, "global_loss": 0.5}) == {
        "train_num_selected": 3,
        "global_loss": 0.5,
    }


def test_bytes_and_long_lists_are_no_figures():
    metrics = {"key": b"secret", "confusion": [1] * 1000, "all_scores": [1] * 1001, "f1": 0.5, "note": "fine"}
    assert set(metric_names.recordable(metrics)) == {"confusion", "f1", "note"}
