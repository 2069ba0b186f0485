"""Pressure: the share of time in which work had to wait for CPU, memory or I/O (Linux PSI).

some: at least one task waited. full: all of them did, so that the time was lost. Source: `/proc/pressure/*`, or the
control group's `*.pressure`; docs.kernel.org/accounting/psi.html.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from fedsight.monitor.cgroup import find_cgroup
from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_RESOURCES = ("cpu", "memory", "io")


class _Line:
    """One line of a pressure file."""

    __slots__ = ("avg_key", "start_us", "time_key")

    def __init__(self, resource: str, kind: str, total_us: int) -> None:
        self.avg_key = key("fedsight.pressure.avg10", resource=resource, kind=kind)
        self.time_key = key("fedsight.pressure.time", resource=resource, kind=kind)
        self.start_us = total_us


class PressureProbe:
    """Pressure of the control group that the process is in (cgroup v2), or else of the machine."""

    name: ClassVar[str] = "pressure"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("fedsight.pressure.avg10", "1", "gauge", "Share of the last 10 s in which work waited"),
        MetricInfo("fedsight.pressure.time", "s", "counter", "Time in which work waited"),
    )

    def __init__(self, target: Target, *, root: Path = Path("/")) -> None:
        self._files: dict[str, int] = {}
        self._lines: dict[tuple[str, str], _Line] = {}
        group = find_cgroup("", target.pid, root)
        is_groups = group is not None and not group.is_root
        trouble = ""
        for resource in _RESOURCES:
            path = root / "proc" / "pressure" / resource
            if group is not None and is_groups and (group.folder / f"{resource}.pressure").exists():
                path = group.folder / f"{resource}.pressure"
            try:
                file = os.open(path, os.O_RDONLY)
                parsed = _parse(os.pread(file, 512, 0))
            except OSError as error:
                trouble = f"{error}"
                continue
            self._files[resource] = file
            for kind, (_, total_us) in parsed.items():
                # Of the machine's CPUs, "full" is not defined and always 0.
                if not (resource == "cpu" and kind == "full" and path.parent.name == "pressure"):
                    self._lines[resource, kind] = _Line(resource, kind, total_us)
        if not self._files:
            raise Unavailable(f"The kernel tells no pressure ({trouble}). Linux 4.20 with PSI does; boot with psi=1.")

    def read(self, values: dict[str, float]) -> None:
        """Shares from 0 to 1 over the last 10 s, and seconds since the start."""
        for resource, file in self._files.items():
            for kind, (avg10_pct, total_us) in _parse(os.pread(file, 512, 0)).items():
                line = self._lines.get((resource, kind))
                if line is not None:
                    values[line.avg_key] = avg10_pct / 100
                    values[line.time_key] = (total_us - line.start_us) * 1e-6

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def _parse(text: bytes) -> dict[str, tuple[float, int]]:
    """Per cent of the last 10 s, and microseconds in all, of `some` and `full`."""
    parsed = {}
    for line in text.decode().splitlines():
        kind, avg10, _, _, total = line.split()
        parsed[kind] = (float(avg10.partition("=")[2]), int(total.partition("=")[2]))
    return parsed
