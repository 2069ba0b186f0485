"""One process as it was last read, and how Linux's `/proc` and CPU clocks are read for it. Formats: proc(5)."""

from __future__ import annotations

import os
import sys
import time

if sys.platform != "win32":
    import resource

TICK_SEC = 1 / os.sysconf("SC_CLK_TCK") if sys.platform == "linux" else 0.01
"""What CPU times are counted in where there is no clock to the nanosecond."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else 4096

IDLE_SEC = 1.0
"""A process whose CPU clock stands still is not read again before this."""


class Member:
    """One process of a family. `parent` is None where that is no longer in the family.

    cpu_sec, system_sec: its own, all its threads, ended ones too. reaped_*: of the children that it has waited for.
    Faults include those of children waited for; None where the platform doesn't tell.
    """

    def __init__(self, pid: int, parent: Member | None, *, is_excluded: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.is_excluded: bool = is_excluded or (parent is not None and parent.is_excluded)
        self.is_zombie = False
        self.cpu_sec = self.system_sec = self.reaped_cpu_sec = self.reaped_system_sec = 0.0
        self.rss_bytes = self.virtual_bytes = self.num_threads = 0
        self.minor_faults: int | None = None
        self.major_faults: int | None = None


class LinuxMember(Member):
    """A process read from `/proc`. Its pid alone proves nothing, for pids are given out again.

    Files that are kept open are the same process's for ever; without them its start time tells.
    """

    def __init__(self, pid: int, parent: Member | None, *, is_excluded: bool, keep_files: bool) -> None:
        super().__init__(pid, parent, is_excluded=is_excluded)
        self.parent_pid = 0
        self.session = 0
        self._is_this_process = pid == os.getpid()
        self._started_ticks = -1
        self._clock = cpu_clock(pid)
        self._clock_ns = -1
        self._read_at_sec = -IDLE_SEC
        self._stat_due_sec = -1.0
        self._files: list[int] = []
        if keep_files:
            for name in ("stat", "statm"):
                try:
                    self._files.append(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
                except OSError:  # it is gone, which reading will find, or there are no more descriptors to be had
                    self.close()
                    break

    @property
    def num_files(self) -> int:
        """How many files are kept open."""
        return len(self._files)

    def read(self, *, has_clock: bool) -> bool:
        """Read the process again; False where it is gone."""
        if self._is_this_process and self.is_excluded and self._started_ticks >= 0:
            return True  # a monitor that measures from outside leaves itself out, and need not look at itself
        now = time.monotonic()
        clock_ns = -1
        if has_clock:
            try:
                clock_ns = time.clock_gettime_ns(self._clock)
            except OSError:
                return False
            if clock_ns == self._clock_ns and self._read_at_sec > now - IDLE_SEC:
                return True
        try:
            if self._is_this_process and self._files and now < self._stat_due_sec:
                # Its CPU time and faults it can ask for itself: cheaper, and other threads need not wait for a file.
                self._take_own(clock_ns)
                self._clock_ns, self._read_at_sec = clock_ns, now
                self._take_sizes(os.pread(self._files[1], 128, 0))
                return True
            if self._files:
                stat, statm = os.pread(self._files[0], 1024, 0), os.pread(self._files[1], 128, 0)
            else:
                stat, statm = read_file(f"/proc/{self.pid}/stat"), read_file(f"/proc/{self.pid}/statm")
        except (FileNotFoundError, ProcessLookupError):
            return False
        fields = stat_fields(stat)
        started_ticks = int(fields[19])
        if self._started_ticks not in (-1, started_ticks):
            return False
        # "X": its parent is just adding its times to its own.
        if fields[0] == b"X":
            return False
        self._started_ticks = started_ticks
        self._take(fields, clock_ns)
        self._clock_ns, self._read_at_sec = clock_ns, -IDLE_SEC if self.is_zombie else now
        self._stat_due_sec = now + IDLE_SEC
        self._take_sizes(statm)
        return True

    def stands_still(self) -> bool:
        """Whether it was read before, and has not run since."""
        if self._is_this_process and self.is_excluded:
            return True
        try:
            return self._read_at_sec >= 0 and time.clock_gettime_ns(self._clock) == self._clock_ns
        except OSError:
            return False

    def look_again(self) -> None:
        """Read it the next time even though it may have been idle."""
        self._read_at_sec = -IDLE_SEC

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            os.close(file)
        self._files.clear()

    def _take(self, stat: list[bytes], clock_ns: int) -> None:
        self.parent_pid, self.session = int(stat[1]), int(stat[3])
        self.num_threads = int(stat[17])
        self.is_zombie = stat[0] == b"Z" and self.num_threads <= 1
        self.minor_faults = int(stat[7]) + int(stat[8])
        self.major_faults = int(stat[9]) + int(stat[10])
        self.system_sec = int(stat[12]) * TICK_SEC
        self.cpu_sec = clock_ns * 1e-9 if clock_ns >= 0 else int(stat[11]) * TICK_SEC + self.system_sec
        if self._is_this_process:
            self._take_own(clock_ns)
            return
        # Whole ticks, rounded down: half a tick on top makes them right on average.
        user_sec, system_sec = ((ticks + 0.5) * TICK_SEC if ticks else 0.0 for ticks in map(int, stat[13:15]))
        self.reaped_cpu_sec = user_sec + system_sec
        self.reaped_system_sec = system_sec

    def _take_own(self, clock_ns: int) -> None:
        """What Linux tells a process of itself and of the children it has waited for, to the microsecond."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        self.minor_faults = own.ru_minflt + children.ru_minflt
        self.major_faults = own.ru_majflt + children.ru_majflt
        self.system_sec = own.ru_stime
        self.cpu_sec = clock_ns * 1e-9 if clock_ns >= 0 else own.ru_utime + own.ru_stime
        self.reaped_cpu_sec = children.ru_utime + children.ru_stime
        self.reaped_system_sec = children.ru_stime

    def _take_sizes(self, statm: bytes) -> None:
        size, resident = statm.split(maxsplit=2)[:2]
        self.virtual_bytes = int(size) * _PAGE_BYTES
        self.rss_bytes = int(resident) * _PAGE_BYTES


def cpu_clock(pid: int) -> int:
    """The id of a process's CPU clock (all threads), as Linux's `clock_getcpuclockid` makes it.

    Of a process that is just running, it stands as of the scheduler's last tick, 1 to 10 ms ago.
    """
    return (~pid << 3) | 2


def has_cpu_clock(pid: int) -> bool:
    """Whether `pid` is a process (and no further thread of one) whose CPU clock can be read."""
    try:
        time.clock_gettime_ns(cpu_clock(pid))
    except OSError:
        return False
    return True


def read_file(path: str, max_bytes: int = 4096) -> bytes:
    """What a file of `/proc` says, at a fifth of the cost of Python's own file objects."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, max_bytes, 0)
    finally:
        os.close(file)


def stat_fields(stat: bytes) -> list[bytes]:
    """The fields of a stat line from the third, the state, on; the second may hold anything, also ")"."""
    return stat[stat.rindex(b")") + 2 :].split()


def stat_of(pid: int) -> list[bytes] | None:
    """The fields of `/proc/<pid>/stat`; None where there is no such process."""
    try:
        return stat_fields(read_file(f"/proc/{pid}/stat", 1024))
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_process(pid: int) -> bool:
    """Whether a pid is a process's, and not one of its further threads'."""
    try:
        return f"\nTgid:\t{pid}\n".encode() in read_file(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return False
