"""From a window's journal to stats, summary and phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedsight.events import Log, Sample, encode
from fedsight.journal import JournalWriter
from fedsight.monitor import figures
from fedsight.monitor.settings import METRICS


@pytest.fixture
def writer(tmp_path: Path) -> Any:
    writer = JournalWriter(tmp_path / "monitor.jsonl", role="monitor", run_id=None)
    yield writer
    writer.close()


def start(writer: JournalWriter, ts: float = 1000.0, **levels: float) -> int:
    """A window begins; its offset."""
    offset = writer.end
    writer.append(encode(Log(ts=ts, component="monitor", event="started", message="")))
    writer.append(encode(Sample(ts=ts, node="n", metrics={"elapsed_sec": 0.0, **levels})))
    return offset


def reading(writer: JournalWriter, at_sec: float, interval_sec: float, edge: Any = None, **metrics: float) -> None:
    times = {"elapsed_sec": at_sec, "interval_sec": interval_sec}
    writer.append(encode(Sample(ts=1000 + at_sec, node="n", metrics={**times, **metrics}, extra=edge)))


def test_an_average_weighs_each_interval_by_its_length(writer: JournalWriter) -> None:
    offset = start(writer)
    reading(writer, 9.0, 9.0, cpu_pct=10.0, cpu_cores=0.2)
    reading(writer, 10.0, 1.0, cpu_pct=50.0, cpu_cores=1.0)
    summary = figures.summary(writer.path, offset, METRICS)
    assert summary["avg_cpu_usage"] == pytest.approx(14.0)
    assert summary["total_cpu_sec"] == pytest.approx(2.8)
    assert summary["duration_sec"] == 10.0
    assert summary["figures"]["cpu_pct"] == pytest.approx({"mean": 14.0, "min": 10.0, "max": 50.0, "p95": 50.0})


def test_a_level_counts_as_the_mean_of_its_values_at_both_edges(writer: JournalWriter) -> None:
    offset = start(writer, ram_mb=100.0)
    reading(writer, 2.0, 2.0, ram_mb=300.0)
    summary = figures.summary(writer.path, offset, METRICS)
    assert summary["avg_memory_rss_bytes"] == 200e6
    assert summary["peak_memory_rss_bytes"] == 300_000_000


def test_p95_is_not_exceeded_for_95_percent_of_the_time(writer: JournalWriter) -> None:
    offset = start(writer)
    for number in range(1, 101):
        reading(writer, float(number), 1.0, cpu_pct=float(number))
    assert figures.summary(writer.path, offset, METRICS)["figures"]["cpu_pct"]["p95"] == 95.0


def test_traffic_adds_up_and_is_told_per_second_besides(writer: JournalWriter) -> None:
    offset = start(writer)
    reading(writer, 2.0, 2.0, bytes_sent=100.0, bytes_received=7.0)
    reading(writer, 3.0, 1.0, bytes_sent=200.0, bytes_received=0.0)
    summary = figures.summary(writer.path, offset, METRICS)
    assert (summary["total_network_bytes_sent"], summary["total_network_bytes_recv"]) == (300, 7)
    assert summary["figures"]["bytes_sent"]["max"] == 200.0
    assert summary["figures"]["bytes_sent"]["mean"] == pytest.approx(100.0)


def test_power_is_in_milliwatts_and_energy_in_millijoules(writer: JournalWriter) -> None:
    offset = start(writer, power_vdd_in_mw=5000.0)
    reading(writer, 2.0, 2.0, power_vdd_in_mw=6000.0, energy_vdd_in_mj=11_000.0, power_w=5.5, energy_j=11.0)
    summary = figures.summary(writer.path, offset, {**METRICS, "power": True})
    assert figures.stats(writer.path, offset)["power_vdd_in"] == [6000.0]
    assert (summary["total_power_vdd_in"], summary["total_energy_mj"]) == (11_000.0, 11_000.0)
    assert summary["total_power_vdd_soc"] is None, "asked for, but this board doesn't tell it"


def test_a_missing_entry_is_none_and_not_zero(writer: JournalWriter) -> None:
    offset = start(writer)
    reading(writer, 1.0, 1.0, cpu_pct=0.0)
    reading(writer, 2.0, 1.0)
    stats = figures.stats(writer.path, offset)
    assert (stats["cpu_usage"], stats["memory_usage"], stats["timestamps"]) == ([0.0, None], [], [1001.0, 1002.0])


def test_a_window_ends_where_the_next_one_begins(writer: JournalWriter) -> None:
    first = start(writer)
    reading(writer, 1.0, 1.0, cpu_pct=1.0)
    second = start(writer, ts=2000.0)
    reading(writer, 1.0, 1.0, cpu_pct=2.0)
    assert figures.stats(writer.path, first)["cpu_usage"] == [1.0]
    assert figures.stats(writer.path, second)["cpu_usage"] == [2.0]


def test_a_phase_is_what_lies_between_its_edges(writer: JournalWriter) -> None:
    def edge(phase: str, number: int, which: str) -> dict[str, Any]:
        return {"phase": phase, "number": number, "edge": which}

    offset = start(writer)
    reading(writer, 1.0, 1.0, edge("round", 1, "begin"), cpu_pct=1.0)
    reading(writer, 2.0, 1.0, edge("train", 2, "begin"), cpu_pct=10.0)
    reading(writer, 5.0, 3.0, edge("train", 2, "end"), cpu_pct=50.0)
    reading(writer, 6.0, 1.0, edge("round", 1, "end"), cpu_pct=10.0)
    reading(writer, 7.0, 1.0, edge("round", 3, "begin"), cpu_pct=99.0)
    told = [
        (phase["phase"], phase["started_at"], phase["duration_sec"], phase["avg_cpu_usage"], phase["is_open"])
        for phase in figures.phases(writer.path, offset, METRICS)
    ]
    assert told == [
        ("round", 1001.0, 5.0, 34.0, False),
        ("train", 1002.0, 3.0, 50.0, False),
        ("round", 1007.0, 0.0, None, True),
    ]
