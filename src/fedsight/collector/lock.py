"""One collector a data folder: an advisory lock, so that two never append to the same journals."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from fedsight.errors import StoreError


class FolderLock:
    """Held from `__init__` until `release`; the system lets go of it when the process dies.

    Raises `StoreError` naming the holder.
    """

    def __init__(self, path: Path, what: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(self._fd)
            raise StoreError(f"{path.parent} is in use by {holder}. Stop that first.") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{what} (pid {os.getpid()})\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
