"""How a child process hears its commands: from a pipe, one JSON object a line."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading

import msgspec

from fedsight.monitor.commands import AnyCommand
from fedsight.monitor.settings import Settings

_READ_BYTES = 1 << 16


class _Lines:
    """Whole lines out of what a pipe gives."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    def fill(self) -> None:
        """Read what there is, waiting where there is nothing. Raises `EOFError` at the pipe's end."""
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            raise EOFError
        self._buffer += data

    def next(self) -> bytes | None:
        """The next line that is complete; None where none is."""
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return line

    def wait(self) -> bytes:
        """The next line, however long it takes."""
        while (line := self.next()) is None:
            self.fill()
        return line


class PipeInbox:
    """Commands from a pipe. Its end, or the end of the parent process, is the end of all commands."""

    def __init__(self, fd: int, parent_pid: int) -> None:
        self._fd = fd
        self._parent_pid = parent_pid
        self._lines = _Lines(fd)
        self._decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)
        # The pipe may outlive the parent in forked workers of its own, so the parent itself is watched, too.
        self._parent_fd = _pidfd(parent_pid)
        self._target_fd = -1
        self._fds = [each for each in (fd, self._parent_fd) if each >= 0]

    def settings(self) -> Settings:
        """The first line. Raises `EOFError` where there is none."""
        return msgspec.json.decode(self._lines.wait(), type=Settings)

    def watch(self, pid: int) -> None:
        """Wake when the process `pid` ends."""
        if pid != self._parent_pid:
            self._target_fd = _pidfd(pid)
            if self._target_fd >= 0:
                self._fds.append(self._target_fd)

    def get(self, timeout_sec: float) -> AnyCommand | None:
        """See `Inbox`."""
        if (line := self._lines.next()) is None:
            readable = select.select(self._fds, [], [], max(0.0, timeout_sec))[0]
            if self._parent_fd in readable or (self._parent_fd < 0 and os.getppid() != self._parent_pid):
                raise EOFError
            if not readable:
                return None
            if self._target_fd in readable:
                self._fds.remove(self._target_fd)
                os.close(self._target_fd)
                self._target_fd = -1
            if self._fd not in readable:
                return None
            self._lines.fill()
            if (line := self._lines.next()) is None:
                return None
        return self._decoder.decode(line)


class PollingInbox:
    """The same where pipes can't be waited for together with other things (Windows): a thread reads."""

    def __init__(self, fd: int) -> None:
        self._lines = _Lines(fd)
        self._decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)
        self._received: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._has_ended = False

    def settings(self) -> Settings:
        """The first line. Raises `EOFError` where there is none."""
        settings = msgspec.json.decode(self._lines.wait(), type=Settings)
        threading.Thread(target=self._read, name="fedsight-inbox", daemon=True).start()
        return settings

    def watch(self, pid: int) -> None:
        """A process that has ended is noticed at the next reading."""

    def _read(self) -> None:
        try:
            while True:
                self._received.put(self._lines.wait())
        except (EOFError, OSError):
            self._received.put(None)

    def get(self, timeout_sec: float) -> AnyCommand | None:
        """See `Inbox`."""
        if self._has_ended:
            raise EOFError
        try:
            line = self._received.get(timeout=max(0.0, timeout_sec))
        except queue.Empty:
            return None
        if line is None:
            self._has_ended = True
            raise EOFError
        return self._decoder.decode(line)


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when `pid` ends; -1 where the system has no such thing."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1
