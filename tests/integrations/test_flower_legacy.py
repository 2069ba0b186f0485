"""The Flower bridge around strategies of the older API, and beside SecAgg+ (`flower/legacy_scenarios.py`)."""

import pytest
from flower_scenarios import Scenarios

from fedsight.events import ClientEvent, ClientUpdate, Log, RoundEnd, RoundStart, RunEnd
from fedsight.summary import summarize

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["flower", "flower-1.30"])
def scenarios(request, tmp_path_factory):
    return Scenarios(request.param, "legacy_scenarios.py", tmp_path_factory.mktemp("legacy"))


def test_a_training_gives_the_same_bits_with_and_without_the_bridge(scenarios):
    without, with_it = scenarios.results["with_and_without"]
    assert with_it == without


def test_rounds_and_clients_are_recorded_as_with_the_message_api(scenarios):
    assert [event.round for event in scenarios.events("with_and_without", RoundEnd)] == [1, 2, 3]
    first, *_ = scenarios.events("with_and_without", RoundEnd)
    assert (first.global_accuracy, first.global_loss) == (0.25, 0.5)
    assert first.metrics["train_loss"] == 0.625
    assert first.aggregation_time_sec > 0
    update = next(u for u in scenarios.events("with_and_without", ClientUpdate) if u.client_id == "partition-1")
    assert (update.local_loss, update.local_accuracy, update.num_samples) == (0.5, 0.25, 8)
    assert update.bytes_sent > 0
    assert update.bytes_received > 0
    assert update.train_time_sec > 0
    assert update.extra["node_id"] == "12"


def test_the_run_ends_with_the_server_and_fails_with_it(scenarios):
    (end,) = scenarios.events("with_and_without", RunEnd)
    assert end.status == "finished"
    assert scenarios.results["failing_training"] == "ZeroDivisionError"
    (end,) = scenarios.events("failing_training", RunEnd)
    assert (end.status, end.error) == ("failed", "ZeroDivisionError: nothing to average")


def test_the_servers_own_evaluation_is_the_global_one(scenarios):
    rounds = scenarios.events("server_evaluation", RoundEnd)
    assert [(r.round, r.global_accuracy, r.global_loss) for r in rounds] == [
        (0, 0.0, 1.0),
        (1, 0.1, 0.9),
        (2, 0.2, 0.8),
        (3, pytest.approx(0.3), 0.7),
    ]


def test_a_client_that_raised_is_named_though_flower_gives_the_strategy_a_bare_exception(scenarios):
    (failure,) = scenarios.events("failures", ClientEvent)
    assert (failure.client_id, failure.event, failure.round) == ("partition-1", "dropout", 2)
    assert failure.reason.startswith("train: CLIENT_APP_RAISED_EXCEPTION (code 2): ")
    assert "out of GPU memory" in failure.reason
    assert summarize(scenarios.events("failures"))[2].num_completed == 3


def test_secure_aggregation_works_as_without_and_is_recorded(scenarios):
    without, with_it = scenarios.results["secure_aggregation"]
    assert with_it == without
    assert scenarios.events("secure_aggregation", Log) == []
    assert [event.round for event in scenarios.events("secure_aggregation", RoundStart)] == [1, 2]
    trained = [u for u in scenarios.events("secure_aggregation", ClientUpdate) if u.status == "active"]
    assert len(trained) == 8
    assert all(update.train_time_sec > 0 and update.num_samples == 8 for update in trained)
