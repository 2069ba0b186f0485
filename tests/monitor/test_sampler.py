"""Readings as they stand in the journal: whatever clocks and probes do."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedsight.events import JournalHeader, Log, Sample
from fedsight.journal import JournalWriter
from fedsight.monitor.clock import Clock
from fedsight.monitor.probes import _third_party
from fedsight.monitor.sampler import OWN_CPU_TIME, Sampler, TargetGone
from fedsight.monitor.settings import Settings
from probe_package import install
from recorded import events, of_type

ALL_OFF = {"cpu": False, "memory": False, "network": False, "power": False}
Opener = Callable[..., Sampler]


class Times:
    """Clocks that a test moves."""

    def __init__(self) -> None:
        self.monotonic_sec, self.wall_sec, self.suspended_sec = 50.0, 1_700_000_000.0, 3.0

    def pass_by(self, sec: float) -> None:
        self.monotonic_sec += sec
        self.wall_sec += sec

    def clock(self) -> Clock:
        return Clock(lambda: self.monotonic_sec, lambda: self.wall_sec, lambda: self.suspended_sec)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "monitor.jsonl"


@pytest.fixture
def open_sampler(journal: Path) -> Iterator[Opener]:
    """Opens a sampler of this process, all metrics off but those named."""
    writer = JournalWriter(journal, role="monitor", run_id=None)
    opened: list[Sampler] = []

    def open_one(*probes: str, clock: Clock | None = None, concise: bool = False, **metrics: bool) -> Sampler:
        settings = Settings(
            pid=os.getpid(),
            interval_sec=1.0,
            journal=str(journal),
            node="jetson-7",
            metrics={**ALL_OFF, **metrics},
            probes=list(probes),
            concise=concise,
        )
        opened.append(Sampler(settings, writer, clock))
        return opened[-1]

    yield open_one
    for sampler in opened:
        sampler.close()
    writer.close()


@pytest.fixture
def fan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another package's probes; the file that its fan is told by."""
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "fan_probes", raising=False)
    _third_party.cache_clear()
    yield folder / "fan"
    _third_party.cache_clear()


def burn(sec: float) -> None:
    end = time.process_time() + sec
    while time.process_time() < end:
        pass


def test_the_first_reading_has_levels_and_the_next_also_what_came_in_between(
    open_sampler: Opener, journal: Path
) -> None:
    sampler = open_sampler(cpu=True, memory=True)
    before_sec = time.process_time()
    sampler.take()
    burn(0.05)
    sampler.take()
    whole_sec = time.process_time() - before_sec  # other threads of the tests' process are in it
    first, second = of_type(journal, Sample)
    assert first.node == "jetson-7"
    assert first.metrics["elapsed_sec"] == 0
    assert first.metrics["ram_mb"] > 1
    assert "cpu_pct" not in first.metrics
    assert second.metrics["elapsed_sec"] == second.metrics["interval_sec"]
    assert 0.03 < second.metrics["cpu_cores"] * second.metrics["interval_sec"] < whole_sec + 0.02
    assert second.metrics[OWN_CPU_TIME] > first.metrics[OWN_CPU_TIME]


def test_readings_that_are_recorded_together_are_the_same_as_one_by_one(open_sampler: Opener, journal: Path) -> None:
    times = Times()
    sampler = open_sampler(cpu=True, clock=times.clock())
    sampler.take()
    for _ in range(3):
        times.pass_by(0.25)
        burn(0.02)
        sampler.read()
    assert len(of_type(journal, Sample)) == 1
    assert sampler.held_sec == 0.5
    sampler.record()
    later = of_type(journal, Sample)[1:]
    assert [sample.ts - 1_700_000_000 for sample in later] == [0.25, 0.5, 0.75]
    assert [sample.metrics["interval_sec"] for sample in later] == [0.25] * 3
    assert all(sample.metrics["cpu_cores"] * 0.25 >= 0.015 for sample in later)
    assert sampler.held_sec == 0


def test_what_is_said_stands_behind_the_readings_before_it(open_sampler: Opener, journal: Path) -> None:
    sampler = open_sampler(memory=True)
    sampler.read()
    sampler.log("ended", "That was all.")
    assert [type(event) for event in events(journal)] == [JournalHeader, Log, Sample, Log]


def test_a_wall_clock_that_jumps_touches_no_interval(open_sampler: Opener, journal: Path) -> None:
    times = Times()
    sampler = open_sampler(memory=True, clock=times.clock())
    sampler.take()
    times.pass_by(5.0)
    times.wall_sec -= 3600
    sampler.take()
    first, second = of_type(journal, Sample)
    assert second.ts == first.ts - 3595
    assert second.metrics["interval_sec"] == second.metrics["elapsed_sec"] == 5.0


def test_a_suspended_machine_leaves_a_gap_that_is_told_and_no_spike(open_sampler: Opener, journal: Path) -> None:
    times = Times()
    sampler = open_sampler(cpu=True, clock=times.clock())
    sampler.take()
    times.wall_sec += 8 * 3600  # a night; the monotonic clock stands still meanwhile
    times.suspended_sec += 8 * 3600
    times.pass_by(5.0)
    sampler.take()
    times.pass_by(5.0)
    sampler.take()
    _, after, later = of_type(journal, Sample)
    assert after.metrics["suspended_sec"] == pytest.approx(8 * 3600)
    assert after.metrics["interval_sec"] == 5.0
    assert after.metrics["cpu_pct"] < 100
    assert "suspended_sec" not in later.metrics


def test_a_probe_that_fails_is_reported_once_and_the_others_go_on(
    open_sampler: Opener, journal: Path, fan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = open_sampler("broken", "fan")
    with caplog.at_level(logging.WARNING, logger="fedsight"):
        sampler.take()
        sampler.take()
    assert [sample.metrics["hw.fan.speed"] for sample in of_type(journal, Sample)] == [900.0, 900.0]
    (report,) = [log for log in of_type(journal, Log) if log.event == "probe_failed"]
    assert report.level == "warning"
    assert "the sensor counted no turns" in report.message
    assert len(caplog.records) == 1


def test_a_sensor_that_is_removed_is_missing_and_comes_back(open_sampler: Opener, journal: Path, fan: Path) -> None:
    sampler = open_sampler("fan")
    sampler.take()
    fan.rename(fan.with_name("away"))
    sampler.take()
    fan.write_text("1200")
    sampler.take()
    speeds = [sample.metrics.get("hw.fan.speed") for sample in of_type(journal, Sample)]
    assert speeds == [900.0, None, 1200.0]


def test_a_probe_that_is_not_available_says_why_in_the_journal(open_sampler: Opener, journal: Path, fan: Path) -> None:
    open_sampler("absent").take()
    (report,) = [log for log in of_type(journal, Log) if log.event == "unavailable"]
    assert report.message == "absent: this machine has no fan; open a window"
    assert report.extra == {"probe": "absent"}


def test_switching_takes_a_reading_at_the_edge_so_that_no_interval_is_cut(open_sampler: Opener, journal: Path) -> None:
    sampler = open_sampler(cpu=True)
    sampler.take()
    sampler.switch({"cpu": False, "memory": True})
    sampler.take()
    sampler.switch({"cpu": True})
    sampler.take()
    has = [("cpu_pct" in sample.metrics, "ram_mb" in sample.metrics) for sample in of_type(journal, Sample)]
    assert has == [(False, False), (True, True), (False, True), (False, True), (True, True)]


def test_a_concise_journal_holds_the_derived_figures_alone(open_sampler: Opener, journal: Path) -> None:
    sampler = open_sampler(memory=True, concise=True)
    sampler.take()
    sampler.take()
    assert {name for name in of_type(journal, Sample)[1].metrics if "." in name} == {OWN_CPU_TIME}


def test_a_process_that_is_not_there_can_not_be_measured(journal: Path, ended_pid: int) -> None:
    writer = JournalWriter(journal, role="monitor", run_id=None)
    settings = Settings(pid=ended_pid, interval_sec=1.0, journal="", node="n", metrics={**ALL_OFF, "cpu": True})
    with pytest.raises(ProcessLookupError):
        Sampler(settings, writer)
    writer.close()


@pytest.fixture
def ended_pid() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_process_that_has_ended_ends_the_readings(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    writer = JournalWriter(tmp_path / "other.jsonl", role="monitor", run_id=None)
    settings = Settings(pid=child, interval_sec=1.0, journal="", node="n", metrics={**ALL_OFF, "cpu": True})
    sampler = Sampler(settings, writer)
    sampler.take()
    os.kill(child, 9)
    os.waitpid(child, 0)
    with pytest.raises(TargetGone):
        sampler.take()
    sampler.close()
    writer.close()
