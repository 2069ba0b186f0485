"""Temperatures of the machine's parts.

Source: Linux's hwmon (through psutil) and its thermal zones (`/sys/class/thermal`).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import psutil

from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_COLDEST_CEL, _HOTTEST_CEL = -40.0, 150.0
"""What lies beyond is a sensor's way to say that it has no reading (Jetson's -256, PMICs without one)."""


class TemperatureProbe:
    """Every sensor that tells a temperature that can be meant."""

    name: ClassVar[str] = "temperature"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("hw.temperature", "Cel", "gauge", "What a sensor reads, in degrees Celsius"),
    )

    def __init__(self, target: Target, *, sysfs: Path = Path("/sys")) -> None:
        self._zones = sysfs / "class" / "thermal"
        found: dict[str, float] = {}
        self.read(found)
        if not found:
            raise Unavailable("this machine shows no temperature sensors (a virtual machine or a container)")

    def read(self, values: dict[str, float]) -> None:
        """All that can be read now."""
        for chip, sensors in _psutil_sensors().items():
            for number, sensor in enumerate(sensors):
                _put(values, f"{chip}/{sensor.label or number}", sensor.current)
        for zone in sorted(self._zones.glob("thermal_zone*")):
            try:
                label, millidegrees = (zone / "type").read_text().strip(), int((zone / "temp").read_text())
            except (OSError, ValueError):  # a zone that is switched off can't be read
                continue
            _put(values, label, millidegrees / 1000)

    def close(self) -> None:
        """Nothing is held open."""


def _psutil_sensors() -> dict[str, list[psutil._ntp.shwtemp]]:
    sensors = getattr(psutil, "sensors_temperatures", None)  # Linux and FreeBSD alone have it
    return sensors() if sensors else {}


def _put(values: dict[str, float], sensor: str, celsius: float | None) -> None:
    if celsius is not None and _COLDEST_CEL < celsius < _HOTTEST_CEL:
        values[key("hw.temperature", hw_id=sensor.replace(",", " "))] = celsius
