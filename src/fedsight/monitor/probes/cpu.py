"""CPU time of the process and its descendants, of the whole machine, and how many CPUs the process may use.

A living process is read from its CPU clock, right to the scheduler's tick (1 to 10 ms); children that ended, from what the kernel added to
their parent when it waited for them. Sources: clock_getcpuclockid(3), proc(5), cgroups(7); elsewhere psutil.
"""

from __future__ import annotations

import os
import sys
import time
from typing import ClassVar

from fedsight.monitor.cgroup import cpu_quota, find_cgroup
from fedsight.monitor.family import Family, open_family
from fedsight.monitor.family_total import Amounts, FamilyTotal
from fedsight.monitor.member import TICK_SEC
from fedsight.monitor.probes.probe import MetricInfo, Target, key

_MACHINE_SEC = 5.0
"""The machine's own times cost more to read than the process's: no more often than this, and repeated in between."""

_LIMITS_SEC = 60.0
"""Affinity and quotas rarely change."""

_USER = key("process.cpu.time", cpu_mode="user")
_SYSTEM = key("process.cpu.time", cpu_mode="system")
_MACHINE_MODES = ("user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal")
_MACHINE = {mode: key("system.cpu.time", cpu_mode=mode) for mode in ("user", "system", "idle", "iowait", "steal")}
_COUNTED_AS = {"nice": "user", "interrupt": "system", "softirq": "system"}


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
        # What a process has from its children is told in whole ticks, of user and of system time.
        self._total = FamilyTotal(tolerance=2 * TICK_SEC)
        self._num_cpus = os.cpu_count() or 1
        if self._family.is_procfs:
            self._stat_file = os.open("/proc/stat", os.O_RDONLY)
        now = time.monotonic()
        self._limits_due_sec = now
        self._machine_due_sec = now + _MACHINE_SEC
        self._machine_start = self._machine_sec()
        # What is told at each reading, most of it again.
        self._told: dict[str, float] = {}
        self._told["system.cpu.logical.count"] = self._num_cpus
        self._family.refresh_for(self)
        self._num_changes = self._family.num_changes
        self._start = self._sum_up()
        self._user_sec = 0.0
        self._tell_family()

    def read(self, values: dict[str, float]) -> None:
        """Seconds since the start; system time, which the kernel tells in ticks, moves in steps."""
        self._family.refresh_for(self)
        if self._family.num_changes != self._num_changes:
            self._num_changes = self._family.num_changes
            self._tell_family()
        now = time.monotonic()
        if now >= self._machine_due_sec:
            self._machine_due_sec = now + _MACHINE_SEC
            for full_key, sec in self._machine_sec().items():
                self._told[full_key] = max(self._told.get(full_key, 0.0), sec - self._machine_start[full_key])
        if now >= self._limits_due_sec:
            self._limits_due_sec = now + _LIMITS_SEC
            self._told["fedsight.cpu.available"] = cpus_available(self._target.pid, self._num_cpus)
        values.update(self._told)

    def close(self) -> None:
        """Let go of the files."""
        self._family.close()
        if self._stat_file >= 0:
            os.close(self._stat_file)
            self._stat_file = -1

    def _tell_family(self) -> None:
        cpu_sec, system_sec = self._sum_up()
        cpu_sec -= self._start[0]
        # The sum is exact; neither part ever decreases.
        self._user_sec = max(self._user_sec, cpu_sec - (system_sec - self._start[1]))
        num_processes = num_threads = 0
        for member in self._family.members.values():
            if not (member.is_zombie or member.is_excluded):
                num_processes += 1
                num_threads += member.num_threads
        self._told[_USER] = self._user_sec
        self._told[_SYSTEM] = cpu_sec - self._user_sec
        self._told["fedsight.process.count"] = num_processes
        self._told["process.thread.count"] = num_threads

    def _sum_up(self) -> Amounts:
        amounts, reaped = {}, {}
        for member in self._family.members.values():
            from_children = (member.reaped_cpu_sec, member.reaped_system_sec)
            reaped[member] = from_children
            amounts[member] = (member.cpu_sec + from_children[0], member.system_sec + from_children[1])
        return self._total.update(amounts, reaped)

    def _machine_sec(self) -> dict[str, float]:
        """Seconds by key, as many of OpenTelemetry's modes as the platform tells apart."""
        if self._stat_file < 0:
            from fedsight.monitor import portable

            told = {mode: sec for mode, sec in portable.machine_cpu_sec().items() if mode in _MACHINE_MODES}
        else:
            ticks = os.pread(self._stat_file, 512, 0).split(b"\n", 1)[0].split()[1:9]
            told = {mode: int(each) * TICK_SEC for mode, each in zip(_MACHINE_MODES, ticks, strict=False)}
        sums: dict[str, float] = {}
        for mode, sec in told.items():
            full_key = _MACHINE[_COUNTED_AS.get(mode, mode)]
            sums[full_key] = sums.get(full_key, 0.0) + sec
        return sums


def cpus_available(pid: int, num_cpus: int) -> float:
    """How many CPUs' time a process may use: its affinity, and the smallest quota of its control groups."""
    if sys.platform != "linux":
        from fedsight.monitor import portable

        return float(portable.num_allowed_cpus(pid) or num_cpus)
    allowed = float(len(os.sched_getaffinity(pid)))
    group = find_cgroup("cpu", pid)
    quota = None if group is None else cpu_quota(group)
    return allowed if quota is None else min(allowed, quota)
