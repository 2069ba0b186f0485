"""The Flower bridge around real strategies and ClientApps, on a grid within one process (`flower/scenarios.py`)."""

from collections import Counter

import pytest
from flower_scenarios import Scenarios

from fedsight.events import ClientEvent, ClientUpdate, Log, RoundEnd, RoundStart, RunEnd, RunStart, ServerInfo, Text
from fedsight.summary import summarize

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]

STRATEGIES = ["FedAvg", "FedAdam", "FedProx", "FedMedian", "Krum", "DP server side", "DP client side", "DP adaptive"]


@pytest.fixture(scope="module", params=["flower", "flower-1.30"])
def scenarios(request, tmp_path_factory):
    return Scenarios(request.param, "scenarios.py", tmp_path_factory.mktemp("scenarios"))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_training_gives_the_same_bits_with_and_without_the_bridge(scenarios, name):
    without, with_it = scenarios.results[f"with and without {name}"]
    assert with_it == without


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_is_recorded_whole_with_flowers_privacy_mods_beside_ours(scenarios, name):
    assert scenarios.events(name, ClientEvent) == []
    assert scenarios.events(name, Log) == []
    assert [event.round for event in scenarios.events(name, RoundEnd)] == [0, 1, 2, 3]
    assert all(update.ram_mb > 0 for update in scenarios.events(name, ClientUpdate) if update.status == "active")


def test_a_run_names_strategy_framework_and_the_strategys_own_parameters(scenarios):
    (start,) = scenarios.events("plain", RunStart)
    assert (start.algorithm, start.framework) == ("FedAvg", "flower")
    assert start.config["min_available_nodes"] == 2
    (wrapped,) = scenarios.events("DP server side", RunStart)
    assert wrapped.algorithm == "DifferentialPrivacyServerSideFixedClipping"
    assert wrapped.config["strategy"]["class"] == "FedAvg"
    (server,) = scenarios.events("plain", ServerInfo)
    assert server.metrics == {"num_rounds": 3}
    assert server.extra["flower_version"]


def test_rounds_carry_the_servers_evaluation_and_the_clients_aggregates(scenarios):
    before, first, *_ = scenarios.events("plain", RoundEnd)
    assert (before.round, before.global_accuracy, before.global_loss) == (0, 0.0, 1.0)
    assert (first.round, first.global_accuracy, first.global_loss) == (1, 0.1, 0.9)
    assert first.metrics["train_loss"] == 0.7  # of train_metrics_aggr_fn
    assert (first.metrics["eval_loss"], first.metrics["eval_acc"]) == (0.5, 0.25)
    assert first.metrics["server_perplexity"] == 3.0
    assert first.metrics["num_available"] == 4
    for duration in (
        first.aggregation_time_sec,
        first.round_duration_sec,
        *(first.metrics[f"{phase}_{what}_sec"] for phase in ("train", "eval") for what in ("configure", "phase")),
        first.metrics["eval_aggregation_sec"],
        first.metrics["server_eval_sec"],
    ):
        assert 0 <= duration < 60
    assert first.total_bytes_up == first.metrics["train_bytes_up"] + first.metrics["eval_bytes_up"]
    assert first.total_bytes_down == first.metrics["train_bytes_down"] + first.metrics["eval_bytes_down"]


def test_without_an_evaluate_fn_the_clients_evaluation_is_the_global_one(scenarios):
    rounds = scenarios.events("without_mod", RoundEnd)
    assert [(each.round, each.global_accuracy, each.global_loss) for each in rounds] == [
        (1, 0.25, 0.5),
        (2, 0.25, 0.5),
        (3, 0.25, 0.5),
    ]


def test_a_clients_update_has_its_metrics_bytes_times_and_resources(scenarios):
    train = next(u for u in scenarios.events("plain", ClientUpdate) if u.client_id == "partition-1")
    assert (train.status, train.local_accuracy, train.local_loss, train.num_samples) == ("active", 0.2, 0.5, 20)
    assert train.metrics["f1"] == 0.5
    assert train.bytes_sent > 0
    assert train.bytes_received > 0
    assert train.train_time_sec > 0
    assert train.cpu_pct > 0
    assert train.ram_mb > 10
    assert train.metrics["train_reply_sec"] >= 0
    assert train.extra == {"partition_id": "1", "node_id": "12"}


def test_an_evaluation_adds_to_the_same_clients_round(scenarios):
    _, evaluation, *_ = (u for u in scenarios.events("plain", ClientUpdate) if u.client_id == "partition-1")
    assert (evaluation.round, evaluation.status, evaluation.local_accuracy) == (1, None, None)
    assert (evaluation.metrics["eval_loss"], evaluation.metrics["eval_acc"]) == (0.5, 0.25)
    assert evaluation.metrics["eval_num_samples"] == 4
    assert evaluation.metrics["eval_time_sec"] > 0
    train = next(u for u in scenarios.events("plain", ClientUpdate) if u.client_id == "partition-1")
    assert evaluation.bytes_sent > train.bytes_sent
    assert evaluation.bytes_received > train.bytes_received


def test_clients_that_only_evaluate_are_idle_and_do_not_count_as_taking_part(scenarios):
    summary = summarize(scenarios.events("FedAvg"))[1]  # fraction_train=0.5
    assert (summary.num_selected, summary.num_completed, summary.participation_rate) == (2, 2, 1.0)
    statuses = Counter(u.status for u in scenarios.events("FedAvg", ClientUpdate) if u.round == 1)
    assert statuses == {"active": 2, "idle": 2, None: 2}


def test_without_the_mod_clients_are_called_by_their_node_ids_as_text(scenarios):
    clients = {update.client_id for update in scenarios.events("without_mod", ClientUpdate)}
    assert clients == {"9007199254740993", "12", "13", "14"}
    assert all(update.train_time_sec is None for update in scenarios.events("without_mod", ClientUpdate))


def test_with_the_mod_a_client_has_its_name_from_its_first_reply_on(scenarios):
    first, second, *_ = scenarios.events("plain", RoundStart)
    assert set(first.selected) == {"9007199254740993", "12", "13", "14"}
    assert set(second.selected) == {"partition-0", "partition-1", "partition-2", "partition-3"}


def test_the_mods_record_is_taken_out_before_the_aggregation(scenarios):
    assert scenarios.results["plain"] == [["arrays", "metrics"]] * 12


def test_who_failed_and_why_is_recorded_a_dead_node_by_its_own_name(scenarios):
    train = {e.client_id: e for e in scenarios.events("failures", ClientEvent) if e.reason.startswith("train: ")}
    assert {client: (e.event, e.round) for client, e in train.items()} == {
        "partition-1": ("dropout", 2),
        "partition-2": ("comm_failure", 2),
        "partition-3": ("comm_failure", 2),
    }
    assert "CLIENT_APP_RAISED_EXCEPTION (code 2): " in train["partition-1"].reason
    assert "out of GPU memory" in train["partition-1"].reason
    assert train["partition-2"].reason == "train: NODE_UNAVAILABLE (code 5): the node is gone"
    assert train["partition-3"].reason.startswith("train: NO_REPLY: nothing came within 0.3")
    codes = {
        u.client_id: u.metrics.get("error_code")
        for u in scenarios.events("failures", ClientUpdate)
        if u.status in ("failed", "dropped") and u.metrics
    }
    assert codes == {"partition-1": 2, "partition-2": 5}


def test_a_failed_client_does_not_count_as_completed_even_if_it_evaluates_later(scenarios):
    summary = summarize(scenarios.events("failures"))[2]
    assert (summary.num_selected, summary.num_completed) == (4, 1)
    assert (summary.num_dropouts, summary.num_failures) == (1, 2)


def test_a_strategy_that_waits_for_clients_is_said_to_wait_and_then_to_go_on(scenarios):
    said = [(e.event, e.message) for e in scenarios.events("waiting", Log) if "0 of 2" not in e.message]
    assert said[0] == (
        "waiting",
        "Round 1, train: the strategy has not chosen its clients yet: 1 connected, it wants at least 4",
    )
    assert "going_on" in [event for event, _ in said]
    waiting = scenarios.events("waiting", Log)[0]
    assert waiting.level == "warning"
    assert waiting.extra["waiting_sec"] >= 0.2
    assert (waiting.extra["round"], waiting.extra["phase"]) == (1, "train")


def test_clients_that_do_not_answer_are_named_while_they_are_waited_for(scenarios):
    assert any(
        event.event == "waiting" and event.message.startswith("Round 1, train: 0 of 2 clients have answered; not yet: ")
        for event in scenarios.events("waiting", Log)
    )


def test_an_error_of_the_bridge_never_reaches_the_training_is_logged_once_and_counted(scenarios):
    with_it, without = scenarios.results["broken_bridge"]
    assert with_it == without
    assert scenarios.said.count("the Flower bridge failed at recording a reply") == 1
    (told,) = scenarios.events("broken_bridge", Log)
    assert told.event == "errors"
    assert told.message.startswith("24 times something was not recorded")  # 4 clients, 2 phases, 3 rounds


def test_a_training_that_fails_ends_its_run_as_failed_with_the_reason(scenarios):
    assert scenarios.results["failing_training"] == "InconsistentMessageReplies"
    (end,) = scenarios.events("failing_training", RunEnd)
    assert end.status == "failed"
    assert end.error.startswith("InconsistentMessageReplies")


def test_each_start_of_a_strategy_is_a_run_of_its_own(scenarios):
    for name in ("started_twice", "started_twice-2"):
        (end,) = scenarios.events(name, RunEnd)
        assert end.status == "finished"
        assert len(scenarios.events(name, RoundEnd)) == 1


def test_a_run_that_was_given_stays_open_and_a_loop_without_start_is_recorded_too(scenarios):
    assert len(scenarios.events("own_loop", Text)) == 1
    assert [event.round for event in scenarios.events("own_loop", RoundStart)] == [1, 2]
    assert [event.round for event in scenarios.events("own_loop", RoundEnd)] == [
        1
    ]  # nobody said that the second is over


def test_what_cannot_be_watched_is_refused_with_the_remedy(scenarios):
    no_strategy, a_class, twice, no_run, run_and_options, seconds = scenarios.results["usage_errors"]
    assert no_strategy.startswith("strategy must be a strategy of flwr.serverapp.strategy or flwr.server.strategy")
    assert "not the class FedAvg" in a_class
    assert "watched already" in twice
    assert no_run.startswith("run must be a fedsight.Run, not 'ward'")
    assert "leave out project" in run_and_options
    assert seconds == "waiting_after_sec must be above 0, not 0."
