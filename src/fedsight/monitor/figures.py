"""`stats()`, `summary()` and `phases()`: folds over the part of a journal that one window wrote."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedsight.events import Log, Sample, decode_block
from fedsight.journal import JournalReader
from fedsight.monitor.derived import BYTES_PER_MB, LEVELS, OVER_INTERVAL, TOTALS
from fedsight.monitor.sampler import COMPONENT, MISSED, OWN_CPU_TIME

_STATS = {
    "cpu_usage": ("cpu_pct", 1),
    "memory_usage": ("memory_pct", 1),
    "network_bytes_sent": ("bytes_sent", 1),
    "network_bytes_recv": ("bytes_received", 1),
    "power_vdd_in": ("power_vdd_in_mw", 1),
    "power_vdd_cpu_gpu_cv": ("power_vdd_cpu_gpu_cv_mw", 1),
    "power_vdd_soc": ("power_vdd_soc_mw", 1),
    "cpu_cores": ("cpu_cores", 1),
    "memory_rss_bytes": ("ram_mb", BYTES_PER_MB),
    "gpu_util_pct": ("gpu_util_pct", 1),
    "gpu_vram_mb": ("gpu_vram_mb", 1),
    "power_w": ("power_w", 1),
}
"""Keys of `stats()`, the first seven being heflwr's: the figure each comes from, and its factor."""

_SWITCH_OF = {
    "avg_cpu_usage": "cpu",
    "avg_memory_usage": "memory",
    "total_network_bytes_sent": "network",
    "total_network_bytes_recv": "network",
    "total_power_vdd_in": "power",
    "total_power_vdd_cpu_gpu_cv": "power",
    "total_power_vdd_soc": "power",
}


class Interval(msgspec.Struct):
    """What lies between two consecutive readings: the figures at its end, and the levels at its beginning."""

    ts: float
    elapsed_sec: float
    duration_sec: float
    figures: Mapping[str, float]
    before: Mapping[str, float]


class Edge(msgspec.Struct):
    """A phase begins or ends here."""

    number: int
    phase: str
    is_begin: bool
    ts: float


def read_window(path: Path | None, offset: int) -> Iterator[Interval | Edge | Log]:
    """What a window wrote, in order, from stream offset `offset` of the journal on; nothing where `path` is None."""
    if path is None:
        return
    before: Sample | None = None
    with JournalReader(path, offset) as reader:
        while True:
            start, data = reader.read()
            if not data:
                return
            for event in decode_block(data, start).events:
                if isinstance(event, Log) and event.component == COMPONENT:
                    if event.event == "started" and before is not None:
                        return  # another window
                    yield event
                elif isinstance(event, Sample):
                    if before is not None:
                        yield _interval(before, event)
                    before = event
                    if event.extra is not None and "phase" in event.extra:
                        extra = event.extra
                        yield Edge(extra["number"], extra["phase"], extra["edge"] == "begin", event.ts)


def _interval(before: Sample, sample: Sample) -> Interval:
    metrics = sample.metrics
    return Interval(sample.ts, metrics["elapsed_sec"], metrics["interval_sec"], metrics, before.metrics)


class Tally:
    """Adds up intervals. Its memory is some hundred bytes an interval, for as long as a summary is being made."""

    def __init__(self, started_at: float | None = None) -> None:
        self.started_at = started_at
        self.ended_at = started_at
        self.duration_sec = 0.0
        self.num_samples = 0
        self.totals: dict[str, float] = {}
        self._values: dict[str, array[float]] = {}
        self._weights: dict[str, array[float]] = {}
        self._means: dict[str, float] = {}
        self._own_cpu_sec = 0.0

    def add(self, interval: Interval) -> None:
        """One more interval."""
        sec, figures, before = interval.duration_sec, interval.figures, interval.before
        if self.started_at is None:
            self.started_at = interval.ts - sec
        self.ended_at = interval.ts
        self.duration_sec += sec
        self.num_samples += 1
        self._own_cpu_sec += figures.get(OWN_CPU_TIME, 0.0) - before.get(OWN_CPU_TIME, 0.0)
        for name in TOTALS:
            if name in figures:
                self.totals[name] = self.totals.get(name, 0.0) + figures[name]
        for name in OVER_INTERVAL:
            if name in figures:
                rate = figures[name] / sec if name in TOTALS and sec > 0 else figures[name]
                self._put(name, rate, rate, sec)
        for name in LEVELS:
            if name in figures:
                value, earlier = figures[name], before.get(name, figures[name])
                if name not in self._values:
                    self._put(name, earlier, 0.0, 0.0)  # the mean has it, and so must least and most
                self._put(name, value, (value + earlier) / 2, sec)

    def _put(self, name: str, value: float, mean: float, sec: float) -> None:
        if name not in self._values:
            self._values[name], self._weights[name] = array("d"), array("d")
        self._values[name].append(value)
        self._weights[name].append(sec)
        self._means[name] = self._means.get(name, 0.0) + mean * sec

    def mean(self, name: str) -> float | None:
        """Over time; None where there is no figure of that name."""
        sec = sum(self._weights.get(name, ()))
        return self._means[name] / sec if sec > 0 else None

    def peak(self, name: str) -> float | None:
        """The highest value; None where there is none."""
        return max(self._values[name]) if name in self._values else None

    def spread(self, name: str) -> dict[str, float]:
        """Mean over time, min, max and p95 of a figure; of one that adds up, per second."""
        values = self._values[name]
        mean = self.mean(name)
        return {
            "mean": mean if mean is not None else sum(values) / len(values),
            "min": min(values),
            "max": max(values),
            "p95": _quantile(values, self._weights[name], 0.95),
        }

    def summary(self, metrics: Mapping[str, bool]) -> dict[str, Any]:
        """The keys of heflwr and ours; `metrics` says what is switched on."""
        cores = self.mean("cpu_cores")
        peak_mb, mean_mb = self.peak("ram_mb"), self.mean("ram_mb")
        found: dict[str, Any] = {
            "avg_cpu_usage": self.mean("cpu_pct"),
            "avg_memory_usage": self.mean("memory_pct"),
            "total_network_bytes_sent": _whole(self.totals.get("bytes_sent")),
            "total_network_bytes_recv": _whole(self.totals.get("bytes_received")),
            "total_power_vdd_in": self.totals.get("energy_vdd_in_mj"),
            "total_power_vdd_cpu_gpu_cv": self.totals.get("energy_vdd_cpu_gpu_cv_mj"),
            "total_power_vdd_soc": self.totals.get("energy_vdd_soc_mj"),
        }
        for name, switch in _SWITCH_OF.items():
            if found[name] is None and not metrics.get(switch):
                found[name] = 0  # heflwr's word for "switched off"
        joules = self.totals.get("energy_j")
        return {
            **found,
            "started_at": self.started_at,
            "duration_sec": self.duration_sec,
            "num_samples": self.num_samples,
            "avg_cpu_cores": cores,
            "total_cpu_sec": None if cores is None else cores * sum(self._weights["cpu_cores"]),
            "avg_memory_rss_bytes": None if mean_mb is None else mean_mb * BYTES_PER_MB,
            "peak_memory_rss_bytes": None if peak_mb is None else _whole(peak_mb * BYTES_PER_MB),
            "total_energy_mj": None if joules is None else joules * 1000,
            "monitor_cpu_sec": self._own_cpu_sec,
            "figures": {name: self.spread(name) for name in self._values},
        }


def has_interval(path: Path | None, offset: int) -> bool:
    """Whether a window has two readings already."""
    return any(isinstance(entry, Interval) for entry in read_window(path, offset))


def stats(path: Path | None, offset: int) -> dict[str, list[Any]]:
    """The figures interval by interval. None stands where a single one is missing; an empty list where all are."""
    lists: dict[str, list[Any]] = {name: [] for name in _STATS}
    times: dict[str, list[Any]] = {"timestamps": [], "elapsed_sec": [], "interval_sec": []}
    for entry in read_window(path, offset):
        if isinstance(entry, Interval):
            times["timestamps"].append(entry.ts)
            times["elapsed_sec"].append(entry.elapsed_sec)
            times["interval_sec"].append(entry.duration_sec)
            for name, (figure, factor) in _STATS.items():
                value = entry.figures.get(figure)
                is_count = figure.startswith("bytes_") or name == "memory_rss_bytes"
                lists[name].append(None if value is None else _whole(value * factor) if is_count else value * factor)
    return {**{name: found if any(v is not None for v in found) else [] for name, found in lists.items()}, **times}


def summary(path: Path | None, offset: int, metrics: Mapping[str, bool]) -> dict[str, Any]:
    """The whole window as one. None where something was to be measured and could not be."""
    tally = Tally()
    problems: dict[str, str] = {}
    num_missed = 0
    for entry in read_window(path, offset):
        if isinstance(entry, Interval):
            tally.add(entry)
            num_missed = int(entry.figures.get(MISSED, 0))
        elif isinstance(entry, Log) and entry.extra is not None and "probe" in entry.extra:
            problems.setdefault(entry.extra["probe"], entry.message)
    return {**tally.summary(metrics), "num_missed": num_missed, "problems": problems}


def phases(path: Path | None, offset: int, metrics: Mapping[str, bool]) -> list[dict[str, Any]]:
    """One summary for each time a phase was entered, in that order; `is_open` where it has not ended yet."""
    tallies: dict[int, tuple[str, Tally]] = {}
    is_open: set[int] = set()
    for entry in read_window(path, offset):
        if isinstance(entry, Interval):
            for number in is_open:
                tallies[number][1].add(entry)
        elif isinstance(entry, Edge):
            if entry.is_begin:
                tallies[entry.number] = (entry.phase, Tally(entry.ts))
                is_open.add(entry.number)
            else:
                is_open.discard(entry.number)
    return [
        {"phase": name, "is_open": number in is_open, **tally.summary(metrics)}
        for number, (name, tally) in tallies.items()
    ]


def _quantile(values: array[float], weights: array[float], share: float) -> float:
    """The least value that is not exceeded for `share` of the time."""
    wanted = share * sum(weights)
    passed = 0.0
    ordered = sorted(zip(values, weights, strict=True))
    for value, weight in ordered:
        passed += weight
        if passed >= wanted:
            return value
    return ordered[-1][0]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
