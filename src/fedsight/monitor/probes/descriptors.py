"""Open file descriptors: a leak ends a long training.

Source: `/proc/<pid>/fd`, whose size Linux 6.2 and later tell without listing it; elsewhere psutil.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import ClassVar

from fedsight.monitor.family import Family, open_family
from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable


class DescriptorsProbe:
    """Descriptors (on Windows: handles) that the family holds, and how many its first process may."""

    name: ClassVar[str] = "descriptors"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo(
            "process.unix.file_descriptor.count", "{file_descriptor}", "gauge", "Open descriptors of the family"
        ),
        MetricInfo(
            "fedsight.process.file_descriptor.limit", "{file_descriptor}", "gauge", "How many the process may open"
        ),
        MetricInfo("process.windows.handle.count", "{handle}", "gauge", "Open handles of the family"),
    )

    def __init__(self, target: Target, *, family: Family | None = None) -> None:
        self._target = target
        self._family = family or open_family(target)
        try:
            self._count(target.pid)
        except PermissionError as error:
            self._family.close()
            raise Unavailable(f"{error}: another user's process; run the monitor as that user.") from error

    def read(self, values: dict[str, float]) -> None:
        """Descriptors now, of all members that may be read."""
        self._family.refresh_for(self)
        num_open = 0
        is_known = False
        for member in self._family.members.values():
            if member.is_excluded or member.is_zombie:
                continue
            try:
                num_open += self._count(member.pid)
                is_known = True
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has just ended, or is another user's
        if not is_known:
            return
        if sys.platform == "win32":
            values["process.windows.handle.count"] = num_open
            return
        values["process.unix.file_descriptor.count"] = num_open
        if sys.platform == "linux":
            import resource

            try:
                values["fedsight.process.file_descriptor.limit"] = resource.prlimit(
                    self._target.pid, resource.RLIMIT_NOFILE
                )[0]
            except (ProcessLookupError, PermissionError):
                return

    def close(self) -> None:
        """Let go of the files."""
        self._family.close()

    def _count(self, pid: int) -> int:
        if self._family.is_procfs:
            return count_open_files(pid)
        from fedsight.monitor import portable

        return portable.num_open_files(pid)


def count_open_files(pid: int) -> int:
    """How many descriptors a process holds."""
    folder = Path(f"/proc/{pid}/fd")
    # Whoever may not list it may still ask its size, and is told 0.
    if not os.access(folder, os.R_OK | os.X_OK):
        raise (
            PermissionError(errno.EACCES, "Not allowed to list", str(folder)) if folder.exists() else ProcessLookupError
        )
    return folder.stat().st_size or sum(1 for _ in folder.iterdir())
