"""Context switches: involuntary ones say that others want the same CPUs, voluntary ones that the process waits.

Sources: getrusage(2) for the process that the monitor runs in; for others `/proc/<pid>/task/*/status` (proc(5)), which
the kernel keeps per thread, so that threads which came and went between two samples are missing; elsewhere psutil.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

from fedsight.monitor.family import Family, open_family
from fedsight.monitor.member import Member, read_file
from fedsight.monitor.probes.probe import MetricInfo, Target

_VOLUNTARY = "process.context_switches{process.context_switch.type=voluntary}"
_INVOLUNTARY = "process.context_switches{process.context_switch.type=involuntary}"

_COST = 200
"""A process with many threads has many files to read: at most 1/200 of the time."""

Switches = tuple[int, int]


class ContextSwitchesProbe:
    """Switches since the start, of all threads of the family."""

    name: ClassVar[str] = "context_switches"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("process.context_switches", "{context_switch}", "counter", "Times the family's threads left a CPU"),
    )

    def __init__(self, target: Target, *, family: Family | None = None) -> None:
        self._family = family or open_family(target)
        self._last: dict[Member, dict[int, Switches]] = {}
        self._total = (0, 0)
        self._due_at_sec = -1.0
        self._measure(is_first=True)

    def read(self, values: dict[str, float]) -> None:
        """Switches since the start. Left out of a sample where reading all threads again would cost too much."""
        if time.monotonic() < self._due_at_sec:
            return
        self._measure(is_first=False)
        values[_VOLUNTARY], values[_INVOLUNTARY] = self._total

    def close(self) -> None:
        """Let go of the files."""
        self._family.close()

    def _measure(self, *, is_first: bool) -> None:
        began = time.thread_time()
        self._family.refresh_for(self)
        now: dict[Member, dict[int, Switches]] = {}
        for member in self._family.members.values():
            if not (member.is_excluded or member.is_zombie):
                now[member] = threads = self._switches_of(member)
                before = self._last.get(member, {})
                if not is_first:
                    for tid, (voluntary, involuntary) in threads.items():
                        had = before.get(tid, (0, 0))
                        # A thread's id may be given out again, to one that starts from 0.
                        if voluntary < had[0] or involuntary < had[1]:
                            had = (0, 0)
                        self._total = (
                            self._total[0] + voluntary - had[0],
                            self._total[1] + involuntary - had[1],
                        )
        self._last = now
        self._due_at_sec = time.monotonic() + _COST * (time.thread_time() - began) - 0.05

    def _switches_of(self, member: Member) -> dict[int, Switches]:
        if self._family.is_procfs:
            return switches_of(member.pid)
        from fedsight.monitor import portable

        try:
            return {member.pid: portable.context_switches(member.pid)}
        except (ProcessLookupError, PermissionError):
            return {}


def switches_of(pid: int) -> dict[int, Switches]:
    """Voluntary and involuntary switches by thread; of the whole process, under its pid, where that is known."""
    if pid == os.getpid():
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {pid: (usage.ru_nvcsw, usage.ru_nivcsw)}
    threads = {}
    try:
        for folder in Path(f"/proc/{pid}/task").iterdir():
            _, _, tail = read_file(f"{folder}/status").rpartition(b"\nvoluntary_ctxt_switches:")
            if tail:
                voluntary, _, involuntary = tail.partition(b"nonvoluntary_ctxt_switches:")
                threads[int(folder.name)] = (int(voluntary), int(involuntary))
    except (FileNotFoundError, ProcessLookupError):  # the process, or one of its threads, has just ended
        return threads
    return threads
