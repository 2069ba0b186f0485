"""A run and its monitor."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fedsight
from collector.harness import Collector
from fedsight import RunFinished, UsageError
from fedsight.emitters import CollectorEmitter
from fedsight.events import AnyEvent, ClientUpdate, JournalHeader, RoundEnd, RoundStart, RunStart, Sample, encode
from fedsight.journal import JournalWriter
from fedsight.monitor.rounds import round_summaries
from fedsight.testing import read_events

EVERYTHING = {"cpu": True, "memory": True, "network": True, "power": True}


def samples(path: Path) -> list[Sample]:
    return [each for each in read_events(path) if isinstance(each, Sample)]


def a_run(runs: Path, **options: Any) -> fedsight.Run:
    return fedsight.Run("r1", emitters=[], verbose=False, runs_dir=runs, **options)


# ── with a run ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("monitor", [True, 0.05, {"interval": 0.05, "form": "thread", "probes": ["descriptors"]}])
def test_a_monitored_runs_samples_go_to_a_journal_of_their_own(tmp_path: Path, monitor: Any) -> None:
    with a_run(tmp_path, monitor=monitor) as run:
        run.round_start(0)
        run.log_round(0)
    header, *_ = read_events(tmp_path / "r1.monitor.jsonl")
    assert isinstance(header, JournalHeader)
    assert (header.role, header.run_id, header.client_id) == ("monitor", "r1", None)
    first, *_, last = samples(tmp_path / "r1.monitor.jsonl")
    assert "ram_mb" in first.metrics
    assert "cpu_pct" in last.metrics
    assert ("process.unix.file_descriptor.count" in last.metrics) == isinstance(monitor, dict)
    assert not any(isinstance(each, Sample) for each in read_events(tmp_path / "r1.jsonl"))


def test_a_sites_monitor_speaks_for_the_site(tmp_path: Path) -> None:
    with fedsight.join("r1", "ward.7", runs_dir=tmp_path, emitters=[], monitor=0.05):
        pass
    header, *_ = read_events(tmp_path / "r1.ward%2E7.monitor.jsonl")
    assert isinstance(header, JournalHeader)
    assert (header.role, header.run_id, header.client_id) == ("monitor", "r1", "ward.7")


def test_without_being_asked_for_nothing_is_measured(tmp_path: Path) -> None:
    with a_run(tmp_path) as run:
        assert run.resources() is None
    assert [each.name for each in tmp_path.iterdir()] == ["r1.jsonl"]


def test_init_takes_it_and_a_run_can_begin_later(tmp_path: Path) -> None:
    run = fedsight.init(run_id="r1", runs_dir=tmp_path, verbose=False, monitor={"form": "thread"})
    found = run.resources()
    assert found is not None
    assert found["status"] == "running"
    later = fedsight.init(run_id="r2", runs_dir=tmp_path, verbose=False)
    monitor = later.monitor(interval=0.05, form="thread", probes=["descriptors"])
    with monitor.phase("evaluation"):
        pass
    fedsight.finish()
    assert [each["phase"] for each in monitor.phases()] == ["evaluation"]
    assert monitor.status == "stopped"


def test_resources_are_the_summary_and_that_of_each_round(tmp_path: Path) -> None:
    with a_run(tmp_path, monitor={"interval": 0.05, "form": "thread"}) as run:
        for number in range(2):
            run.round_start(number)
            _use_cpu(0.15)
            run.log_round(number)
        running = run.resources()
    found = run.resources()
    assert running is not None
    assert found is not None
    assert found["total_cpu_sec"] >= running["total_cpu_sec"]
    assert [(each["round"], each["is_open"]) for each in found["rounds"]] == [(0, False), (1, False)]
    assert sum(each["total_cpu_sec"] for each in found["rounds"]) == pytest.approx(found["total_cpu_sec"], rel=0.3)
    assert found["rounds"][0]["peak_memory_rss_bytes"] > 1e6


def test_a_round_mark_is_no_reading(tmp_path: Path) -> None:
    with a_run(tmp_path, monitor=60) as run:
        for number in range(500):
            run.round_start(number)
            run.log_round(number)
    assert len(samples(tmp_path / "r1.monitor.jsonl")) == 2


def test_a_run_that_goes_on_has_one_monitors_journal(tmp_path: Path) -> None:
    a_run(tmp_path, monitor=60).finish()
    with a_run(tmp_path, monitor=60, resume=True) as run:
        found = run.resources()
    assert len(samples(tmp_path / "r1.monitor.jsonl")) >= 4
    assert found is not None
    assert found["num_samples"] == 1


def test_the_end_says_what_it_has_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fedsight.Run("r1", emitters=[], runs_dir=tmp_path, monitor={"form": "thread"})
    run.finish()
    assert "fedsight: resources: " in capsys.readouterr().err
    fedsight.Run("r2", emitters=[], runs_dir=tmp_path).finish()
    assert "resources" not in capsys.readouterr().err


def test_a_process_that_ends_without_finish_stops_its_monitor(tmp_path: Path) -> None:
    code = f"import fedsight; fedsight.init(run_id='r1', runs_dir={str(tmp_path)!r}, monitor=60)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "resources: " in done.stderr
    assert len(samples(tmp_path / "r1.monitor.jsonl")) == 2


def test_pseudonyms_hide_the_machines_name_in_the_samples_too(tmp_path: Path) -> None:
    with fedsight.join("r1", "ward-7", runs_dir=tmp_path, emitters=[], anonymize="key", monitor=60) as site:
        pass
    (path,) = tmp_path.glob("*.monitor.jsonl")
    assert {each.node for each in samples(path)} == {site.client_id}
    assert b"ward-7" not in path.read_bytes()


# ── bad input, and monitors that fail ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "monitor",
    [0, -1, float("nan"), "yes", [1], {"intervall": 1}, {"form": "fork"}, {"probes": ["flux"]}, {"probes": "cpu"}],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_recorded(tmp_path: Path, monitor: Any) -> None:
    with pytest.raises(UsageError):
        a_run(tmp_path, monitor=monitor)
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_one_monitor(tmp_path: Path) -> None:
    with a_run(tmp_path, monitor={"form": "thread"}) as run:
        monitor = run.monitor()
        with pytest.raises(UsageError, match="monitored already"):
            run.monitor(interval=2)
    assert run.monitor() is monitor
    assert monitor.status == "stopped"


def test_there_is_none_to_be_had_after_the_end(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.finish()
    with pytest.raises(RunFinished):
        run.monitor()


@pytest.mark.parametrize("form", ["thread", "process"])
def test_a_monitor_that_can_not_begin_is_said_once_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    (tmp_path / "r1.monitor.jsonl").mkdir()
    with caplog.at_level(logging.WARNING, "fedsight"), a_run(tmp_path, monitor={"form": form}) as run:
        run.round_start(0)
        run.log_round(0, global_accuracy=0.5)
        found = run.resources()
    assert found is not None
    assert (found["status"], found["total_cpu_sec"], found["rounds"]) == ("new", None, [])
    assert len(caplog.records) == 1
    assert "goes on without its monitor" in caplog.text
    assert any(isinstance(each, RoundEnd) for each in read_events(tmp_path / "r1.jsonl"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the child in /proc")
def test_a_monitor_that_is_killed_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fedsight"), a_run(tmp_path, monitor=0.05) as run:
        os.kill(_monitors_pid(), signal.SIGKILL)
        run.round_start(0)
        run.log_round(0)
    found = run.resources()
    assert found is not None
    assert found["status"] == "failed"
    assert len(caplog.records) == 1
    assert run.status == "finished"


def _monitors_pid() -> int:
    (pid,) = (
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
        if b"monitor/child.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return pid


def test_a_forked_child_leaves_the_parents_monitor_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path, monitor=60)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            run.finish()
        os._exit(0)
    os.waitpid(pid, 0)
    found = run.resources()
    run.finish()
    assert found is not None
    assert found["status"] == "running"


# ── on its way to a collector ─────────────────────────────────────────────────────────────────


def test_a_collector_gets_the_monitors_journal_with_the_runs(tmp_path: Path) -> None:
    with Collector(tmp_path / "collector") as collector:
        token = collector.token("producer", run="r1", client="ward-7")
        emitter = CollectorEmitter(collector.url, token)
        site = fedsight.join("r1", "ward-7", runs_dir=tmp_path / "runs", emitters=[emitter], monitor=0.05)
        site.log_client_update(round=0, local_loss=0.5)
        site.finish()
        shipped = {each.read_bytes() for each in (collector.data / "journals").rglob("*.jsonl")}
        kept = {each.read_bytes() for each in (tmp_path / "runs").glob("*.jsonl")}
        assert len(kept) == 2
        assert kept <= shipped


def test_other_emitters_are_not_bothered_with_samples(tmp_path: Path) -> None:
    class Keeps:
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def on_events(self, events: Any) -> None:
            self.kinds += [type(each.event).__name__ for each in events.lines]

    keeps = Keeps()
    with fedsight.Run("r1", emitters=[keeps], verbose=False, runs_dir=tmp_path, monitor=60) as run:
        run.round_start(0)
    assert "RoundStart" in keeps.kinds
    assert "Sample" not in keeps.kinds


def test_a_collector_that_was_away_gets_it_by_sync(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    away = CollectorEmitter("http://127.0.0.1:9")
    run = fedsight.Run("r1", emitters=[away], verbose=False, runs_dir=tmp_path, monitor=60)
    with caplog.at_level(logging.WARNING, "fedsight"):
        run.finish(timeout_sec=0.5)
    assert "r1.monitor.jsonl" in caplog.text
    assert "fedsight sync" in caplog.text


# ── rounds, by times that are known ───────────────────────────────────────────────────────────


def journal(path: Path, role: Any, events: list[AnyEvent]) -> Path:
    writer = JournalWriter(path, role=role, run_id="r1", client_id="c1" if role == "client" else None)
    for event in events:
        writer.append(encode(event))
    writer.close()
    return path


def measured(folder: Path, *readings: tuple[float, float, float]) -> tuple[Path, int]:
    """A monitor's journal with readings of (time, cores since the last, bytes sent since the last)."""
    events: list[AnyEvent] = []
    for number, (ts, cores, num_bytes) in enumerate(readings):
        since = (
            {}
            if number == 0
            else {"interval_sec": ts - readings[number - 1][0], "cpu_cores": cores, "bytes_sent": num_bytes}
        )
        metrics = {
            "elapsed_sec": ts - readings[0][0],
            **since,
            "ram_mb": 10.0 * number,
            "fedsight.monitor.cpu.time": 0.1 * number,
        }
        events.append(Sample(ts=ts, node="n", metrics=metrics))
    return journal(folder / "r1.monitor.jsonl", "monitor", events), 0


def test_an_interval_across_a_rounds_edge_counts_by_its_share_in_time(tmp_path: Path) -> None:
    run = journal(
        tmp_path / "r1.jsonl", "server",
        [RunStart(ts=100, run_id="r1"), RoundStart(ts=100, round=1), RoundEnd(ts=101.5, round=1),
         RoundStart(ts=101.5, round=2), RoundEnd(ts=103, round=2)],
    )  # fmt: skip
    window = measured(tmp_path, (100, 0, 0), (101, 2, 100), (102, 1, 40), (103, 0.5, 10))
    first, second = round_summaries(run, *window, EVERYTHING)
    assert (first["round"], first["duration_sec"]) == (1, 1.5)
    assert first["total_cpu_sec"] == pytest.approx(2 + 0.5)
    assert first["total_network_bytes_sent"] == 120
    assert first["monitor_cpu_sec"] == pytest.approx(0.15)
    assert second["total_cpu_sec"] == pytest.approx(0.5 + 0.5)
    assert second["total_network_bytes_sent"] == 30
    assert second["peak_memory_rss_bytes"] == 30e6


def test_rounds_shorter_than_an_interval_and_rounds_at_once_have_their_shares(tmp_path: Path) -> None:
    run = journal(
        tmp_path / "r1.jsonl", "server",
        [RoundStart(ts=100.2, round=1), RoundStart(ts=100.4, round=2), RoundEnd(ts=100.6, round=1),
         RoundEnd(ts=100.9, round=2)],
    )  # fmt: skip
    one, two = round_summaries(run, *measured(tmp_path, (100, 0, 0), (101, 1, 0)), EVERYTHING)
    assert (one["round"], two["round"]) == (1, 2)
    assert one["total_cpu_sec"] == pytest.approx(0.4)
    assert two["total_cpu_sec"] == pytest.approx(0.5)


def test_a_round_without_a_beginning_an_open_one_and_one_begun_twice(tmp_path: Path) -> None:
    run = journal(
        tmp_path / "r1.jsonl", "server",
        [RoundEnd(ts=101, round=1, round_duration_sec=0.5), RoundEnd(ts=101, round=7), RoundStart(ts=101, round=2),
         RoundStart(ts=102, round=2)],
    )  # fmt: skip
    window = measured(tmp_path, (100, 0, 0), (101, 1, 0), (102, 1, 0), (103, 1, 0))
    found = round_summaries(run, *window, EVERYTHING)
    assert [(each["round"], each["duration_sec"], each["is_open"]) for each in found] == [
        (1, 0.5, False),
        (2, 1, False),
        (2, 1, True),
    ]


def test_rounds_that_nobody_measured_are_left_out(tmp_path: Path) -> None:
    run = journal(tmp_path / "r1.jsonl", "server", [RoundStart(ts=10, round=0), RoundEnd(ts=20, round=0)])
    assert round_summaries(run, *measured(tmp_path, (100, 0, 0), (101, 1, 0)), EVERYTHING) == []
    assert round_summaries(run, None, 0, EVERYTHING) == []


def test_a_sites_round_is_its_training_time_or_the_time_since_its_update_before(tmp_path: Path) -> None:
    run = journal(
        tmp_path / "r1.c1.jsonl", "client",
        [RunStart(ts=100, run_id="r1"), ClientUpdate(ts=101, client_id="c1", round=1),
         ClientUpdate(ts=103, client_id="c1", round=2, train_time_sec=0.5), ClientUpdate(ts=103, client_id="c1")],
    )  # fmt: skip
    window = measured(tmp_path, (100, 0, 0), (101, 1, 0), (102, 2, 0), (103, 2, 0))
    first, second = round_summaries(run, *window, EVERYTHING)
    assert (first["round"], first["total_cpu_sec"]) == (1, pytest.approx(1))
    assert (second["round"], second["total_cpu_sec"]) == (2, pytest.approx(1))


def _use_cpu(sec: float) -> None:
    end = time.process_time() + sec
    while time.process_time() < end:
        json.dumps(list(range(100)))
