"""Memory of the process and its descendants, and of the machine or container that they must fit into.

Sources: `/proc/<pid>/statm`, `status`, `smaps_rollup` (proc(5)), `/proc/meminfo`, cgroups(7); elsewhere psutil.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from fedsight.monitor.cgroup import find_cgroup, memory_limit, memory_usage_file
from fedsight.monitor.family import Family, open_family
from fedsight.monitor.family_total import Amounts, FamilyTotal
from fedsight.monitor.member import Member, read_file
from fedsight.monitor.probes.probe import MetricInfo, Target, key

_PEAK_SEC = 0.5
"""The kernel's peak is asked for no more often than this, and only after page faults: without one it can't grow."""

_ROOM_SEC = 5.0
"""Memory in use in all is read no more often than this, and repeated in between."""

_LIMIT_SEC = 60.0
_SHARES_SEC = 30.0
_SHARES_COST = 5000
"""PSS and USS walk all pages of a process, holding up its own allocations: at most 1/5000 of the time, and repeated in
between."""

_USED = key("system.memory.usage", system_memory_state="used")
_MINOR = key("process.paging.faults", system_paging_fault_type="minor")
_MAJOR = key("process.paging.faults", system_paging_fault_type="major")


class MemoryProbe:
    """RSS, virtual size, peak, page faults; PSS and USS from time to time; the limit, and what is used of it."""

    name: ClassVar[str] = "memory"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("process.memory.usage", "By", "gauge", "Resident memory (RSS), summed over the family"),
        MetricInfo("process.memory.virtual", "By", "gauge", "Virtual memory, summed over the family"),
        MetricInfo("fedsight.process.memory.peak", "By", "gauge", "Largest resident memory seen or told by the kernel"),
        MetricInfo("fedsight.process.memory.pss", "By", "gauge", "Resident memory, shared pages divided among sharers"),
        MetricInfo("fedsight.process.memory.uss", "By", "gauge", "Resident memory that nobody else shares"),
        MetricInfo("process.paging.faults", "{fault}", "counter", "Page faults of the family"),
        MetricInfo("system.memory.limit", "By", "gauge", "Memory there is: the machine's, or the container's limit"),
        MetricInfo("system.memory.usage", "By", "gauge", "Memory in use where the limit holds: machine or container"),
    )

    def __init__(self, target: Target, *, family: Family | None = None) -> None:
        self._target = target
        self._family = family or open_family(target)
        self._faults = FamilyTotal()
        self._room = _Room(target.pid, is_procfs=self._family.is_procfs)
        self._peak_due_sec = self._shares_due_sec = -1.0
        self._peak_bytes = 0
        self._faults_at_peak = -1.0
        self._shares: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._members: list[Member] = []
        self._family.refresh_for(self)
        self._faults_start = self._faults_now = self._count_faults()
        self._num_changes = -1

    def read(self, values: dict[str, float]) -> None:
        """What is in use now. A process that has ended and is still to be waited for uses nothing: left out."""
        self._family.refresh_for(self)
        now = time.monotonic()
        if self._family.num_changes != self._num_changes:
            self._num_changes = self._family.num_changes
            self._tell_family()
        faults = self._faults_now
        if self._members:
            if now >= self._peak_due_sec and (faults is None or faults[0] != self._faults_at_peak):
                self._peak_due_sec = now + _PEAK_SEC
                self._faults_at_peak = -1.0 if faults is None else faults[0]
                self._peak_bytes = max(
                    self._peak_bytes, _peak_bytes(self._target.pid, is_procfs=self._family.is_procfs)
                )
            if now >= self._shares_due_sec:
                began_sec = time.thread_time()
                self._shares = _shares(self._members, is_procfs=self._family.is_procfs)
                self._shares_due_sec = now + max(_SHARES_SEC, _SHARES_COST * (time.thread_time() - began_sec))
            values.update(self._shares)
        if self._peak_bytes:
            values["fedsight.process.memory.peak"] = self._peak_bytes
        values.update(self._told)
        self._room.read(values, now)

    def close(self) -> None:
        """Let go of the files."""
        self._family.close()
        self._room.close()

    def _tell_family(self) -> None:
        """What the members' own figures say."""
        self._told = {}
        self._members = [m for m in self._family.members.values() if not (m.is_excluded or m.is_zombie)]
        if self._members:
            rss_bytes = sum(member.rss_bytes for member in self._members)
            self._told["process.memory.usage"] = rss_bytes
            self._told["process.memory.virtual"] = sum(member.virtual_bytes for member in self._members)
            self._peak_bytes = max(self._peak_bytes, rss_bytes)
        self._faults_now = self._count_faults()
        if self._faults_now is not None and self._faults_start is not None:
            self._told[_MINOR] = self._faults_now[0] - self._faults_start[0]
            self._told[_MAJOR] = self._faults_now[1] - self._faults_start[1]

    def _count_faults(self) -> Amounts | None:
        faults: dict[Member, Amounts] = {}
        for member in self._family.members.values():
            if member.minor_faults is None or member.major_faults is None:
                return None
            faults[member] = (member.minor_faults, member.major_faults)
        return self._faults.update(faults, faults)


class _Room:
    """The memory that the process must fit into: the smallest of machine and control groups."""

    def __init__(self, pid: int, *, is_procfs: bool) -> None:
        self._pid = pid
        self._limit_due_sec = self._usage_due_sec = -1.0
        self._used_bytes = 0
        self._usage_file = self._meminfo_file = -1
        self._usage_path: Path | None = None
        self._limit_bytes = 0
        if is_procfs:
            self._meminfo_file = os.open("/proc/meminfo", os.O_RDONLY)

    def read(self, values: dict[str, float], now_sec: float) -> None:
        if now_sec >= self._limit_due_sec:
            self._limit_due_sec = now_sec + _LIMIT_SEC
            self._find()
        if now_sec >= self._usage_due_sec:
            self._usage_due_sec = now_sec + _ROOM_SEC
            self._used_bytes = self._used()
        values["system.memory.limit"] = self._limit_bytes
        values[_USED] = self._used_bytes

    def _used(self) -> int:
        if self._usage_file >= 0:
            return int(os.pread(self._usage_file, 64, 0))
        if self._meminfo_file >= 0:
            return self._limit_bytes - _meminfo(self._meminfo_file, b"MemAvailable:")
        from fedsight.monitor import portable

        return portable.memory_used_bytes()

    def _find(self) -> None:
        if self._meminfo_file < 0:
            from fedsight.monitor import portable

            self._limit_bytes = portable.memory_total_bytes()
            return
        self._limit_bytes = _meminfo(self._meminfo_file, b"MemTotal:")
        group = find_cgroup("memory", self._pid)
        limit = None if group is None else memory_limit(group)
        path = None
        if group is not None and limit is not None and limit[0] < self._limit_bytes:
            self._limit_bytes = limit[0]
            path = memory_usage_file(group.version, limit[1])
        if path != self._usage_path:
            self._close_usage()
            self._usage_file = -1 if path is None else os.open(path, os.O_RDONLY)
            self._usage_path = path

    def _close_usage(self) -> None:
        if self._usage_file >= 0:
            os.close(self._usage_file)
            self._usage_file = -1

    def close(self) -> None:
        self._close_usage()
        if self._meminfo_file >= 0:
            os.close(self._meminfo_file)
            self._meminfo_file = -1


def _meminfo(file: int, name: bytes) -> int:
    data = os.pread(file, 4096, 0)
    start = data.index(name) + len(name)
    return int(data[start : data.index(b"kB", start)]) * 1024


def _peak_bytes(pid: int, *, is_procfs: bool) -> int:
    """The most that one process has ever had resident, as the kernel (VmHWM) or Windows keeps it; 0 where unknown."""
    if not is_procfs:
        from fedsight.monitor import portable

        return portable.peak_bytes(pid)
    try:
        return _kib_after(read_file(f"/proc/{pid}/status"), b"VmHWM:") * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _shares(members: list[Member], *, is_procfs: bool) -> dict[str, float]:
    """PSS and USS of all members; nothing where one of them can't be read."""
    read: Callable[[int], dict[str, float]]
    if is_procfs:
        read = _smaps_shares
    else:
        from fedsight.monitor.portable import memory_shares as read
    sums: dict[str, float] = {}
    try:
        shares = [read(member.pid) for member in members]
    except OSError:  # another user's process, one that just ended, a kernel without smaps_rollup
        return {}
    for name in shares[0]:
        sums[f"fedsight.process.memory.{name}"] = sum(each[name] for each in shares)
    return sums


def _smaps_shares(pid: int) -> dict[str, float]:
    text = read_file(f"/proc/{pid}/smaps_rollup")
    private = _kib_after(text, b"Private_Clean:") + _kib_after(text, b"Private_Dirty:")
    return {"pss": _kib_after(text, b"Pss:") * 1024, "uss": private * 1024}


def _kib_after(text: bytes, name: bytes) -> int:
    start = text.find(name)
    return 0 if start < 0 else int(text[start + len(name) : text.index(b"kB", start)])
