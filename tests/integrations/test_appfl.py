"""APPFL's own server agent, schedulers and gRPC communicators, watched; the models are NumPy's (appfl_stand_ins.py)."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from environments import python_of

from fedsight.events import ClientEvent, ClientUpdate, Event, Metric, RoundEnd, RoundStart, RunEnd, RunStart, Text
from fedsight.summary import RoundSummary, summarize
from fedsight.testing import read_events

pytestmark = pytest.mark.frameworks

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def federations(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of all federations' journals, and what the process said."""
    folder = tmp_path_factory.mktemp("appfl")
    command = [python_of("appfl"), HERE / "appfl_federations.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout + done.stderr


def events_of(federations: tuple[Path, str], run_id: str) -> list[Any]:
    """A federation's events, without the journal's header."""
    return read_events(federations[0] / f"{run_id}.jsonl")[1:]


def of_kind(events: list[Any], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def rounds_of(events: list[Any]) -> dict[int, RoundSummary]:
    return summarize(events)


def test_the_run_says_what_the_server_was_configured_with(federations: tuple[Path, str]) -> None:
    start = events_of(federations, "sync")[0]
    assert isinstance(start, RunStart)
    assert (start.framework, start.algorithm) == ("APPFL", "NumpyMean")
    assert start.config is not None
    assert start.config["num_global_epochs"] == 3
    assert start.config["scheduler"] == "SyncScheduler"
    assert start.config["train_configs"]["optim_args"] == {"lr": 0.1, "betas": [0.9, 0.99]}
    assert start.config["appfl_version"].startswith("1.12.")


def test_an_update_is_in_the_journal_while_its_call_waits_for_the_others(federations: tuple[Path, str]) -> None:
    # Client b's process sent nothing before it had read a's update in the journal, three rounds long.
    told = [
        (type(event), event.round, getattr(event, "client_id", None))
        for event in events_of(federations, "sync")
        if isinstance(event, (RoundStart, RoundEnd)) or (isinstance(event, ClientUpdate) and event.bytes_sent)
    ]
    assert told == [
        each
        for r in range(3)
        for each in ((RoundStart, r, None), (ClientUpdate, r, "a"), (ClientUpdate, r, "b"), (RoundEnd, r, None))
    ]


def test_what_clients_send_is_recorded_under_the_contracts_names_or_their_own(federations: tuple[Path, str]) -> None:
    update = next(event for event in of_kind(events_of(federations, "sync"), ClientUpdate) if event.client_id == "b")
    assert update.local_accuracy == 0.5
    assert math.isnan(update.local_loss)
    assert update.metrics["pre_val_loss"] == 2.5
    assert update.metrics["client_round"] == 1
    assert update.extra == {"note": "fine"}
    assert update.base_round == 0
    # 1,000 float32 and what serialising adds.
    assert 4000 < update.bytes_sent < 4500
    assert not {"max_message_size", "_client_id"} & set(update.metrics)


def test_waiting_and_aggregating_are_timed_apart(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "sync")
    rounds = rounds_of(events)
    for number in range(3):
        waits = [
            (event.client_id, event.metrics["wait_time_sec"])
            for event in of_kind(events, ClientUpdate)
            if event.round == number and "wait_time_sec" in (event.metrics or {})
        ]
        assert [client for client, _ in waits] == ["a", "b"]
        assert waits[0][1] > waits[1][1] > 0
        assert 0 < rounds[number].aggregation_time_sec < waits[0][1]  # type: ignore[operator]
        assert rounds[number].num_completed == 2
        assert rounds[number].metrics["global_model_bytes"] == 4000
        assert rounds[number].global_accuracy is None  # nobody evaluated the global model


def test_the_run_ends_when_the_server_terminates(federations: tuple[Path, str]) -> None:
    end = events_of(federations, "sync")[-1]
    assert isinstance(end, RunEnd)
    assert end.status == "finished"


def test_of_an_asynchronous_training_each_update_is_a_round_of_its_own_closed_once(
    federations: tuple[Path, str],
) -> None:
    events = events_of(federations, "async")
    aggregated = json.loads(of_kind(events, Text)[-1].text.removeprefix("aggregated "))
    updates = of_kind(events, ClientUpdate)
    assert [(event.round, event.client_id) for event in updates] == list(enumerate(map(str, aggregated)))
    assert [event.round for event in of_kind(events, RoundEnd)] == list(range(40))


def test_staleness_is_counted_from_the_model_that_a_client_got_last(federations: tuple[Path, str]) -> None:
    model_of: dict[str, int] = {}
    for update in of_kind(events_of(federations, "async"), ClientUpdate):
        assert update.base_round == model_of.get(update.client_id, 0)
        model_of[update.client_id] = update.round + 1


def test_an_update_after_the_trainings_end_is_told_and_opens_no_round(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "async")
    assert of_kind(events, Text)[0].text.startswith("An update came after the training's end")
    assert max(event.round for event in of_kind(events, RoundStart)) == 39


def test_rounds_of_groups_are_as_many_as_aggregations(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "compass")
    aggregated = json.loads(of_kind(events, Text)[-1].text.removeprefix("aggregated "))
    ends = of_kind(events, RoundEnd)
    assert [end.round for end in ends] == list(range(len(aggregated)))
    assert [end.metrics["num_aggregated"] for end in ends] == aggregated


def test_pseudonyms_are_all_that_is_recorded_of_names(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "compass")
    updates = of_kind(events, ClientUpdate)
    assert len({update.client_id for update in updates}) == 2
    assert all(update.client_id.startswith("client-") for update in updates)
    assert all(end.algorithm_metadata is None for end in of_kind(events, RoundEnd))


def test_a_round_that_a_timer_closes_is_closed(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "queue")
    assert [end.round for end in of_kind(events, RoundEnd)] == [0]
    update, waited = of_kind(events, ClientUpdate)
    assert update.bytes_sent == 4000
    assert waited.metrics["wait_time_sec"] >= 0.2
    assert waited.metrics["aggregated_staleness"] == 0


def test_global_figures_are_those_of_the_servers_own_evaluation(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "serial")
    rounds = rounds_of(events)
    assert [(rounds[n].global_loss, rounds[n].global_accuracy) for n in range(2)] == [(0.25, 0.75)] * 2
    assert [event.key for event in of_kind(events, Metric)] == ["initial_global_loss", "initial_global_accuracy"]
    assert set(rounds) == {0, 1}


def test_a_model_that_comes_in_parts_is_one_update_of_one_round(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "parts")
    updates = [event for event in of_kind(events, ClientUpdate) if event.bytes_sent]
    assert [(event.client_id, event.bytes_sent) for event in updates] == [("a", 8000), ("b", 8000)]
    assert len(of_kind(events, RoundEnd)) == 1


def test_what_fails_is_told_and_raised_as_ever(federations: tuple[Path, str]) -> None:
    events = events_of(federations, "failing")
    (failure,) = of_kind(events, ClientEvent)
    assert (failure.event, failure.client_id) == ("comm_failure", "a")
    assert "UnpicklingError" in failure.reason
    (text,) = of_kind(events, Text)
    assert (text.round, text.text) == (0, 'The aggregation failed: ValueError("the models don\'t fit together")')
    (end,) = of_kind(events, RoundEnd)
    assert end.round == 0
    assert federations[1].count("The caller gets") == 2


def test_a_training_goes_on_where_nothing_can_be_recorded_and_that_is_said_once(federations: tuple[Path, str]) -> None:
    ended = events_of(federations, "ended")
    assert [end.round for end in of_kind(ended, RoundEnd)] == [0]
    assert federations[1].count("something was not recorded (said once)") == 1
