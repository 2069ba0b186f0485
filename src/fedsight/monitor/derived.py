"""The figures of the metadata contract, from two consecutive readings of the probes.

Rates and totals (`cpu_pct`, `bytes_sent`, `energy_j`, …) are over the interval since the reading
before, so the first reading has none; levels (`ram_mb`, `power_w`, …) are as of the reading.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fedsight.monitor.probes.network import is_loopback
from fedsight.monitor.probes.probe import split_key
from fedsight.monitor.rails import rail_figures

BYTES_PER_MB = 1e6

OVER_INTERVAL = (
    "cpu_pct",
    "cpu_cores",
    "cpu_utilization_pct",
    "bytes_sent",
    "bytes_received",
    "energy_j",
    "energy_vdd_in_mj",
    "energy_vdd_cpu_gpu_cv_mj",
    "energy_vdd_soc_mj",
)
"""Figures that speak of the interval up to their reading."""

TOTALS = ("bytes_sent", "bytes_received", *(name for name in OVER_INTERVAL if name.startswith("energy_")))
"""Those of them that add up."""

LEVELS = (
    "ram_mb",
    "memory_pct",
    "gpu_util_pct",
    "gpu_vram_mb",
    "power_w",
    "power_vdd_in_mw",
    "power_vdd_cpu_gpu_cv_mw",
    "power_vdd_soc_mw",
)
"""Figures as of an instant."""

_RAILS = "hw.power/power_supply"
_GROUPS_OF = {
    "cpu": ("cpu",),
    "network": ("transmit", "receive"),
    "power": ("energy", "host_energy", "hw.power/gpu", "rails"),
}


class Deriver:
    """Remembers the reading before. One for each window."""

    def __init__(self) -> None:
        self._keys: tuple[str, ...] = ()
        self._relevant: list[tuple[str, str, str]] = []
        self._before: dict[str, dict[str, float]] = {}
        self._num_cpus = os.cpu_count() or 1
        self._memory_bytes = _physical_memory_bytes()

    def derive(self, values: dict[str, float], interval_sec: float | None) -> dict[str, float]:
        """The figures of a reading `values`; `interval_sec` is None for the first."""
        keys = tuple(values)
        if keys != self._keys:
            self._keys = keys
            groups = [(full_key, *_group(full_key)) for full_key in keys]
            self._relevant = [each for each in groups if each[1]]
        now: dict[str, dict[str, float]] = {}
        for full_key, group, part in self._relevant:
            if group in now:
                now[group][part] = values[full_key]
            else:
                now[group] = {part: values[full_key]}
        figures: dict[str, float] = {}
        if interval_sec is not None and interval_sec > 0:
            self._cpu(figures, now, interval_sec)
            self._network(figures, now)
        self._memory(figures, now)
        if "gpu_util" in now:
            figures["gpu_util_pct"] = 100 * sum(now["gpu_util"].values()) / len(now["gpu_util"])
        if "gpu_memory" in now:
            figures["gpu_vram_mb"] = sum(now["gpu_memory"].values()) / BYTES_PER_MB
        self._power(figures, now, interval_sec)
        self._before = now
        return figures

    def forget(self, metric: str) -> None:
        """`metric` is switched off: what is counted until it is on again is nobody's figure."""
        for group in _GROUPS_OF.get(metric, ()):
            self._before.pop(group, None)

    def _grown(self, now: dict[str, dict[str, float]], group: str) -> float | None:
        """How much a group of counters grew; None where it wasn't read both times."""
        before, after = self._before.get(group), now.get(group)
        if before is None or after is None:
            return None
        # A part that is new has counted from 0; one that is gone, or began anew, has nothing to add.
        return sum(max(0.0, value - before.get(name, 0.0)) for name, value in after.items())

    def _cpu(self, figures: dict[str, float], now: dict[str, dict[str, float]], interval_sec: float) -> None:
        cpu_sec = self._grown(now, "cpu")
        if cpu_sec is not None:
            figures["cpu_cores"] = cpu_sec / interval_sec
            figures["cpu_pct"] = 100 * figures["cpu_cores"] / self._num_cpus
            available = now.get("cpus", {}).get("")
            if available:
                figures["cpu_utilization_pct"] = 100 * figures["cpu_cores"] / available

    def _network(self, figures: dict[str, float], now: dict[str, dict[str, float]]) -> None:
        for figure, group in (("bytes_sent", "transmit"), ("bytes_received", "receive")):
            grown = self._grown(now, group)
            if grown is not None:
                figures[figure] = grown

    def _memory(self, figures: dict[str, float], now: dict[str, dict[str, float]]) -> None:
        memory = now.get("memory")
        if memory is not None:
            num_bytes = sum(memory.values())
            figures["ram_mb"] = num_bytes / BYTES_PER_MB
            limit_bytes = now.get("memory_limit", {}).get("", self._memory_bytes)
            if limit_bytes:
                figures["memory_pct"] = 100 * num_bytes / limit_bytes

    def _power(self, figures: dict[str, float], now: dict[str, dict[str, float]], interval_sec: float | None) -> None:
        host_w = now.get("host_power", {}).get("")
        rails_w = now.get(_RAILS, {})
        rails = rail_figures(rails_w, host_w) if rails_w else {}
        now["rails"] = rails
        for name, watts in rails.items():
            figures[f"power_{name}_mw"] = watts * 1000
        gpus_w = now.get("hw.power/gpu", {})
        if interval_sec is None or interval_sec <= 0:
            _put(figures, "power_w", host_w if host_w is not None else sum(gpus_w.values()) if gpus_w else None)
            return
        for name in rails:
            if name in self._before.get("rails", {}):
                figures[f"energy_{name}_mj"] = 1000 * self._integral("rails", name, now, interval_sec)
        host_j = self._grown(now, "host_energy")
        if host_j is not None and "energy_vdd_in_mj" in figures:
            figures["energy_vdd_in_mj"] = 1000 * host_j
        joules = host_j if host_j is not None else self._parts_joules(now, interval_sec)
        if joules is not None:
            figures["energy_j"] = joules
        _put(figures, "power_w", host_w if host_w is not None else None if joules is None else joules / interval_sec)

    def _parts_joules(self, now: dict[str, dict[str, float]], interval_sec: float) -> float | None:
        """Energy of the machine's parts that are measured (CPU packages, memory, GPUs); None where none is."""
        joules = self._grown(now, "energy")
        counted = now.get("energy", {})
        for gpu in now.get("hw.power/gpu", {}):
            if gpu not in counted and gpu in self._before.get("hw.power/gpu", {}):
                joules = (joules or 0.0) + self._integral("hw.power/gpu", gpu, now, interval_sec)
        return joules

    def _integral(self, group: str, name: str, now: dict[str, dict[str, float]], interval_sec: float) -> float:
        return (self._before[group][name] + now[group][name]) / 2 * interval_sec


def _put(figures: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        figures[name] = value


def _network_group(attributes: dict[str, str]) -> tuple[str, str]:
    interface = attributes.get("network.interface.name", "")
    return ("", "") if is_loopback(interface) else (attributes.get("network.io.direction", ""), interface)


_GROUPS: dict[str, Callable[[dict[str, str]], tuple[str, str]]] = {
    "process.cpu.time": lambda attributes: ("cpu", attributes.get("cpu.mode", "")),
    "fedsight.cpu.available": lambda attributes: ("cpus", ""),
    "system.memory.limit": lambda attributes: ("memory_limit", ""),
    "process.memory.usage": lambda attributes: ("memory", ""),
    "system.network.io": _network_group,
    "hw.gpu.utilization": lambda attributes: ("gpu_util", attributes.get("hw.id", "")),
    "hw.gpu.memory.usage": lambda attributes: ("gpu_memory", attributes.get("hw.id", "")),
    "hw.host.power": lambda attributes: ("host_power", ""),
    "hw.host.energy": lambda attributes: ("host_energy", ""),
    "hw.energy": lambda attributes: ("energy", attributes.get("hw.id", "")),
    "hw.power": lambda attributes: ("hw.power/" + attributes.get("hw.type", ""), attributes.get("hw.id", "")),
}


def _group(full_key: str) -> tuple[str, str]:
    """Which figure a key takes part in, and as which part; ("", "") for none."""
    name, attributes = split_key(full_key)
    rule = _GROUPS.get(name)
    return rule(dict(attributes)) if rule else ("", "")


def _physical_memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        import psutil

        return int(psutil.virtual_memory().total)
