"""Writing a journal: one `os.write` a line, nothing kept in user space, nothing torn."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fedsight.errors import JournalError
from fedsight.events import JournalHeader, Role, encode
from fedsight.journal.lock import try_lock, unlock
from fedsight.journal.names import segment_path, segments, sibling_path
from fedsight.journal.reader import read_header
from fedsight.journal.recover import Recovery, recover
from fedsight.journal.syncer import Syncer

VERSION = 1
ROLL_BYTES = 256 << 20
_RETRY_SEC = 1.0

Durability = Literal["process", "disk"]

logger = logging.getLogger("fedsight")


class JournalExists(JournalError):
    """A journal that had to be new is there already."""


class JournalWriter:
    """The one writer of a journal.

    Opens `path`, or goes on with it where it exists and nobody writes to it; where somebody does,
    opens a journal beside it. A disk that is full or a folder that can't be written costs events,
    which `num_lost` counts, but never raises: recording goes on when it can again.

    must_be_new: raise `JournalExists` where the journal exists.
    durability: "process" survives the death of this process; "disk" also that of the machine, by
        one `fdatasync` a line.
    on_open: called with what was found, whenever a journal was opened (again after a failure or a
        fork); returns the lines to begin with.
    """

    def __init__(
        self,
        path: Path,
        *,
        role: Role,
        run_id: str | None,
        client_id: str | None = None,
        must_be_new: bool = False,
        durability: Durability = "process",
        roll_bytes: int = ROLL_BYTES,
        on_open: Callable[[JournalWriter, Recovery | None], list[bytes]] | None = None,
    ) -> None:
        self.path = path
        self.role: Role = role
        self.run_id = run_id
        self.client_id = client_id
        self.durability = durability
        self.num_lost = 0
        self.end = 0
        self.is_copy = False
        self._wanted = path
        self._roll_bytes = roll_bytes
        self._on_open = on_open
        self._fd = -1
        self._base = 0
        self._closed = False
        self._forked = False
        self._has_begun = False
        self._retry_at = 0.0
        self._num_lost_before = 0
        self._was_failing = False
        # Reentrant: a signal or logging handler may log amid a log call.
        self._lock = threading.RLock()
        self._syncer = Syncer()
        _writers.add(self)
        with self._lock:
            self._try_open(must_be_new)

    # ── appending ─────────────────────────────────────────────────────────────────────────────

    def append(self, line: bytes) -> bool:
        """Write one line (newline included). False when it could not be recorded."""
        with self._lock:
            if self._fd < 0 and not self._reopen():
                self.num_lost += 1
                return False
            try:
                written = os.write(self._fd, line)
                if written != len(line):
                    self._undo(written, len(line))
            except OSError as error:
                self.num_lost += 1
                self._say_failing(error)
                return False
            self.end += written
            if self.durability == "disk":
                self._sync_now()
            if self._was_failing:
                self._note_recovery()
            if self.end - self._base >= self._roll_bytes:
                self._roll()
            return True

    def sync_soon(self) -> None:
        """Have everything so far brought to the disk, by a thread of its own."""
        with self._lock:
            if self._fd >= 0 and not self._syncer.is_behind:
                self._syncer.sync(os.dup(self._fd))

    def close(self, timeout_sec: float = 30.0) -> None:
        """Bring all to the disk, waiting `timeout_sec` at most, and let go. Later appends are lost and counted."""
        with self._lock:
            self._closed = True
            fd, self._fd = self._fd, -1
        if fd >= 0:
            # The lock goes with the last descriptor, so it is let go first: it marks a writer, not a sync.
            unlock(fd)
            self._syncer.sync(fd)
        self._syncer.stop(timeout_sec)

    # ── opening ───────────────────────────────────────────────────────────────────────────────

    def _try_open(self, must_be_new: bool = False) -> bool:
        try:
            self._open(must_be_new)
        except OSError as error:
            self._close_fd()
            self._retry_at = time.monotonic() + _RETRY_SEC
            self._say_failing(error)
            return False
        return True

    def _open(self, must_be_new: bool) -> None:
        self._wanted.parent.mkdir(parents=True, exist_ok=True)
        found = segments(self._wanted)
        self.path = self._wanted
        self._base, newest = found[-1] if found else (0, self._wanted)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(newest, flags | (os.O_EXCL if must_be_new else 0), 0o644)
        except FileExistsError as error:
            raise JournalExists(f"{newest} exists.") from error
        if self._forked or not try_lock(self._fd):
            self._open_beside()
            return
        recovery = recover(self._wanted, self._fd, self._base)
        self.end = recovery.end
        if self.end > self._base:
            header = read_header(newest)
            if (header.run_id, header.role, header.client_id) != (self.run_id, self.role, self.client_id):
                self._close_fd()
                raise JournalError(
                    f"{self._wanted} belongs to run {header.run_id!r}, {header.role} {header.client_id or ''}: "
                    "choose another runs_dir or run_id."
                )
            self.journal = header.journal
            self._begin(recovery)
        else:
            # A rolled file whose header was torn off goes on under the journal's own id.
            self._write_header(read_header(self._wanted).journal if self._base else secrets.token_hex(16))
            self._begin(None)

    def _open_beside(self) -> None:
        """Somebody else writes to the journal that we wanted: have one of our own beside it."""
        self._close_fd()
        self.is_copy = True
        self.path = sibling_path(self._wanted, secrets.token_hex(4))
        self._base = 0
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try_lock(self._fd)
        self.end = 0
        self._write_header(secrets.token_hex(16))
        self._begin(None)

    def _write_header(self, journal: str) -> None:
        self.journal = journal
        header = JournalHeader(
            ts=time.time(),
            version=VERSION,
            journal=journal,
            role=self.role,
            run_id=self.run_id,
            client_id=self.client_id,
            base=self._base,
        )
        self._write_or_undo(encode(header))

    def _begin(self, recovery: Recovery | None) -> None:
        if self._has_begun:
            return  # opened again after trouble: it is the same recording
        for line in self._on_open(self, recovery) if self._on_open else ():
            self._write_or_undo(line)
        self._has_begun = True

    def _write_or_undo(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        if written != len(line):
            self._undo(written, len(line))
        self.end += written

    def _undo(self, written: int, wanted: int) -> None:
        """Take half a line back; raises `OSError` in any case."""
        try:
            os.ftruncate(self._fd, self.end - self._base)
        except OSError:
            # Nothing may follow half a line: opening again cuts it off.
            self._close_fd()
            self._retry_at = time.monotonic() + _RETRY_SEC
            raise
        raise OSError(f"only {written} of {wanted} bytes fitted")

    def _sync_now(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._say_failing(error)

    def _roll(self) -> None:
        """Go on in a new file; the closed one may be removed once everybody has read it."""
        old_fd, old_base, old_end = self._fd, self._base, self.end
        segment = segment_path(self.path, self.end)
        unfinished = segment.with_name(segment.name + ".new")
        try:
            self._fd = os.open(unfinished, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try_lock(self._fd)
            self._base = self.end
            self._write_header(self.journal)
            # Seen only now, locked and with its header: nobody takes the writer for dead meanwhile.
            unfinished.rename(segment)
        except OSError as error:
            # Recording goes on in the old file; after as much again it is tried anew.
            if self._fd != old_fd:
                os.close(self._fd)
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            self.end = old_end
            self._fd, self._base = old_fd, old_base
            logger.warning("fedsight: could not roll %s to a new file: %s", self.path, error)
            self._roll_bytes *= 2
            return
        self._syncer.sync(old_fd)

    def _reopen(self) -> bool:
        if self._closed or time.monotonic() < self._retry_at:
            return False
        return self._try_open()

    # ── trouble ───────────────────────────────────────────────────────────────────────────────

    def _say_failing(self, error: OSError) -> None:
        if not self._was_failing:
            self._was_failing = True
            logger.warning(
                "fedsight: cannot record to %s: %s. Training goes on; events are not recorded until this is mended.",
                self.path,
                error,
            )

    def _note_recovery(self) -> None:
        self._was_failing = False
        missing = self.num_lost - self._num_lost_before
        self._num_lost_before = self.num_lost
        logger.warning("fedsight: recording to %s again; %d events were not recorded.", self.path, missing)

    def _close_fd(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _forget_after_fork(self) -> None:
        """In a forked child: the file is the parent's. The first call here opens a journal beside it."""
        self._forked = True
        self._has_begun = False
        self._lock = threading.RLock()
        self._syncer = Syncer()
        self._close_fd()
        self.num_lost = self._num_lost_before = 0
        self._retry_at = 0.0


_writers: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer._forget_after_fork()  # noqa: SLF001 - one module's own business


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
