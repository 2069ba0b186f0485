"""What the Flower bridge makes of a training's steps: the rules that need no Flower to be shown."""

import time

import pytest

from fedsight.events import ClientEvent, ClientUpdate, Log, RoundEnd, RoundStart
from fedsight.integrations.flower.guard import Guard
from fedsight.integrations.flower.names import ClientNames
from fedsight.integrations.flower.replies import Failure, Reply
from fedsight.integrations.flower.rounds import Rounds
from fedsight.testing import recorded


@pytest.fixture
def run():
    with recorded() as run:
        yield run


@pytest.fixture
def rounds(run):
    rounds = Rounds(run, Guard(), weight_key="num-examples", num_wanted=lambda phase: 2, waiting_after_sec=60)
    yield rounds
    rounds.end(is_failed=True)


def train(rounds, number, *replies, sent=("1", "2")):
    rounds.configure("train", number)
    rounds.send(dict.fromkeys(sent, 100))
    for reply in replies:
        rounds.reply(reply)
    rounds.aggregate()
    rounds.aggregated({"train_loss": 0.5}, 0.01)


def test_bytes_of_both_phases_add_up_to_the_rounds(run, rounds):
    train(rounds, 1, Reply("1", bytes_up=10), Reply("2", bytes_up=20))
    rounds.configure("evaluate", 1)
    rounds.send({"1": 100})
    rounds.reply(Reply("1", bytes_up=3))
    rounds.aggregate()
    rounds.aggregated(None, 0.01)
    rounds.close()
    (end,) = run.events_of(RoundEnd)
    assert (end.total_bytes_up, end.total_bytes_down) == (33, 300)
    *_, last = run.events_of(ClientUpdate)
    assert (last.client_id, last.bytes_sent, last.bytes_received) == ("1", 13, 200)


def test_what_an_unreachable_client_received_is_unknown_not_zero(run, rounds):
    gone = Failure(5, "NODE_UNAVAILABLE", "gone")
    raised = Failure(2, "CLIENT_APP_RAISED_EXCEPTION", "boom")
    train(rounds, 1, Reply("1", failure=gone), Reply("2", failure=raised))
    received = {u.client_id: (u.status, u.bytes_received, u.bytes_sent) for u in run.events_of(ClientUpdate)}
    assert received == {"1": ("failed", None, None), "2": ("dropped", 100, None)}
    assert [(e.client_id, e.event) for e in run.events_of(ClientEvent)] == [("1", "comm_failure"), ("2", "dropout")]


def test_a_reply_that_comes_twice_or_from_nobody_that_was_asked_counts_once_or_not(run, rounds):
    train(rounds, 1, Reply("1", bytes_up=10), Reply("1", bytes_up=10), Reply("7", bytes_up=10), Reply("2", bytes_up=1))
    assert [u.client_id for u in run.events_of(ClientUpdate)] == ["1", "2"]


def test_a_round_without_training_starts_with_who_evaluates_and_they_are_not_idle(run, rounds):
    train(rounds, 1, sent=())
    rounds.configure("evaluate", 1)
    rounds.send({"1": 100})
    rounds.reply(Reply("1", metrics={"loss": 0.5}))
    rounds.aggregate()
    rounds.aggregated({"loss": 0.5}, 0.01)
    rounds.close()
    (start,) = run.events_of(RoundStart)
    (update,) = run.events_of(ClientUpdate)
    assert (start.selected, update.status) == (["1"], None)
    (end,) = run.events_of(RoundEnd)
    assert end.aggregation_time_sec is None


def test_a_round_that_nobody_closed_is_closed_by_the_next(run, rounds):
    train(rounds, 1, Reply("1"), Reply("2"))
    train(rounds, 2, Reply("1"), Reply("2"))
    assert [event.round for event in run.events_of(RoundEnd)] == [1]


def test_a_training_that_fails_before_anything_was_aggregated_leaves_its_round_open(run, rounds):
    rounds.configure("train", 1)
    rounds.send({"1": 100})
    rounds.end(is_failed=True)
    assert run.events_of(RoundEnd) == []
    assert run.events_of(Log) == []


def test_a_client_reports_a_field_of_the_contract_by_its_name(run, rounds):
    train(rounds, 1, Reply("1", metrics={"gradient_norm": 2.5, "num-examples": 7, "acc": 0.5, "confusion": [1, 2]}))
    update, _ = run.events_of(ClientUpdate)
    assert (update.gradient_norm, update.num_samples, update.local_accuracy) == (2.5, 7, 0.5)
    assert update.extra == {"confusion": [1, 2]}


def test_an_anonymized_run_tells_neither_names_nor_nodes_nor_partitions():
    with recorded(anonymize="a secret key") as run:
        rounds = Rounds(run, Guard(), weight_key="n", num_wanted=lambda phase: None, waiting_after_sec=0.05)
        report = {"name": "ward", "partition_id": "3", "wall_sec": 1.0, "cpu_sec": 0.5}
        train(rounds, 1, Reply("4711", report=report), sent=("4711",))
        rounds.configure("train", 2)
        rounds.send({"4711": 100})
        while not run.events_of(Log):
            time.sleep(0.01)
        rounds.end(is_failed=True)
    told = run.path.name + repr(run.events)
    assert "ward" not in told
    assert "4711" not in told
    assert all(update.extra is None for update in run.events_of(ClientUpdate))
    assert run.events_of(RoundStart)[1].selected == [run.events_of(ClientUpdate)[0].client_id]


def test_two_nodes_of_one_name_stay_apart_and_a_node_that_comes_back_keeps_its_name():
    names = ClientNames()
    names.learn("1", "ward", others={"1", "2"})
    names.learn("2", "ward", others={"1", "2"})
    assert (names.of("1"), names.of("2")) == ("ward", "2")
    names.learn("3", "ward", others={"2", "3"})
    assert names.of("3") == "ward"


def test_the_guard_lets_no_error_of_the_bridge_out_but_ctrl_c(caplog):
    guard = Guard()
    for _ in range(3):
        with guard("a test"):
            raise ValueError("odd")
    assert guard.num_errors == 3
    assert guard.last_error == "a test: ValueError: odd"
    assert len(caplog.records) == 1
    with pytest.raises(KeyboardInterrupt), guard("a test"):
        raise KeyboardInterrupt
