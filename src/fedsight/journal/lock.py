"""The mark of a live writer: an advisory `flock` on the journal's newest file."""

from __future__ import annotations

import sys
import time

if sys.platform == "win32":  # pragma: no cover

    def try_lock(fd: int) -> bool:
        """Windows has no flock; a journal there is taken to have one writer."""
        return True

    def is_locked(fd: int) -> bool:
        """Not known on Windows: nobody is seen."""
        return False

else:
    import fcntl

    _TRIES = 20

    def try_lock(fd: int) -> bool:
        """Take the writer's lock, or say that somebody else has it.

        `is_locked` holds a shared lock for microseconds, so one refusal proves nothing.
        """
        for attempt in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < _TRIES:
                    time.sleep(0.002)
            else:
                return True
        return False

    def is_locked(fd: int) -> bool:
        """Whether a live writer holds the lock; `fd` must be a descriptor of the asker's own."""
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False
