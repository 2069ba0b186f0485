"""Whom a monitor measures: a process and all its descendants, those who come and those who go.

New processes are found by the kernel's own cursor, the last pid it gave out (`/proc/loadavg`): only pids given out
since the last look are looked at, so that a process that starts no other costs nothing.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from fedsight.monitor.member import IDLE_SEC, LinuxMember, Member, has_cpu_clock, is_process, stat_of
from fedsight.monitor.probes.probe import Target, Unavailable

_MAX_KEPT_FILES = 32
"""More open files than this a monitor never takes from the training's own limit."""

_SHARED_SEC = 0.01
"""What probes read together is read once."""

_RETRY_SEC = 0.02
"""A pid is given out a little before its process can be seen."""

_MAX_RANGE = 500
"""From this many new pids on, listing all processes is cheaper than trying each."""

_FORKS_PER_SEC = 2000
"""No machine starts more threads and processes than this for long; used to tell when pids may have gone round."""

_PASSES = 3


class Family:
    """A process and its descendants; several probes of one thread share one, read once per sample.

    members: by pid, the target first, parents before children, those excluded too (they say so themselves).
    num_changes: as long as it stays the same, so do all members and their figures.
    """

    is_procfs = False
    """Whether this is Linux, where probes read `/proc`; else they go through psutil."""

    has_clocks = False

    def __init__(self) -> None:
        self.num_users = 1
        self.num_changes = 0
        self._refreshed_at_sec = -1.0
        self._seen_by: set[int] = set()

    @property
    def members(self) -> Mapping[int, Member]:
        """As last read."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Read all members now. Raises `ProcessLookupError` when the target is gone.

        A target that has ended and is still to be waited for can be read once more: its figures are final.
        """
        raise NotImplementedError

    def refresh_for(self, reader: object) -> None:
        """Read all members, unless another reader just did and `reader` hasn't seen it yet."""
        now_sec = time.monotonic()
        if id(reader) in self._seen_by or now_sec - self._refreshed_at_sec > _SHARED_SEC:
            self.refresh()
            self._refreshed_at_sec = now_sec
            self._seen_by.clear()
        self._seen_by.add(id(reader))

    def close(self) -> None:
        """Let go of the files, once each of its users has called this."""
        self.num_users -= 1


class LinuxFamily(Family):
    """A family read from `/proc`."""

    is_procfs = True

    def __init__(self, target: Target) -> None:
        super().__init__()
        if Path("/proc/self").readlink() != Path(str(os.getpid())):
            raise Unavailable("/proc shows another pid namespace than this process is in; mount its own /proc.")
        self._members: dict[int, LinuxMember] = {}
        self._pid = target.pid
        self._excluded = target.excluded_pids
        self._num_files = 0
        self._leaders: set[int] = set()
        self._retry: list[int] = []
        self._retry_at_sec = 0.0
        self._is_over = False
        self._max_sure_sec = int(Path("/proc/sys/kernel/pid_max").read_bytes()) / _FORKS_PER_SEC
        self._loadavg_file = os.open("/proc/loadavg", os.O_RDONLY)
        self._last_pid = self._newest_pid()
        self._scanned_at_sec = time.monotonic()
        self.has_clocks = has_cpu_clock(target.pid)
        self._add(target.pid)
        if target.pid not in self._members:
            os.close(self._loadavg_file)
            raise ProcessLookupError(errno.ESRCH, f"There is no process {target.pid}")
        self._join_all()

    @property
    def members(self) -> Mapping[int, Member]:
        """As last read."""
        return self._members

    def refresh(self) -> None:
        """Read all members now; see `Family.refresh`."""
        if self._is_over:
            raise ProcessLookupError(errno.ESRCH, f"Process {self._pid} has ended")
        if self._stands_still():
            return
        self.num_changes += 1
        # Whoever went during a pass may be in its parent's figures, read before: read all once more.
        for _ in range(_PASSES):
            self._find_new()
            gone = [member for member in self._members.values() if not self._read(member)]
            for member in gone:
                self._remove(member)
            if self._pid not in self._members:
                self._is_over = True
                raise ProcessLookupError(errno.ESRCH, f"Process {self._pid} has ended")
            if not gone:
                break
            # Even those whose clocks stand still: a parent's moves at the next tick only, an orphan's not at all.
            for member in self._members.values():
                member.look_again()
        self._is_over = self._members[self._pid].is_zombie

    def _stands_still(self) -> bool:
        """Whether no member has run since the last pass: then none has started a process, ended or grown either."""
        if not self.has_clocks or self._retry or time.monotonic() - self._scanned_at_sec > IDLE_SEC:
            return False
        return all(member.stands_still() for member in self._members.values())

    def close(self) -> None:
        """Let go of the files, once each of its users has called this."""
        super().close()
        if self.num_users == 0:
            for member in list(self._members.values()):
                self._remove(member)
            os.close(self._loadavg_file)

    # ── who is in it ──────────────────────────────────────────────────────────────────────────

    def _newest_pid(self) -> int:
        return int(os.pread(self._loadavg_file, 128, 0).split()[4])

    def _find_new(self) -> None:
        newest, now = self._newest_pid(), time.monotonic()
        num_new = newest - self._last_pid
        if newest <= 0 or num_new < 0 or num_new > _MAX_RANGE or now - self._scanned_at_sec > self._max_sure_sec:
            self._join_all()
        else:
            if self._retry and now >= self._retry_at_sec:
                self._join(self._retry)
                self._retry = []
            if num_new:
                self._retry += self._join(range(self._last_pid + 1, newest + 1))
                self._retry_at_sec = now + _RETRY_SEC
        self._last_pid = newest
        self._scanned_at_sec = now

    def _join(self, pids: Iterable[int]) -> list[int]:
        """Take in those of `pids` that belong here; returns those that aren't processes (yet)."""
        missing = []
        for pid in pids:
            if pid in self._members:
                continue
            # Threads have pids too, but no CPU clock of a process.
            stat = None if self.has_clocks and not has_cpu_clock(pid) else stat_of(pid)
            if stat is None:
                missing.append(pid)
            elif self._belongs(stat) and (self.has_clocks or is_process(pid)):
                self._add(pid)
        return missing

    def _join_all(self) -> None:
        found: dict[int, list[bytes]] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) not in self._members:
                stat = stat_of(int(folder.name))
                if stat is not None:
                    found[int(folder.name)] = stat
        while new := [pid for pid, stat in found.items() if self._belongs(stat)]:
            for pid in new:
                del found[pid]
                self._add(pid)

    def _belongs(self, stat: list[bytes]) -> bool:
        """A child of a member, or an orphan in a session that a member opened."""
        return int(stat[1]) in self._members or int(stat[3]) in self._leaders

    def _add(self, pid: int) -> None:
        keep_files = self._num_files + 2 <= _MAX_KEPT_FILES
        member = LinuxMember(pid, None, is_excluded=pid in self._excluded, keep_files=keep_files)
        self._num_files += member.num_files
        if not self._read(member):
            self._let_go(member)
            return
        member.is_excluded |= member.parent is not None and member.parent.is_excluded
        self._members[pid] = member

    def _read(self, member: LinuxMember) -> bool:
        if not member.read(has_clock=self.has_clocks):
            return False
        if member.parent is None or member.parent.pid != member.parent_pid:
            member.parent = self._members.get(member.parent_pid)
        if member.session == member.pid and not member.is_excluded:
            self._leaders.add(member.pid)
        return True

    def _remove(self, member: LinuxMember) -> None:
        del self._members[member.pid]
        self._leaders.discard(member.pid)
        self._let_go(member)

    def _let_go(self, member: LinuxMember) -> None:
        self._num_files -= member.num_files
        member.close()


# ── one family for all probes of a thread ─────────────────────────────────────────────────────

_here = threading.local()


def _open_here() -> dict[Target, Family]:
    families: dict[Target, Family] = _here.__dict__.setdefault("families", {})
    for target, family in list(families.items()):
        if family.num_users == 0:
            del families[target]
    return families


def open_family(target: Target) -> Family:
    """The family of `target`, shared by the probes that this thread opens. Each calls `close()`.

    Raises `ProcessLookupError` where there is no such process, `Unavailable` where it can't be read.
    """
    families = _open_here()
    family = families.get(target)
    if family is not None:
        family.num_users += 1
        return family
    if sys.platform == "linux":
        families[target] = LinuxFamily(target)
    else:
        from fedsight.monitor.family_psutil import PsutilFamily

        families[target] = PsutilFamily(target)
    return families[target]


def descendants(pid: int) -> set[int]:
    """The pids of all living descendants of a process; of a family that this thread has open, as last read."""
    for target, family in _open_here().items():
        if target.pid == pid:
            return {member.pid for member in family.members.values() if not member.is_excluded} - {pid}
    family = open_family(Target(pid))
    try:
        return set(family.members) - {pid}
    finally:
        family.close()
