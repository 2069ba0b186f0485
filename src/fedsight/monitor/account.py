"""What a program has cost, in one document: the kernel's account of it, and the monitor's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedsight.monitor import figures
from fedsight.monitor.command import Watched, printable
from fedsight.monitor.derived import BYTES_PER_MB
from fedsight.monitor.figures import Interval, read_window
from fedsight.monitor.probes.probe import key

CURVES = ("cpu_cores", "ram_mb", "gpu_util_pct", "gpu_vram_mb", "power_w")
_PEAKS = ("ram_mb", "gpu_vram_mb")
"""Of these a curve's point is the highest value; of the others the mean over time."""

_ROUNDING_SEC = 0.04
_ROUNDING_SHARE = 0.02
"""The kernel tells ended children's CPU time in ticks of 10 ms, by which the monitor's sum may be above the exact one."""


class Account(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What `fedsight monitor --json` prints. Absent is unknown.

    cpu_cores: CPU time by duration. cpu_pct: the same as a share of the whole machine. Memory is
    resident (RSS), of the program and its children together. is_peak_exact: the kernel has kept
    it; otherwise it is the highest reading. Disk I/O is the program's, network I/O and energy are the machine's.
    summary: keys and units as of `Monitor.summary()`. curves: see docs/monitor.md. last: the latest of
    each value read. problems: what could not be measured, and why.
    """

    command: list[str]
    pid: int
    exit_status: int | None = None
    signal: str | None = None
    has_ended: bool
    duration_sec: float
    cpu_sec: float | None = None
    user_cpu_sec: float | None = None
    system_cpu_sec: float | None = None
    cpu_cores: float | None = None
    cpu_pct: float | None = None
    memory_peak_bytes: int | None = None
    is_peak_exact: bool = False
    memory_mean_bytes: float | None = None
    memory_limit_bytes: float | None = None
    disk_read_bytes: float | None = None
    disk_written_bytes: float | None = None
    network_sent_bytes: float | None = None
    network_received_bytes: float | None = None
    energy_j: float | None = None
    num_minor_faults: float | None = None
    num_major_faults: float | None = None
    num_voluntary_switches: int | None = None
    num_involuntary_switches: int | None = None
    num_cpus: float | None = None
    summary: dict[str, Any]
    curves: dict[str, list[float | None]]
    last: dict[str, float]
    problems: dict[str, str]
    journal: str | None = None


def account(watched: Watched, num_points: int, journal: Path | None) -> Account:
    """Put it together. num_points: of a curve. journal: where the readings stay, if they do."""
    path, offset = watched.window or (None, 0)
    summary = figures.summary(path, offset, watched.metrics)
    curves = Curves(num_points, summary["duration_sec"])
    memory = _Memory(has_gate=watched.gate_rss_bytes > 0)
    last: dict[str, float] = {}
    for entry in read_window(path, offset):
        if isinstance(entry, Interval):
            curves.add(entry)
            memory.add(entry)
            last.update(entry.figures)
    memory.correct(summary)
    usage = watched.usage
    cpu_sec = _cpu_sec(watched, summary)
    duration_sec = watched.duration_sec
    num_cpus = last.get("system.cpu.logical.count")
    peak_bytes, is_exact = _peak_bytes(watched, memory.peak_mb, last)
    user_sec = last.get(key("process.cpu.time", cpu_mode="user"))
    system_sec = last.get(key("process.cpu.time", cpu_mode="system"))
    return Account(
        command=[printable(each) for each in watched.command],
        pid=watched.pid,
        exit_status=watched.exit_status,
        signal=None if usage is None else usage.signal,
        has_ended=watched.has_ended,
        duration_sec=duration_sec,
        cpu_sec=cpu_sec,
        user_cpu_sec=user_sec if usage is None else usage.user_cpu_sec,
        system_cpu_sec=system_sec if usage is None else usage.system_cpu_sec,
        cpu_cores=None if cpu_sec is None else cpu_sec / duration_sec,
        cpu_pct=None if cpu_sec is None or not num_cpus else 100 * cpu_sec / duration_sec / num_cpus,
        memory_peak_bytes=peak_bytes,
        is_peak_exact=is_exact,
        memory_mean_bytes=summary["avg_memory_rss_bytes"],
        memory_limit_bytes=last.get("system.memory.limit"),
        disk_read_bytes=last.get(key("process.disk.io", disk_io_direction="read")),
        disk_written_bytes=last.get(key("process.disk.io", disk_io_direction="write")),
        network_sent_bytes=summary["total_network_bytes_sent"],
        network_received_bytes=summary["total_network_bytes_recv"],
        energy_j=None if summary["total_energy_mj"] is None else summary["total_energy_mj"] / 1000,
        num_minor_faults=_faults("minor", last) if usage is None else usage.num_minor_faults,
        num_major_faults=_faults("major", last) if usage is None else usage.num_major_faults,
        num_voluntary_switches=None if usage is None else usage.num_voluntary_switches,
        num_involuntary_switches=None if usage is None else usage.num_involuntary_switches,
        num_cpus=num_cpus,
        summary={name: value for name, value in summary.items() if name != "problems"},
        curves=curves.points(),
        last=last,
        problems=summary["problems"],
        journal=None if journal is None else str(journal),
    )


def _cpu_sec(watched: Watched, summary: Mapping[str, Any]) -> float | None:
    """The kernel's own account is exact, but knows only of children that were waited for."""
    measured_sec: float | None = summary["total_cpu_sec"]
    if watched.usage is None:
        return measured_sec
    told_sec = watched.usage.user_cpu_sec + watched.usage.system_cpu_sec
    if measured_sec is not None and measured_sec > told_sec * (1 + _ROUNDING_SHARE) + _ROUNDING_SEC:
        return measured_sec
    return told_sec


def _peak_bytes(watched: Watched, read_mb: float, last: Mapping[str, float]) -> tuple[int | None, bool]:
    """The highest of what was read and what the kernel has kept; whether the latter had a say."""
    gate_bytes = watched.gate_rss_bytes
    kept = [last.get("fedsight.process.memory.peak", 0), watched.usage.max_rss_bytes if watched.usage else 0]
    # What is not above what this process had, before it became the program, says nothing of the program.
    told = max((int(each) for each in kept if each is not None and each > gate_bytes), default=0)
    return max(told, round(read_mb * BYTES_PER_MB)) or None, told > 0


def _faults(kind: str, last: Mapping[str, float]) -> float | None:
    return last.get(key("process.paging.faults", system_paging_fault_type=kind))


class _Memory:
    """Means over time and the peak.

    has_gate: the first reading is of what became the program, and not of the program; so is any later one
    that says the same to the byte (there was nothing else to read any more).
    """

    def __init__(self, *, has_gate: bool) -> None:
        self._has_gate = has_gate
        self._gate_mb: float | None = None
        self._areas = dict.fromkeys(("ram_mb", "memory_pct"), 0.0)
        self._least: dict[str, float] = {}
        self._most: dict[str, float] = {}
        self._sec = 0.0

    @property
    def peak_mb(self) -> float:
        """The highest that was read of the program; 0 where nothing was."""
        return self._most.get("ram_mb", 0.0)

    def add(self, interval: Interval) -> None:
        """One more interval."""
        if self._has_gate and _is_first(interval):
            self._gate_mb = interval.before.get("ram_mb")
        after_mb, before_mb = interval.figures.get("ram_mb"), interval.before.get("ram_mb")
        if after_mb is None or after_mb == self._gate_mb:
            return
        is_known_before = before_mb is not None and before_mb != self._gate_mb
        self._sec += interval.duration_sec
        for name in self._areas:
            now = interval.figures[name]
            before = interval.before.get(name, now) if is_known_before else now
            self._least[name] = min(self._least.get(name, now), before, now)
            self._most[name] = max(self._most.get(name, now), before, now)
            self._areas[name] += (before + now) / 2 * interval.duration_sec

    def correct(self, summary: dict[str, Any]) -> None:
        """Put the means and the peak where a summary has them; nothing where only what became the program was read."""
        if self.peak_mb <= 0:
            for name in self._areas:
                summary["figures"].pop(name, None)
            summary["avg_memory_usage"] = summary["avg_memory_rss_bytes"] = summary["peak_memory_rss_bytes"] = None
            return
        summary["peak_memory_rss_bytes"] = round(self.peak_mb * BYTES_PER_MB)
        for name, area in self._areas.items():
            spread = summary["figures"][name]
            spread.update(mean=area / self._sec, min=self._least[name], max=self._most[name])
        summary["avg_memory_usage"] = summary["figures"]["memory_pct"]["mean"]
        summary["avg_memory_rss_bytes"] = summary["figures"]["ram_mb"]["mean"] * BYTES_PER_MB


def _is_first(interval: Interval) -> bool:
    return interval.elapsed_sec <= interval.duration_sec


class Curves:
    """Figures over time, in `num_points` equal parts of `duration_sec`; fewer where there are fewer readings."""

    def __init__(self, num_points: int, duration_sec: float) -> None:
        self._num_points = num_points
        self._step_sec = duration_sec / num_points if duration_sec > 0 else 1.0
        self._sums: dict[str, list[float]] = {}
        self._weights: dict[str, list[float]] = {}

    def add(self, interval: Interval) -> None:
        """One more interval, which may lie across several parts."""
        ends_sec = interval.elapsed_sec
        begins_sec = ends_sec - interval.duration_sec
        first = min(self._num_points - 1, max(0, int(begins_sec / self._step_sec)))
        last = min(self._num_points - 1, max(0, int(ends_sec / self._step_sec)))
        for name in CURVES:
            value = interval.figures.get(name)
            if name in _PEAKS and not _is_first(interval):
                # A program that has just ended has no memory any more, but had it until then.
                value = max(value or 0.0, interval.before.get(name, 0.0)) or None
            if value is None:
                continue
            if name not in self._sums:
                self._sums[name] = [0.0] * self._num_points
                self._weights[name] = [0.0] * self._num_points
            for part in range(first, last + 1):
                overlap_sec = min(ends_sec, (part + 1) * self._step_sec) - max(begins_sec, part * self._step_sec)
                self._put(name, part, value, overlap_sec)

    def _put(self, name: str, part: int, value: float, overlap_sec: float) -> None:
        if overlap_sec <= 0:
            return
        sums, weights = self._sums[name], self._weights[name]
        if name in _PEAKS:
            sums[part] = max(sums[part], value)
            weights[part] = 1.0
        else:
            sums[part] += value * overlap_sec
            weights[part] += overlap_sec

    def points(self) -> dict[str, list[float | None]]:
        """Each figure's parts; None where there is no reading."""
        return {
            name: [
                total / weight if weight > 0 else None for total, weight in zip(sums, self._weights[name], strict=True)
            ]
            for name, sums in self._sums.items()
        }
