"""An FL server's training becomes runs: each round and each event once, whatever happens in between."""

from __future__ import annotations

import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from collector.sources.asking import Asking
from collector.sources.standins import FLServerStandin, Standin, send
from fedsight.collector.sources.source import SourceDown
from fedsight.errors import UsageError
from fedsight.events import ClientUpdate, Log, RoundEnd, RoundStart, RunEnd, RunStart, Sample


def rounds(asking: Asking, run: str) -> list[int]:
    return [end.round for end in asking.of(RoundEnd, run)]


def test_rounds_become_a_run_with_their_own_figures() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 4), accuracy=0.75)
        asking = Asking(kind="fl_server", name="fl", url=server.url, project="cifar")
        asking.poll()
    [run] = asking.runs
    assert run.startswith("fl-2025")
    [start] = asking.of(RunStart, run)
    assert (start.run_id, start.project) == (run, "cifar")
    assert [s.round for s in asking.of(RoundStart, run)] == [1, 2, 3]
    assert asking.of(RoundStart, run)[0].num_selected == 3
    end = asking.of(RoundEnd, run)[-1]
    assert (end.round, end.global_accuracy, end.global_loss) == (3, 0.75, 0.25)
    assert (end.round_duration_sec, end.aggregation_time_sec) == (9.0, 0.25)
    assert end.ts == 1_750_000_030.0
    assert end.metrics == {
        "participants": 3.0,
        "model_size_mb": 1.5,
        "evaluation_time_sec": 1.0,
        "client_train_time_mean_sec": 2.0,
        "client_train_time_min_sec": 1.0,
        "client_train_time_max_sec": 3.0,
    }
    assert asking.of(RunEnd, run) == []


def test_what_the_server_does_not_know_is_absent_and_not_zero() -> None:
    with FLServerStandin() as server:
        server.begin_round(1)
        server.end_round(
            1,
            0.0,
            loss=0.0,
            training_duration=0,
            model_size_mb=0.0,
            clients=0,
            raw_metrics={"aggregated_loss": None, "evaluation_results_count": 0, "phase_durations": {"aggregation": 0}},
        )
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
    [end] = asking.of(RoundEnd, next(iter(asking.runs)))
    assert end.global_accuracy is None
    assert end.global_loss is None
    assert end.aggregation_time_sec is None
    assert end.round_duration_sec is None
    assert end.metrics == {"participants": 0.0}


def test_asking_again_tells_nothing_twice() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 31))
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        first = len(asking.of(Log))
        again = asking.poll()
    assert first == 1 + 4 * 30 + 0
    assert again.runs == {}
    assert [type(event) for event in again.events] == [Sample]


def test_rounds_that_come_between_polls_go_on_in_the_same_run() -> None:
    with FLServerStandin() as server:
        asking = Asking(kind="fl_server", url=server.url)
        for first in range(1, 21, 5):
            server.train(range(first, first + 5))
            asking.poll()
    [run] = asking.runs
    assert rounds(asking, run) == list(range(1, 21))
    assert [s.round for s in asking.of(RoundStart, run)] == list(range(1, 21))
    assert len(asking.of(Log)) == len({log.extra["id"] for log in asking.of(Log) if log.extra}) == 81


def test_a_round_that_has_begun_is_seen_before_it_ends() -> None:
    with FLServerStandin() as server:
        asking = Asking(kind="fl_server", url=server.url)
        server.begin_round(1)
        asking.poll()
        [run] = asking.runs
        assert [type(event) for event in asking.runs[run]] == [RunStart, RoundStart]
        server.end_round(1)
        asking.poll()
    assert [type(event) for event in asking.runs[run]] == [RunStart, RoundStart, RoundEnd]


def test_thousands_of_rounds_and_events_are_read_page_by_page() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 2301))
        asking = Asking(kind="fl_server", url=server.url)
        while asking.poll().runs:
            pass
    [run] = asking.runs
    assert rounds(asking, run) == list(range(1, 2301))
    told = [log.extra["id"] for log in asking.of(Log) if log.extra]
    # So many are what the server keeps.
    assert told == [event["event_id"] for event in server.events]


def test_events_behind_a_cut_page_are_not_skipped_though_the_reply_names_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedsight.collector.sources.paging.PAGE", 7)
    with FLServerStandin() as server:
        server.train(range(1, 11))
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        server.train(range(11, 26))
        asking.poll()
    told = [log.extra["id"] for log in asking.of(Log) if log.extra]
    assert told == [event["event_id"] for event in server.events]


def test_a_server_that_ignores_where_we_are_repeats_itself_and_we_do_not() -> None:
    class Forgetful(FLServerStandin):
        def answer(self, path: str, params: dict[str, str]) -> Any:
            return super().answer(path, {k: v for k, v in params.items() if k == "limit"})

    with Forgetful() as server:
        asking = Asking(kind="fl_server", url=server.url)
        for first in (1, 4, 7):
            server.train(range(first, first + 3))
            asking.poll()
    [run] = asking.runs
    assert rounds(asking, run) == list(range(1, 10))
    told = [log.extra["id"] for log in asking.of(Log) if log.extra]
    assert told == [event["event_id"] for event in server.events]


def test_of_rounds_without_measure_so_many_are_told_in_one_poll_and_the_run_ends_behind_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedsight.collector.sources.fl_telling.MAX_ROUNDS", 10)

    class Boundless(FLServerStandin):
        def answer(self, path: str, params: dict[str, str]) -> Any:
            return super().answer(path, {k: v for k, v in params.items() if k != "limit"})

    with Boundless() as server:
        server.train(range(1, 26))
        server.complete()
        asking = Asking(kind="fl_server", url=server.url)
        told = [len([e for events in asking.poll().runs.values() for e in events if isinstance(e, RoundEnd)])]
        while told[-1]:
            told.append(len([e for events in asking.poll().runs.values() for e in events if isinstance(e, RoundEnd)]))
    [run] = asking.runs
    assert told == [10, 10, 5, 0]
    assert rounds(asking, run) == list(range(1, 26))
    assert len(asking.of(RunEnd, run)) == 1
    assert isinstance(asking.runs[run][-1], RunEnd)


def test_events_that_the_buffer_lost_are_said_to_be_missing() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 3))
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        server.train(range(3, 303))
        asking.poll()
    [missing] = [log for log in asking.of(Log) if log.event == "events_missing"]
    assert missing.level == "warning"
    assert rounds(asking, next(iter(asking.runs))) == list(range(1, 303))


# ── runs ──────────────────────────────────────────────────────────────────────────────────────


def test_a_training_that_is_over_ends_its_run_once() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 4))
        server.complete()
        asking = Asking(kind="fl_server", url=server.url)
        for _ in range(3):
            asking.poll()
    [run] = asking.runs
    [end] = asking.of(RunEnd, run)
    assert (end.status, end.duration_sec) == ("finished", 60.0)
    assert asking.runs[run][-1] is end


def test_a_training_that_a_policy_stopped_is_killed_with_the_reason() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 3))
        server.status |= {"training_stopped_by_policy": True, "stop_reason": "model too large"}
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
    [end] = asking.of(RunEnd, next(iter(asking.runs)))
    assert (end.status, end.error) == ("killed", "model too large")


def test_a_server_started_anew_trains_another_run_though_old_rounds_still_stand_there() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 31), accuracy=0.3)
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        server.restart_process()
        asking.poll()
        assert len(asking.runs) == 1
        for number in range(1, 6):
            server.begin_round(number)
            asking.poll()
            server.end_round(number, accuracy=0.65)
            asking.poll()
    first, second = asking.runs
    assert rounds(asking, first) == list(range(1, 31))
    assert asking.of(RunEnd, first)[0].status == "killed"
    assert rounds(asking, second) == list(range(1, 6))
    assert {end.global_accuracy for end in asking.of(RoundEnd, second)} == {0.65}
    assert [log.event for log in asking.of(Log) if log.event == "restarted"] == ["restarted"]


def test_a_training_restarted_in_the_same_process_is_another_run() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 11), accuracy=0.3)
        server.complete()
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        server.restart_training()
        asking.poll()
        assert len(asking.runs) == 1
        server.train(range(1, 4), accuracy=0.65)
        asking.poll()
        server.train(range(4, 13), accuracy=0.65)
        asking.poll()
    first, second = asking.runs
    assert rounds(asking, first) == list(range(1, 11))
    assert rounds(asking, second) == list(range(1, 13))
    assert {end.global_accuracy for end in asking.of(RoundEnd, second)} == {0.65}


def test_rounds_that_begin_again_are_another_run_though_nobody_says_so() -> None:
    with FLServerStandin() as server:
        asking = Asking(kind="fl_server", url=server.url)
        for accuracy in (0.3, 0.5, 0.7):
            for number in range(1, 6):
                server.train(range(number, number + 1), accuracy)
                asking.poll()
    assert [rounds(asking, run) for run in asking.runs] == [[1, 2, 3, 4, 5]] * 3
    told = [{end.global_accuracy for end in asking.of(RoundEnd, run)} for run in asking.runs]
    assert told == [{0.3}, {0.5}, {0.7}]


def test_a_run_that_had_ended_goes_on_where_its_server_trains_on() -> None:
    with FLServerStandin() as server:
        server.train(range(1, 4))
        server.complete()
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        server.metrics |= {"training_complete": False, "data_state": "training"}
        server.train(range(4, 6))
        asking.poll()
    [run] = asking.runs
    assert rounds(asking, run) == [1, 2, 3, 4, 5]
    assert [start.resumed for start in asking.of(RunStart, run)] == [False, True]


# ── servers that tell less ────────────────────────────────────────────────────────────────────


class Scripted(Standin):
    """Answers what it is given, by path."""

    def __init__(self, **pages: Any) -> None:
        self.pages = pages
        super().__init__()

    def answer(self, path: str, params: dict[str, str]) -> Any:
        return self.pages.get(path.strip("/"))


def test_a_server_with_metrics_alone_tells_its_clients_too() -> None:
    said: dict[str, Any] = {
        "experiment_id": "exp-1",
        "round": 4,
        "accuracy": 0.6,
        "loss": 0.9,
        "clients": {
            "client-1": {"accuracy": 0.58, "loss": 1.0, "training_time": 3.5, "data_samples": 120, "model_updates": 2}
        },
    }
    with Scripted(metrics=said) as server:
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
        asking.poll()
        server.pages["metrics"] = {**said, "round": 5, "accuracy": 0.61}
        asking.poll()
    assert list(asking.runs) == ["exp-1"]
    assert rounds(asking, "exp-1") == [4, 5]
    update = asking.of(ClientUpdate, "exp-1")[0]
    assert (update.client_id, update.round, update.local_accuracy, update.local_loss) == ("client-1", 4, 0.58, 1.0)
    assert (update.train_time_sec, update.num_samples, update.metrics) == (3.5, 120.0, {"model_updates": 2.0})


def test_a_diverged_loss_is_kept_as_what_it_is() -> None:
    with Scripted(metrics={"round": 1, "loss": float("nan"), "accuracy": 0.1}) as server:
        asking = Asking(kind="fl_server", url=server.url)
        asking.poll()
    [end] = asking.of(RoundEnd, next(iter(asking.runs)))
    assert end.global_loss is not None
    assert end.global_loss != end.global_loss


def test_any_json_by_a_mapping() -> None:
    page = {
        "job": {"id": "job-7", "done": False},
        "state": {"epoch": 3, "global": {"acc": "0.5", "nll": 1.25, "f1": 0.4}, "at": "2025-06-01T12:00:00Z"},
        "workers": [{"name": "a", "acc": 0.4, "n": 10, "up": 2048}, {"name": "b", "acc": None, "n": 30, "up": 4096}],
    }
    mapping = {
        "run_id": "job.id",
        "finished": "job.done",
        "round": "state.epoch",
        "ts": "state.at",
        "accuracy": "state.global.acc",
        "loss": "state.global.nll",
        "f1": "state.global.f1",
        "clients": "workers[].{id: name, accuracy: acc, data_samples: n, bytes_sent: up}",
        "sample": {"num_workers": "length(workers)"},
    }
    with Scripted(**{"api/state": page}) as server:
        asking = Asking(kind="fl_server", url=f"{server.url}/api/state", mapping=mapping)
        asking.poll()
        asking.poll()
        page["job"] = {"id": "job-7", "done": True}
        asking.poll()
    events = asking.runs["job-7"]
    assert [type(event) for event in events] == [RunStart, RoundStart, ClientUpdate, ClientUpdate, RoundEnd, RunEnd]
    [end] = asking.of(RoundEnd, "job-7")
    assert (end.ts, end.global_accuracy, end.global_loss, end.metrics) == (1_748_779_200.0, 0.5, 1.25, {"f1": 0.4})
    a, b = asking.of(ClientUpdate, "job-7")
    assert (a.local_accuracy, a.num_samples, a.bytes_sent) == (0.4, 10.0, 2048.0)
    assert b.local_accuracy is None
    assert asking.of(Sample)[0].metrics == {"num_workers": 2.0}


def test_a_mapped_server_whose_rounds_begin_again_under_the_same_name_trains_another_run() -> None:
    page = {"id": "job", "round": 5, "accuracy": 0.5}
    mapping = {"run_id": "id", "round": "round", "accuracy": "accuracy"}
    with Scripted(state=page) as server:
        asking = Asking(kind="fl_server", url=f"{server.url}/state", mapping=mapping)
        for number in (5, 1, 2, 2, 3):
            page["round"] = number
            asking.poll()
    assert [(run, rounds(asking, run)) for run in asking.runs] == [("job", [5]), ("job-2", [1, 2, 3])]


def test_many_rounds_in_one_answer_by_a_mapping() -> None:
    with Scripted(history={"log": [{"r": n, "a": n / 10} for n in range(1, 6)]}) as server:
        mapping = {"rounds": "log", "round": "r", "accuracy": "a"}
        asking = Asking(kind="fl_server", url=f"{server.url}/history", mapping=mapping)
        asking.poll()
    [run] = asking.runs
    assert [(end.round, end.global_accuracy) for end in asking.of(RoundEnd, run)] == [(n, n / 10) for n in range(1, 6)]


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"round": "a.[b"}, "round"),
        ({"accuracy": "a"}, "round"),
        ({"round": "a", "loss": 3}, "loss"),
        ({"round": "a", "sample": 1}, "sample"),
    ],
)
def test_a_mapping_that_is_none_is_refused_by_name(mapping: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError, match=f"mapping.*{key}"):
        Asking(kind="fl_server", url="http://127.0.0.1:1", mapping=mapping)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"current_round": "many", "start_time": {}, "connected_clients": "3", "rounds_history": 5, "clients": 7}',
        b'{"current_round": 1e400, "start_time": -1, "last_round_metrics": [], "data_state": []}',
        b'{"current_round": -5, "experiment_id": [], "round": true, "accuracy": {"a": []}, "clients": [1, null, {"id": {}}]}',
    ],
)
def test_wrong_types_harm_nothing(body: bytes) -> None:
    def metrics(handler: BaseHTTPRequestHandler) -> None:
        found = handler.path.startswith("/metrics")
        send(handler, 200 if found else 404, body if found else b"{}")

    with FLServerStandin() as server, server.faulty(metrics):
        asking = Asking(kind="fl_server", url=server.url)
        with suppress(SourceDown):
            asking.poll()
    assert asking.runs == {}


@pytest.mark.parametrize(
    "rows", [5, [5, None, {}], [{"round": "x"}], [{"round": 1, "raw_metrics": [], "accuracy": "?"}]]
)
def test_rounds_of_wrong_types_harm_nothing(rows: Any) -> None:
    class Wrong(FLServerStandin):
        def answer(self, path: str, params: dict[str, str]) -> Any:
            return {"rounds": rows} if path == "/rounds" else super().answer(path, params)

    with Wrong() as server:
        asking = Asking(kind="fl_server", url=server.url)
        with suppress(SourceDown):
            asking.poll()
    for run in asking.runs:
        assert [end.global_accuracy for end in asking.of(RoundEnd, run)] == [None]
    assert json.dumps(asking.cursor) is not None
