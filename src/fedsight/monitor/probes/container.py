"""The container's own account: what its control group has used and may use (Linux cgroups v1 and v2, cgroups(7))."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

from fedsight.monitor.cgroup import Cgroup, find_cgroup, memory_limit, memory_usage_file, number_in, number_of
from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_LIMIT_SEC = 60.0

_USER = key("container.cpu.time", cpu_mode="user")
_SYSTEM = key("container.cpu.time", cpu_mode="system")


class ContainerProbe:
    """CPU time and memory of everything in the process's control group, also of what isn't its descendant."""

    name: ClassVar[str] = "container"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("container.cpu.time", "s", "counter", "CPU time of the container"),
        MetricInfo(
            "fedsight.container.cpu.throttled_time", "s", "counter", "Time the container's quota kept it off a CPU"
        ),
        MetricInfo("container.memory.usage", "By", "gauge", "Memory charged to the container, its page cache too"),
        MetricInfo("container.memory.working_set", "By", "gauge", "The same without page cache that can be dropped"),
        MetricInfo("fedsight.container.memory.limit", "By", "gauge", "The smallest limit that holds for the container"),
        MetricInfo("fedsight.container.memory.peak", "By", "gauge", "The most ever charged to the container"),
        MetricInfo("fedsight.container.oom_kills", "{process}", "counter", "Processes killed for want of memory"),
    )

    def __init__(self, target: Target, *, root: Path = Path("/")) -> None:
        self._memory = _own(find_cgroup("memory", target.pid, root))
        cpu = _own(find_cgroup("cpu", target.pid, root))
        self._cpu = cpu
        # v1 has its CPU clock in a controller of its own.
        self._cpuacct = cpu if cpu is not None and cpu.version == 2 else _own(find_cgroup("cpuacct", target.pid, root))
        if self._memory is None and self._cpu is None and self._cpuacct is None:
            raise Unavailable("The process is in no control group of its own (no container, no systemd slice).")
        self._limit: tuple[int, Path] | None = None
        self._limit_due_sec = -1.0
        self._start: dict[str, float] = {}
        counters: dict[str, float] = {}
        self._put_counters(counters)
        self._start = counters

    def read(self, values: dict[str, float]) -> None:
        """What the container has used since the start, and has in use now."""
        counters: dict[str, float] = {}
        self._put_counters(counters)
        for name, count in counters.items():
            values[name] = max(0.0, count - self._start.get(name, 0.0))
        if self._memory is not None:
            self._put_memory(self._memory, values)

    def close(self) -> None:
        """Nothing is held open."""

    def _put_counters(self, counters: dict[str, float]) -> None:
        if self._cpuacct is not None:
            folder = self._cpuacct.folder
            if self._cpuacct.version == 2:
                scale, names, file = 1e-6, ("user_usec", "system_usec"), folder / "cpu.stat"
            else:
                scale, names, file = 1 / os.sysconf("SC_CLK_TCK"), ("user", "system"), folder / "cpuacct.stat"
            for full, name in zip((_USER, _SYSTEM), names, strict=True):
                _put(counters, full, number_in(file, name), scale)
        if self._cpu is not None:
            name, scale = ("throttled_usec", 1e-6) if self._cpu.version == 2 else ("throttled_time", 1e-9)
            throttled = number_in(self._cpu.folder / "cpu.stat", name)
            _put(counters, "fedsight.container.cpu.throttled_time", throttled, scale)
        if self._memory is not None:
            file = self._memory.folder / ("memory.events" if self._memory.version == 2 else "memory.oom_control")
            _put(counters, "fedsight.container.oom_kills", number_in(file, "oom_kill"))

    def _put_memory(self, group: Cgroup, values: dict[str, float]) -> None:
        is_v2 = group.version == 2
        usage_bytes = number_of(memory_usage_file(group.version, group.folder))
        inactive_bytes = number_in(group.folder / "memory.stat", "inactive_file" if is_v2 else "total_inactive_file")
        _put(values, "container.memory.usage", usage_bytes)
        if usage_bytes is not None and inactive_bytes is not None:
            values["container.memory.working_set"] = max(0, usage_bytes - inactive_bytes)
        now = time.monotonic()
        if now >= self._limit_due_sec:
            self._limit_due_sec = now + _LIMIT_SEC
            self._limit = memory_limit(group)
        if self._limit is not None:
            values["fedsight.container.memory.limit"] = self._limit[0]
        peak = group.folder / ("memory.peak" if is_v2 else "memory.max_usage_in_bytes")
        _put(values, "fedsight.container.memory.peak", number_of(peak))


def _own(group: Cgroup | None) -> Cgroup | None:
    return None if group is None or group.is_root else group


def _put(values: dict[str, float], name: str, number: float | None, scale: float = 1) -> None:
    if number is not None:
        values[name] = number * scale
