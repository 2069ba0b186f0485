"""Sources in a real collector: each in its own time, none harms another, and nothing is told twice or not at all."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from collector.harness import Collector, until
from collector.sources.asking import Asking
from collector.sources.standins import FLServerStandin, PolicyStandin, send
from fedsight.collector.configuration import read_configuration, settings_of
from fedsight.collector.parts import Parts
from fedsight.collector.producer import journal_id
from fedsight.events import MAX_LINE_BYTES, Log, Policy, RoundEnd, RoundStart, RunStart, Sample, SourceState
from recorded import of_type

Fault = Callable[[BaseHTTPRequestHandler], None]


def table(kind: str, name: str, url: str, **values: Any) -> str:
    values = {"kind": kind, "name": name, "url": url, "interval_sec": 0.5, "timeout_sec": 0.45, **values}
    return "[[source]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


@contextmanager
def collecting(folder: Path, *tables: str) -> Iterator[Collector]:
    folder.mkdir(exist_ok=True)
    (folder / "fedsight.toml").write_text("\n".join(tables))
    with Collector(folder) as collector:
        yield collector


def journal(folder: Path, name: str) -> Path:
    return folder / "data" / "journals" / f"{journal_id('source', f'source {name}')}.jsonl"


def journals(folder: Path) -> list[Path]:
    return list((folder / "data" / "journals").glob("*.jsonl"))


def runs_of(folder: Path, name: str) -> dict[str, Path]:
    """The runs that a source told, in the order in which they began."""
    found = []
    for path in (folder / "data" / "journals").glob("server-*.jsonl"):
        start = of_type(path, RunStart)[0]
        assert path.name == f"{journal_id('server', f'source {name} run {start.run_id}')}.jsonl"
        found.append((start.ts, start.run_id, path))
    return {run_id: path for _, run_id, path in sorted(found)}


def state(collector: Collector, name: str) -> dict[str, Any]:
    return next(source for source in collector.get("/api/v1/sources")["sources"] if source["name"] == name)


def has_state(collector: Collector, name: str, wanted: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        lambda: (s := state(collector, name))["state"] == wanted and s, f"{name} is {wanted}: {state(collector, name)}"
    )
    return found


# ── what is told ──────────────────────────────────────────────────────────────────────────────


def test_a_training_that_is_polled_is_a_run_like_any_other(tmp_path: Path) -> None:
    with FLServerStandin() as server, collecting(tmp_path, table("fl_server", "fl", server.url)) as collector:
        server.train(range(1, 6), accuracy=0.75)
        server.complete()
        until(lambda: collector.get("/api/v1/runs")["columns"]["state"] == ["finished"], "the run has ended")
        [run] = collector.get("/api/v1/runs")["columns"]["run_id"]
        rounds = collector.get(f"/api/v1/runs/{run}/rounds")["columns"]
    assert run.startswith("fl-2025")
    assert rounds["round"] == [1, 2, 3, 4, 5]
    assert rounds["global_accuracy"] == [0.75] * 5


@pytest.mark.slow
def test_what_is_told_before_during_and_after_crashes_of_the_collector_is_told_once(tmp_path: Path) -> None:
    server = FLServerStandin()
    engine = PolicyStandin()
    stopping = threading.Event()

    def train() -> None:
        number = 1
        while not stopping.wait(0.01):
            server.train(range(number, number + 1))
            engine.decide(number % 2 == 0, 1_750_000_000.0 + number // 4)
            engine.log("POLICY_CHECK", {"n": number})
            number += 1

    training = threading.Thread(target=train)
    training.start()
    tables = (
        table("fl_server", "fl", server.url, interval_sec=0.5, timeout_sec=0.45),
        table("policy", "pe", engine.url, interval_sec=0.5, timeout_sec=0.45),
    )
    try:
        for number in range(4):
            with collecting(tmp_path, *tables) as collector:
                has_state(collector, "fl", "up")
                before = state(collector, "fl")["num_events"]
                until(lambda b=before: state(collector, "fl")["num_events"] > b + 20, "rounds are told")  # type: ignore[misc]
                if number == 2:
                    server.kill()
                    has_state(collector, "fl", "down")
                    server.start()
                    has_state(collector, "fl", "up")
                collector.stop(signal.SIGKILL)
    finally:
        stopping.set()
        training.join()
    with collecting(tmp_path, *tables):
        [run] = until(lambda: runs_of(tmp_path, "fl"), "the run")
        path = runs_of(tmp_path, "fl")[run]
        last = max(server.rows)
        until(lambda: of_type(path, RoundEnd)[-1].round == last, "the last round is told")
        until(
            lambda: any(p.id == f"decision_{last}" for p in of_type(journal(tmp_path, "pe"), Policy)),
            "the last decision",
        )
        checks = until(
            lambda: (
                (
                    found := [
                        p.extra["details"]["n"]
                        for p in of_type(journal(tmp_path, "pe"), Policy)
                        if p.action == "policy_check" and p.extra
                    ]
                )[-1]
                == last
                and found
            ),
            "the last event of the engine",
        )
    engine.kill()
    server.kill()
    assert [end.round for end in of_type(path, RoundEnd)] == list(range(1, last + 1))
    assert [start.round for start in of_type(path, RoundStart)] == list(range(1, last + 1))
    decisions = [
        p.id for p in of_type(journal(tmp_path, "pe"), Policy) if p.type == "decision" and p.action != "policy_check"
    ]
    assert sorted(decisions, key=lambda ident: int(str(ident)[9:])) == [f"decision_{n}" for n in range(1, last + 1)]
    assert checks == sorted(set(checks))
    told = [log.extra["id"] for log in of_type(journal(tmp_path, "fl"), Log) if log.extra and "id" in log.extra]
    assert len(told) == len(set(told))
    assert told[-1] == server.events[-1]["event_id"]


def test_a_server_that_comes_back_trains_another_run(tmp_path: Path) -> None:
    with FLServerStandin() as server, collecting(tmp_path, table("fl_server", "fl", server.url)) as collector:
        server.train(range(1, 11), accuracy=0.3)
        until(lambda: len(runs_of(tmp_path, "fl")) == 1, "the first run")
        server.restart_process()
        server.train(range(1, 4), accuracy=0.65)
        until(lambda: len(runs_of(tmp_path, "fl")) == 2, "the second run")
        second = list(runs_of(tmp_path, "fl").values())[1]
        until(lambda: len(of_type(second, RoundEnd)) == 3, "its rounds")
        collector.settled()
        runs = collector.get("/api/v1/runs")["columns"]
    assert [end.global_accuracy for end in of_type(second, RoundEnd)] == [0.65] * 3
    assert sorted(runs["state"]) == ["killed", "running"]
    assert "restarted" in [log.event for log in of_type(journal(tmp_path, "fl"), Log)]


# ── faults ────────────────────────────────────────────────────────────────────────────────────


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" " * (1 << 20))


def half(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"current_round": 1')
    handler.close_connection = True


@pytest.mark.parametrize(
    ("fault", "timeout_sec", "error"),
    [
        (hang, 0.24, "no answer within 0.24 s"),
        (lambda h: send(h, 500, b"oh"), 0.24, "answered 500"),
        (lambda h: send(h, 200, b"<html></html>", "text/html"), 0.24, "answered HTML"),
        (half, 0.24, "broke off"),
        (lambda h: send(h, 200, b"[1, 2]"), 0.24, "answered no object"),
        (endless, 2, "more than 8 MiB"),
    ],
    ids=["hangs", "500", "HTML", "half a body", "wrong types", "200 MB"],
)
def test_a_faulty_source_is_down_is_said_so_and_harms_no_other(
    tmp_path: Path, fault: Fault, timeout_sec: float, error: str
) -> None:
    with FLServerStandin() as bad, FLServerStandin() as good:
        tables = (
            table("fl_server", "bad", bad.url, timeout_sec=timeout_sec, interval_sec=timeout_sec * 1.1),
            table("fl_server", "good", good.url),
        )
        with collecting(tmp_path, *tables) as collector:
            has_state(collector, "bad", "up")
            with bad.faulty(fault):
                found = has_state(collector, "bad", "down")
                good.train(range(1, 4))
                until(lambda: runs_of(tmp_path, "good"), "the other source's run")
            assert error in found["last_error"]
            assert found["num_failures"] > 0
            assert state(collector, "good")["num_successes"] > 0
            has_state(collector, "bad", "up")
            collector.settled()
    logs = [log.event for log in of_type(journal(tmp_path, "bad"), Log) if log.component == "bad"]
    assert [event for event in logs if event in ("up", "down")][-3:] == ["up", "down", "up"]
    states = of_type(journal(tmp_path, "bad"), SourceState)
    assert error in str([s.error for s in states if s.state == "down"][-1])


def test_a_clock_from_1970_is_reported_and_its_times_are_not_believed(tmp_path: Path) -> None:
    began = time.time()
    with FLServerStandin(now=100.0) as server, collecting(tmp_path, table("fl_server", "fl", server.url)) as collector:
        server.train(range(1, 3))
        [path] = until(lambda: runs_of(tmp_path, "fl"), "the run").values()
        until(lambda: len(of_type(path, RoundEnd)) == 2, "its rounds")
        server.train(range(3, 5))
        until(lambda: len(of_type(path, RoundEnd)) == 4, "its other rounds")
        assert "1970-01-01" in has_state(collector, "fl", "up")["clock_error"]
    end = of_type(path, RoundEnd)[1]
    assert end.ts >= began
    assert end.extra == {"source_ts": 120.0}
    [log] = [log for log in of_type(journal(tmp_path, "fl"), Log) if log.event == "clock_wrong"]
    assert "1970-01-01" in log.message


@pytest.mark.parametrize("what", ["name of its training", "id of an event"])
def test_a_name_longer_than_a_line_harms_nothing_and_is_reported(tmp_path: Path, what: str) -> None:
    with FLServerStandin() as server:
        fl = table("fl_server", "fl", server.url, interval_sec=1.0, timeout_sec=0.9)
        _tell_a_long_name(tmp_path, server, fl, what)
    assert max(len(line) for path in journals(tmp_path) for line in path.read_bytes().split(b"\n")) < MAX_LINE_BYTES
    with collecting(tmp_path, fl) as collector:
        collector.settled()
        assert "left alone" not in collector.output


def _tell_a_long_name(folder: Path, server: FLServerStandin, fl: str, what: str) -> None:
    with collecting(folder, fl) as collector:
        server.train(range(1, 3))
        until(lambda: runs_of(folder, "fl"), "the run")
        with server.lock:
            if what == "id of an event":
                server.events.append({**server.events[-1], "event_id": "x" * 2_000_000})
            else:
                server.metrics["experiment_id"] = "x" * 2_000_000
                server.train(range(3, 4))
        said = ("2000000 characters", "ids are too long")
        until(lambda: any(text in str(state(collector, "fl")["last_error"]) for text in said), "it is said")
        assert state(collector, "fl")["state"] == "down"
        with server.lock:
            server.events.pop()
            server.metrics.pop("experiment_id", None)
            server.train(range(3, 5))
        has_state(collector, "fl", "up")


def test_a_failing_source_is_asked_less_and_less_often(tmp_path: Path) -> None:
    with FLServerStandin() as server:
        server.kill()
        with collecting(tmp_path, table("fl_server", "fl", server.url)) as collector:
            found = until(
                lambda: (s := state(collector, "fl"))["num_failures"] >= 4 and s["next_poll_at"] and s, "failures"
            )
    assert found["state"] == "down"
    assert found["next_poll_at"] - found["last_error_at"] > 4 * 0.25


def test_a_stop_ends_polls_at_once(tmp_path: Path) -> None:
    with (
        FLServerStandin() as server,
        server.faulty(lambda _: time.sleep(30)),
        collecting(tmp_path, table("fl_server", "fl", server.url, interval_sec=100, timeout_sec=90)) as collector,
    ):
        until(lambda: server.asked, "it is asked")
        # `stop` gives up after 15 seconds.
        assert collector.stop(signal.SIGINT) == 0


def test_a_source_that_stays_as_it_is_says_so_once_over_restarts(tmp_path: Path) -> None:
    with FLServerStandin() as server:
        for _ in range(3):
            with collecting(tmp_path, table("fl_server", "fl", server.url)) as collector:
                until(lambda: state(collector, "fl")["num_successes"] >= 2, "it was asked")
    told = [log for log in of_type(journal(tmp_path, "fl"), Log) if log.component == "fl" and log.event == "up"]
    assert len(told) == 1
    assert len(of_type(journal(tmp_path, "fl"), Sample)) >= 6


# ── the collector's own events ────────────────────────────────────────────────────────────────


def test_the_collector_says_when_it_starts_stops_and_is_configured_otherwise(tmp_path: Path) -> None:
    def own() -> list[Log]:
        return of_type(tmp_path / "data" / "journals" / f"{journal_id('source', 'collector')}.jsonl", Log)

    with collecting(tmp_path, "log_level = 'error'") as collector:
        collector.settled()
    with collecting(tmp_path, "log_level = 'info'\nmax_body_mb = 9") as collector:
        collector.settled()
        until(lambda: len(own()) == 4, "it has begun")
        collector.stop(signal.SIGKILL)
    with collecting(tmp_path, "log_level = 'info'\nmax_body_mb = 9") as collector:
        collector.settled()
    assert [log.event for log in own()] == [
        "started",
        "stopped",
        "started",
        "configuration_changed",
        "restarted",
        "stopped",
    ]
    assert "log_level, max_body_mb" in own()[3].message


def test_without_sources_nothing_is_asked_and_the_list_is_empty(tmp_path: Path) -> None:
    with collecting(tmp_path) as collector:
        assert collector.get("/api/v1/sources") == {"sources": []}
    assert [path.name for path in (tmp_path / "data" / "journals").iterdir()] == [
        f"{journal_id('source', 'collector')}.jsonl"
    ]


def test_the_configuration_in_force_shows_no_secret(tmp_path: Path) -> None:
    source = table("policy", "pe", "http://u:hunter2@127.0.0.1:9", password="hunter3", username="u")
    with collecting(tmp_path, "[redis]\npassword = 'hunter4'\n", source) as collector:
        told = collector.get("/api/v1/config")
        listed = collector.get("/api/v1/sources")
    everything = json.dumps([told, listed]) + collector.output + journal(tmp_path, "pe").read_text()
    assert "hunter" not in everything.replace(str(tmp_path), "")
    assert told["sources"][0]["url"] == "http://***@127.0.0.1:9"
    [password] = [value for value in told["values"] if value["key"] == "redis.password"]
    assert (password["value"], password["origin"]) == ("***", "fedsight.toml")


# ── contact ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_has_nothing_to_say_is_in_contact_while_its_source_answers_also_after_a_restart(
    tmp_path: Path,
) -> None:
    toml = tmp_path / "c.toml"

    async def contact_of(subject: str) -> float:
        """When the journal was last heard of by a collector that was just started."""
        configuration = read_configuration(toml, {"data": str(tmp_path / "data")}, environ={}, folder=tmp_path)
        parts = Parts(settings_of(configuration))
        began = time.time()
        parts.start()
        try:
            for _ in range(500):
                cursor = parts.store._cursors.get(journal_id("server", subject))
                if cursor is not None and cursor.last_contact > began + 1:
                    return cursor.last_contact - began
                await asyncio.sleep(0.05)
        finally:
            await anyio.to_thread.run_sync(parts.stop)
        raise AssertionError("it was not in contact")

    with FLServerStandin() as server:
        server.train(range(1, 3))
        toml.write_text(table("fl_server", "fl", server.url))
        asking = Asking(kind="fl_server", name="fl", url=server.url)
        [run] = asking.poll().runs
        for _ in range(2):
            assert asyncio.run(contact_of(f"source fl run {run}")) > 1
    [path] = runs_of(tmp_path, "fl").values()
    assert len(of_type(path, RoundEnd)) == 2
    states = of_type(journal(tmp_path, "fl"), SourceState)
    assert [s.extra for s in states] == [{"open_runs": [run]}]


def test_a_run_that_has_ended_is_not_kept_in_contact(tmp_path: Path) -> None:
    with FLServerStandin() as server, collecting(tmp_path, table("fl_server", "fl", server.url)):
        server.train(range(1, 3))
        server.complete()
        until(lambda: runs_of(tmp_path, "fl"), "the run")
        until(lambda: of_type(journal(tmp_path, "fl"), SourceState)[-1].extra is None, "it has ended")
