"""Bytes that the process and its descendants read from and wrote to storage (not those served by the page cache).

Source: `read_bytes` and `write_bytes` of `/proc/<pid>/io` (proc(5)); elsewhere psutil, which gives all bytes of I/O.
"""

from __future__ import annotations

from typing import ClassVar

from fedsight.monitor.family import Family, open_family
from fedsight.monitor.family_total import Amounts, FamilyTotal
from fedsight.monitor.member import Member, read_file
from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_READ = key("process.disk.io", disk_io_direction="read")
_WRITE = key("process.disk.io", disk_io_direction="write")
_PASSES = 3


class DiskProbe:
    """Bytes of storage I/O since the start. Ended children stay counted."""

    name: ClassVar[str] = "disk"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("process.disk.io", "By", "counter", "Bytes the family read from and wrote to storage"),
    )

    def __init__(self, target: Target, *, family: Family | None = None) -> None:
        self._family = family or open_family(target)
        self._total = FamilyTotal()
        self._io_of = _io_of
        if not self._family.is_procfs:
            from fedsight.monitor.portable import io_bytes

            self._io_of = io_bytes
        try:
            self._io_of(target.pid)
            self._start = self._measure()
        except PermissionError as error:
            self._family.close()
            raise Unavailable(f"{error}: another user's process; run the monitor as that user.") from error
        except (FileNotFoundError, NotImplementedError) as error:
            self._family.close()
            raise Unavailable(f"This system does not count a process's storage I/O ({error}).") from error

    def read(self, values: dict[str, float]) -> None:
        """Bytes since the start."""
        now = self._measure()
        values[_READ] = now[0] - self._start[0]
        values[_WRITE] = now[1] - self._start[1]

    def close(self) -> None:
        """Let go of the files."""
        self._family.close()

    def _measure(self) -> Amounts:
        self._family.refresh_for(self)
        # One that ends meanwhile is in its parent's figures, maybe since these were read: then all are read again.
        for _ in range(_PASSES):
            amounts: dict[Member, Amounts] = {}
            is_whole = True
            for member in self._family.members.values():
                try:
                    amounts[member] = self._io_of(member.pid)
                except (FileNotFoundError, ProcessLookupError):
                    is_whole = False
                except PermissionError:  # a descendant that became another user's
                    continue
            if is_whole:
                break
            self._family.refresh()
        # Only Linux hands a child's figures on to its parent.
        inherited = amounts if self._family.is_procfs else dict.fromkeys(amounts, (0.0, 0.0))
        return self._total.update(amounts, inherited)


def _io_of(pid: int) -> Amounts:
    fields = dict(line.split(b": ") for line in read_file(f"/proc/{pid}/io").splitlines())
    return int(fields[b"read_bytes"]), int(fields[b"write_bytes"])
