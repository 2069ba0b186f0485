"""CPU time of the process and its descendants, of the whole machine, and how many CPUs the process may use.

A living process is read from its CPU clock, to the nanosecond; children that ended, from what the kernel added to
their parent when it waited for them. Sources: clock_getcpuclockid(3), proc(5), cgroups(7); elsewhere psutil.
"""

from __future__ import annotations

import os
import sys
import time
from typing import ClassVar

import psutil

from fedsight.monitor.cgroup import cpu_quota, find_cgroup
from fedsight.monitor.family import Family, open_family
from fedsight.monitor.family_total import Amounts, FamilyTotal
from fedsight.monitor.member import TICK_SEC
from fedsight.monitor.probes.probe import MetricInfo, Target, key

_LIMITS_SEC = 5.0
"""Quotas and affinity change rarely."""

_USER = key("process.cpu.time", cpu_mode="user")
_SYSTEM = key("process.cpu.time", cpu_mode="system")
_MACHINE_MODES = ("user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal")
_MACHINE = {mode: key("system.cpu.time", cpu_mode=mode) for mode in _MACHINE_MODES}


class CpuProbe:
    """CPU time since the start, and what there is to use."""

    name: ClassVar[str] = "cpu"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("process.cpu.time", "s", "counter", "CPU time of the process and its descendants"),
        MetricInfo("system.cpu.time", "s", "counter", "CPU time of the whole machine, all CPUs together"),
        MetricInfo("system.cpu.logical.count", "{cpu}", "gauge", "CPUs of the machine"),
        MetricInfo("fedsight.cpu.available", "{cpu}", "gauge", "CPUs the process may use: affinity and cgroup quota"),
        MetricInfo("fedsight.process.count", "{process}", "gauge", "Processes in the family"),
        MetricInfo("process.thread.count", "{thread}", "gauge", "Threads of the family"),
    )

    def __init__(self, target: Target, *, family: Family | None = None) -> None:
        self._target = target
        self._stat_file = -1
        self._family = family or open_family(target)
        # A parent's times are cut to whole ticks, user and system time each, now and before.
        self._total = FamilyTotal(tolerance=4 * TICK_SEC)
        self._num_cpus = os.cpu_count() or 1
        self._limits_at_sec = -_LIMITS_SEC
        self._available = float(self._num_cpus)
        if sys.platform == "linux":
            self._stat_file = os.open("/proc/stat", os.O_RDONLY)
        self._machine_start = self._machine_sec()
        self._start = self._measure()
        self._user_sec = 0.0

    def read(self, values: dict[str, float]) -> None:
        """Seconds since the start; system time, which the kernel tells in ticks, moves in steps."""
        cpu_sec, system_sec = (now - start for now, start in zip(self._measure(), self._start, strict=True))
        # The sum is exact; neither part ever decreases.
        self._user_sec = max(self._user_sec, cpu_sec - system_sec)
        values[_USER] = self._user_sec
        values[_SYSTEM] = cpu_sec - self._user_sec
        living = [m for m in self._family.members.values() if not (m.is_zombie or m.is_excluded)]
        values["fedsight.process.count"] = len(living)
        values["process.thread.count"] = sum(member.num_threads for member in living)
        for mode, sec in self._machine_sec().items():
            values[_MACHINE[mode]] = max(0.0, sec - self._machine_start[mode])
        values["system.cpu.logical.count"] = self._num_cpus
        now = time.monotonic()
        if now - self._limits_at_sec >= _LIMITS_SEC:
            self._limits_at_sec = now
            self._available = cpus_available(self._target.pid, self._num_cpus)
        values["fedsight.cpu.available"] = self._available

    def close(self) -> None:
        """Let go of the files."""
        self._family.close()
        if self._stat_file >= 0:
            os.close(self._stat_file)
            self._stat_file = -1

    def _measure(self) -> Amounts:
        self._family.refresh_for(self)
        amounts, reaped = {}, {}
        for member in self._family.members.values():
            from_children = (member.reaped_cpu_sec, member.reaped_system_sec)
            reaped[member] = from_children
            amounts[member] = (member.cpu_sec + from_children[0], member.system_sec + from_children[1])
        return self._total.update(amounts, reaped)

    def _machine_sec(self) -> dict[str, float]:
        if self._stat_file < 0:
            times = psutil.cpu_times()
            return {mode: getattr(times, mode) for mode in _MACHINE_MODES if hasattr(times, mode)}
        line = os.pread(self._stat_file, 512, 0).split(b"\n", 1)[0]
        return {mode: int(ticks) * TICK_SEC for mode, ticks in zip(_MACHINE_MODES, line.split()[1:9], strict=False)}


def cpus_available(pid: int, num_cpus: int) -> float:
    """How many CPUs' time a process may use: its affinity, and the smallest quota of its control groups."""
    if sys.platform != "linux":
        affinity = getattr(psutil.Process(pid), "cpu_affinity", None)  # Windows has it, macOS not
        return float(len(affinity())) if affinity else float(num_cpus)
    allowed = float(len(os.sched_getaffinity(pid)))
    group = find_cgroup("cpu", pid)
    quota = None if group is None else cpu_quota(group)
    return allowed if quota is None else min(allowed, quota)
