"""The battery: how full it is, and what is drawn from it.

Source: Linux's power-supply class (`/sys/class/power_supply`); elsewhere psutil, which knows the charge alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import psutil

from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_MICRO = 1e-6


class BatteryProbe:
    """Every battery of the machine that can be read; one that is taken out is missing from then on."""

    name: ClassVar[str] = "battery"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("hw.battery.charge", "1", "gauge", "How full the battery is, 0 to 1"),
        MetricInfo("hw.battery.time_left", "s", "gauge", "Until it is empty, as the machine reckons"),
        MetricInfo("hw.power", "W", "gauge", "Drawn from the battery; absent while it is being charged"),
        MetricInfo("fedsight.battery.charging", "1", "gauge", "1 while it is being charged, else 0"),
    )

    def __init__(self, target: Target, *, sysfs: Path = Path("/sys")) -> None:
        self._folder = sysfs / "class" / "power_supply"
        self._has_sysfs = sys.platform == "linux"
        if self._has_sysfs and not self._batteries():
            raise Unavailable(f"no battery in {self._folder}")
        if not self._has_sysfs and psutil.sensors_battery() is None:
            raise Unavailable("this machine tells of no battery")

    def _batteries(self) -> list[Path]:
        return [folder for folder in sorted(self._folder.glob("*")) if _text(folder / "type") == "Battery"]

    def read(self, values: dict[str, float]) -> None:
        """What each battery tells now."""
        if not self._has_sysfs:
            self._read_psutil(values)
            return
        for folder in self._batteries():
            battery = folder.name
            charge_pct, status = _number(folder / "capacity"), _text(folder / "status")
            if charge_pct is not None:
                values[key("hw.battery.charge", hw_id=battery)] = charge_pct / 100
            if status is not None:
                values[key("fedsight.battery.charging", hw_id=battery)] = float(status == "Charging")
            if status == "Discharging":
                watts = _watts(folder)
                if watts is not None:
                    values[key("hw.power", hw_id=battery, hw_type="battery")] = watts
            left_sec = _number(folder / "time_to_empty_now")
            if left_sec is not None and status == "Discharging":
                values[key("hw.battery.time_left", hw_id=battery)] = left_sec

    def _read_psutil(self, values: dict[str, float]) -> None:
        battery = psutil.sensors_battery()
        if battery is None:
            return
        values[key("hw.battery.charge", hw_id="battery")] = battery.percent / 100
        if battery.power_plugged is not None:
            values[key("fedsight.battery.charging", hw_id="battery")] = float(battery.power_plugged)
        if battery.secsleft >= 0:  # negative stands for unknown and for unlimited
            values[key("hw.battery.time_left", hw_id="battery")] = float(battery.secsleft)

    def close(self) -> None:
        """Nothing is held open."""


def _watts(folder: Path) -> float | None:
    power_uw = _number(folder / "power_now")
    if power_uw is not None:
        return abs(power_uw) * _MICRO
    current_ua, voltage_uv = _number(folder / "current_now"), _number(folder / "voltage_now")
    if current_ua is None or voltage_uv is None:
        return None
    return abs(current_ua) * _MICRO * voltage_uv * _MICRO


def _text(file: Path) -> str | None:
    """What a sysfs file holds; None where it, or by now its battery, is gone or has nothing to say."""
    try:
        return file.read_text().strip() or None
    except OSError:
        return None


def _number(file: Path) -> float | None:
    text = _text(file)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
