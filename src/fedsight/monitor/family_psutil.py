"""A process and its descendants through psutil: for macOS and Windows, which have no `/proc`."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping

import psutil

from fedsight.monitor.family import Family
from fedsight.monitor.member import Member
from fedsight.monitor.probes.probe import Target, Unavailable

_SCAN_SEC = 1.0
_SCAN_SHARE = 100
"""Looking for descendants reads every process of the machine: at most 1/100 of the time, at most once a second."""


class PsutilFamily(Family):
    """Like `Family`, with psutil's precision: children that come and go within a second may be missed."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._members: dict[int, Member] = {}
        self._processes: dict[int, psutil.Process] = {}
        self._excluded = target.excluded_pids
        self._scan_at_sec = 0.0
        self._is_over = False
        try:
            self._root = psutil.Process(target.pid)
            self._root.cpu_times()
        except psutil.NoSuchProcess as error:
            raise ProcessLookupError(errno.ESRCH, f"There is no process {target.pid}") from error
        except psutil.AccessDenied as error:
            raise Unavailable(f"Process {target.pid} is another user's; run the monitor as that user.") from error
        self._target = self._add(self._root, None)
        self.refresh()

    @property
    def members(self) -> Mapping[int, Member]:
        """As last read."""
        return self._members

    def refresh(self) -> None:
        """Read all members now; see `Family.refresh`."""
        if self._is_over or not self._root.is_running():
            self._is_over = True
            raise ProcessLookupError(errno.ESRCH, f"Process {self._root.pid} has ended")
        self.num_changes += 1
        if time.monotonic() >= self._scan_at_sec:
            self._find_new()
        for pid in [pid for pid, member in self._members.items() if not self._read(member)]:
            del self._members[pid], self._processes[pid]
        if self._target.pid not in self._members:
            self._is_over = True
            raise ProcessLookupError(errno.ESRCH, f"Process {self._root.pid} has ended")
        self._is_over = self._target.is_zombie

    def _find_new(self) -> None:
        began = time.thread_time()
        try:
            for child in self._root.children(recursive=True):
                if child.pid not in self._members:
                    try:
                        self._add(child, self._members.get(child.ppid(), self._target))
                    except psutil.NoSuchProcess:
                        continue
        except psutil.NoSuchProcess:
            return  # the read that follows finds that the target is gone
        self._scan_at_sec = time.monotonic() + max(_SCAN_SEC, _SCAN_SHARE * (time.thread_time() - began))

    def _add(self, process: psutil.Process, parent: Member | None) -> Member:
        member = Member(process.pid, parent, is_excluded=process.pid in self._excluded)
        self._members[process.pid], self._processes[process.pid] = member, process
        return member

    def _read(self, member: Member) -> bool:
        """Read a process again; False where it is gone or another now has its pid."""
        process = self._processes[member.pid]
        try:
            if not process.is_running():
                return False
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                member.num_threads = process.num_threads()
                member.is_zombie = process.status() == psutil.STATUS_ZOMBIE
        except psutil.ZombieProcess:
            member.is_zombie = True
            return True
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True  # a descendant that became another user's: it is kept as last seen
        member.cpu_sec, member.system_sec = times.user + times.system, times.system
        # Linux alone tells what children that were waited for have used.
        reaped_system_sec = getattr(times, "children_system", 0.0)
        member.reaped_cpu_sec = getattr(times, "children_user", 0.0) + reaped_system_sec
        member.reaped_system_sec = reaped_system_sec
        member.rss_bytes, member.virtual_bytes = memory.rss, memory.vms
        return True
