"""A Jetson's power rails: from its sensors in sysfs, or from a `tegrastats` that runs along.

The instantaneous power is integrated over real time stamps (trapezoids), which is the energy.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import ClassVar, Protocol

from fedsight.monitor.probes.ina3221 import Rail, find_rails
from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key
from fedsight.monitor.probes.tegrastats import TegraLine, parse_line, total_power_mw

_TEGRASTATS_INTERVAL_MS = 200
_LONGEST_SILENCE_SEC = 5.0
"""A gap longer than this (a suspended machine, a tegrastats that stopped) is not integrated over."""


class JetsonProbe:
    """Power of each rail and of the whole module, and the module's energy."""

    name: ClassVar[str] = "jetson"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("hw.power", "W", "gauge", "Power of a rail now"),
        MetricInfo("hw.host.power", "W", "gauge", "Power of the whole module (board, where it is measured)"),
        MetricInfo("hw.host.energy", "J", "counter", "Integral of that power over time, gaps left out"),
        MetricInfo("hw.gpu.utilization", "1", "gauge", "Of the integrated GPU (tegrastats alone tells it)"),
        MetricInfo("hw.temperature", "Cel", "gauge", "Of the module's parts (tegrastats alone tells them)"),
    )

    def __init__(self, target: Target, *, sysfs: Path = Path("/sys"), tegrastats: str | None = None) -> None:
        rails = find_rails(sysfs)
        program = tegrastats or shutil.which("tegrastats")
        self._source: _Source
        if rails:
            self._source = _Sensors(rails)
        elif program:
            self._source = _Tegrastats(program)
        else:
            raise Unavailable("no Jetson: neither INA3221 sensors in sysfs nor the program tegrastats")

    def read(self, values: dict[str, float]) -> None:
        """The rails as of now (with tegrastats, of its last line)."""
        line = self._source.line()
        if line is not None:
            for rail, milliwatts in line.rails_mw.items():
                values[key("hw.power", hw_id=rail, hw_type="power_supply")] = milliwatts / 1000
            if line.total_mw is not None:
                values["hw.host.power"] = line.total_mw / 1000
            if line.gpu_util_pct is not None:
                values[key("hw.gpu.utilization", hw_id="jetson")] = line.gpu_util_pct / 100
            for sensor, celsius in line.temperatures_cel.items():
                values[key("hw.temperature", hw_id=sensor)] = celsius
        energy_joules = self._source.energy.joules
        if energy_joules is not None:
            values["hw.host.energy"] = energy_joules

    def close(self) -> None:
        """End the tegrastats that runs along."""
        self._source.close()


class EnergyIntegral:
    """Power over time: the sum of trapezoids between readings, none over a gap."""

    def __init__(self) -> None:
        self.joules: float | None = None
        self._last: tuple[float, float] | None = None

    def add(self, at_sec: float, watts: float) -> None:
        """A reading at a monotonic time."""
        if self._last is not None:
            last_sec, last_watts = self._last
            if 0 < at_sec - last_sec <= _LONGEST_SILENCE_SEC:
                self.joules = (self.joules or 0.0) + (at_sec - last_sec) * (watts + last_watts) / 2
        elif self.joules is None:
            self.joules = 0.0
        self._last = (at_sec, watts)


class _Source(Protocol):
    energy: EnergyIntegral

    def line(self) -> TegraLine | None:
        """What is known now; None where nothing is."""

    def close(self) -> None:
        """Let go."""


class _Sensors:
    def __init__(self, rails: list[Rail]) -> None:
        self._rails = rails
        self._readings: dict[str, int] = {}
        self.energy = EnergyIntegral()
        # Of its own rate: a spike between two of the monitor's readings would not be in the energy.
        self._stop = threading.Event()
        self._read()
        self._thread = threading.Thread(target=self._run, name="fedsight-ina3221", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_TEGRASTATS_INTERVAL_MS / 1000):
            self._read()

    def _read(self) -> None:
        readings: dict[str, int] = {}
        for rail in self._rails:
            try:
                readings[rail.name] = rail.milliwatts()
            except (OSError, ValueError):  # a sensor that is busy now tells again later
                continue
        self._readings = readings
        total_mw = total_power_mw(readings)
        if total_mw is not None and len(readings) == len(self._rails):
            self.energy.add(time.monotonic(), total_mw / 1000)

    def line(self) -> TegraLine | None:
        return TegraLine(rails_mw=self._readings)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(1.0)


class _Tegrastats:
    def __init__(self, program: str) -> None:
        self.energy = EnergyIntegral()
        self._line: TegraLine | None = None
        self._line_at_sec = 0.0
        self._first = threading.Event()
        self._child = subprocess.Popen(
            [program, "--interval", str(_TEGRASTATS_INTERVAL_MS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
        self._thread = threading.Thread(target=self._follow, name="fedsight-tegrastats", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._child.stdout is not None
        for text in self._child.stdout:
            line = parse_line(text)
            if line is None:
                continue
            self._line, self._line_at_sec = line, time.monotonic()
            if line.total_mw is not None:
                self.energy.add(self._line_at_sec, line.total_mw / 1000)
            self._first.set()

    def line(self) -> TegraLine | None:
        """The last line, unless it is old: a tegrastats that hangs or ended tells nothing."""
        if self._line is None or time.monotonic() - self._line_at_sec > _LONGEST_SILENCE_SEC:
            return None
        return self._line

    def close(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(1.0)
        self._thread.join(1.0)
        if self._child.stdout is not None:
            self._child.stdout.close()
