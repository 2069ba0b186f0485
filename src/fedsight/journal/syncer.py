"""Bringing files to the disk in a thread of its own, so that no log call waits for a disk."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque

logger = logging.getLogger("fedsight")

_MOST_WAITING = 4


class Syncer:
    """Syncs and closes the descriptors that it is handed. Its thread starts with the first."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the disk is so slow that asking for more is of no use."""
        return len(self._waiting) >= _MOST_WAITING

    def sync(self, fd: int) -> None:
        """Take over `fd`: sync it soon, then close it."""
        self._waiting.append(fd)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="fedsight-sync", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: no more threads
                self._work()
                return
            self._thread = thread
        self._wake.set()

    def stop(self, timeout_sec: float) -> None:
        """Wait, `timeout_sec` at most, until all is on the disk."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_sec)
            if self._thread.is_alive():
                logger.warning("fedsight: the disk is slow; the end of the journal may not have reached it yet.")

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._work()
            if self._stopping and not self._waiting:
                return

    def _work(self) -> None:
        while self._waiting:
            fd = self._waiting.popleft()
            try:
                os.fdatasync(fd)
            except OSError as error:
                logger.warning("fedsight: the journal could not be synced to disk: %s", error)
            finally:
                os.close(fd)
