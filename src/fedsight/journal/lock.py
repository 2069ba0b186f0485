"""The mark of a live writer: an advisory `flock` on the journal's newest file."""

from __future__ import annotations

import contextlib
import logging
import sys
import time

logger = logging.getLogger("fedsight")

if sys.platform == "win32":  # pragma: no cover

    def try_lock(fd: int) -> bool:
        """Windows has no flock; a journal there is taken to have one writer."""
        return True

    def is_locked(fd: int) -> bool:
        """Not known on Windows: nobody is seen."""
        return False

    def unlock(fd: int) -> None:
        """There is none on Windows."""

else:
    import fcntl

    _TRIES = 20

    def try_lock(fd: int) -> bool:
        """Take the writer's lock, or say that somebody else has it.

        `is_locked` holds a shared lock for microseconds, so one refusal proves nothing. A file system
        without locks (Lustre and NFS, as some mount them) is taken to have one writer.
        """
        for attempt in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < _TRIES:
                    time.sleep(0.002)
            except OSError as error:
                _say_once(error)
                return True
            else:
                return True
        return False

    def is_locked(fd: int) -> bool:
        """Whether a live writer holds the lock; `fd` must be a descriptor of the asker's own.

        Where that can't be known, it is taken to live.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                _say_once(error)
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False

    def unlock(fd: int) -> None:
        """Let the writer's lock go, before the descriptor is closed."""
        with contextlib.suppress(OSError):  # there was none
            fcntl.flock(fd, fcntl.LOCK_UN)

    _said: set[int | None] = set()

    def _say_once(error: OSError) -> None:
        if error.errno not in _said:
            _said.add(error.errno)
            logger.warning(
                "fedsight: this file system has no file locks (%s): two processes that write the same run are not "
                "kept apart, and a killed writer is not told from a live one.",
                error,
            )
