"""The process form's child: a small interpreter of its own that measures the training from outside.

Started by path, isolated (`python -I -S …/child.py PATH…`): neither the training's folder nor its
environment nor `sitecustomize` have a say in it. It reads settings and commands from its standard
input, one JSON object a line, and answers on its standard output.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Behind the standard library, so that no module of the training's stands in for one of Python's.
    sys.path += sys.argv[1:]

import contextlib
import importlib
import os
import select
import signal
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from fedsight.monitor.commands import AnyCommand, AnyReply, AskPending, Done
from fedsight.monitor.settings import Settings

if TYPE_CHECKING:
    from fedsight.monitor.worker import Worker

_LOOK_AROUND_SEC = 0.1
_READ_BYTES = 1 << 16


class PipeInbox:
    """Commands from a pipe. Its end, or the end of the parent process, is the end of all commands."""

    def __init__(self, fd: int, parent_pid: int) -> None:
        self._fd = fd
        self._parent_pid = parent_pid
        self._decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)
        self._buffer = b""
        # The pipe may outlive the parent in forked workers of its own, so the parent itself is watched, too.
        self._parent_fd = _pidfd(parent_pid)
        self._target_fd = -1

    def settings(self) -> Settings:
        """The first line. Raises `EOFError` where there is none."""
        while (line := self._line()) is None:
            self._fill()
        return msgspec.json.decode(line, type=Settings)

    def watch(self, pid: int) -> None:
        """Wake when the process `pid` ends."""
        if pid != self._parent_pid:
            self._target_fd = _pidfd(pid)

    def get(self, timeout_sec: float) -> AnyCommand | None:
        """See `Inbox`."""
        if (line := self._line()) is None:
            fds = [fd for fd in (self._fd, self._parent_fd, self._target_fd) if fd >= 0]
            readable = select.select(fds, [], [], max(0.0, timeout_sec))[0]
            if self._parent_fd in readable or os.getppid() != self._parent_pid:
                raise EOFError
            if self._target_fd in readable:
                os.close(self._target_fd)
                self._target_fd = -1
            if self._fd not in readable:
                return None
            self._fill()
            if (line := self._line()) is None:
                return None
        return self._decoder.decode(line)

    def _line(self) -> bytes | None:
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return line

    def _fill(self) -> None:
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            raise EOFError
        self._buffer += data


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when `pid` ends; -1 where the system has no such thing."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1


def _import_late(name: str) -> None:
    """Have a module loaded when something of it is used, and not before."""
    if name in sys.modules:
        return
    stand_in = types.ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules[name] is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[name] = stand_in


def main() -> None:
    """Measure as told, then end at once."""
    _import_late("psutil")  # probes need it on other systems than Linux; a megabyte and a half
    from fedsight.monitor.worker import work

    replies = os.dup(1)
    os.dup2(2, 1)  # whatever prints here must not speak to the parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training's; the last reading is still to come
    inbox = PipeInbox(0, os.getppid())

    def reply(answer: AnyReply) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone, which the inbox tells
            os.write(replies, msgspec.json.encode(answer) + b"\n")

    try:
        settings = inbox.settings()
        settings.excluded_pids.append(os.getpid())
        inbox.watch(settings.pid)
        worker = work(settings, inbox, reply, time.process_time)
        if worker is not None:
            _ship(worker, inbox, reply)
    except EOFError:
        pass
    sys.stderr.flush()
    os._exit(0)  # without the time that a tidy end of the interpreter takes


def _ship(worker: Worker, inbox: PipeInbox, reply: Callable[[AnyReply], None]) -> None:
    """Deliver the rest of the journal, for as long as the parent lives."""
    shipping = worker.shipping
    if shipping is None:
        return
    shipping.finish(0)
    while not shipping.is_done:
        command = inbox.get(_LOOK_AROUND_SEC)
        if isinstance(command, AskPending):
            reply(Done(seq=command.seq, text=worker.pending()))


if __name__ == "__main__":
    main()
