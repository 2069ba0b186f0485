"""The two forms of a monitor: a thread of the training, or a child process beside it. Both run `worker.work`."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from fedsight.errors import FedsightError, UsageError
from fedsight.monitor import child
from fedsight.monitor.commands import AnyCommand, AnyReply, AskPending, Done, Failed, Ready, Stop
from fedsight.monitor.settings import Settings
from fedsight.monitor.worker import Worker, work

logger = logging.getLogger("fedsight")

FormName = Literal["process", "thread"]

_START_SEC = 30.0
_CALL_SEC = 5.0
"""How long the training waits for a monitor that doesn't answer, before it is given up."""


class MonitorLost(FedsightError):
    """The thread or child process is gone, or doesn't answer."""


class Form(Protocol):
    """One window of measuring, as its monitor sees it."""

    def start(self, settings: Settings) -> Ready:
        """Begin; returns when the first reading is taken. Raises `UsageError` where it can't begin."""

    def call(self, command: AnyCommand) -> Done:
        """Have a command carried out. Raises `MonitorLost`."""

    def pending(self) -> str | None:
        """After the stop: a sentence on what the collector doesn't have yet; None where it has all."""

    def finish(self, timeout_sec: float) -> bool:
        """After the stop: wait until all is put away and delivered. False: not in time."""

    def abandon(self) -> None:
        """End it without waiting for deliveries. What is not delivered stays in the journal."""

    def forget_after_fork(self) -> None:
        """In a forked child: thread and process are the parent's."""


# ── thread ────────────────────────────────────────────────────────────────────────────────────


class _QueueInbox:
    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[AnyCommand] = queue.SimpleQueue()

    def get(self, timeout_sec: float) -> AnyCommand | None:
        try:
            return self.queue.get(timeout=timeout_sec) if timeout_sec > 0 else self.queue.get_nowait()
        except queue.Empty:
            return None


class ThreadForm:
    """Runs the worker in a daemon thread of this process."""

    def __init__(self) -> None:
        self._inbox = _QueueInbox()
        self._replies: queue.SimpleQueue[AnyReply | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None

    def start(self, settings: Settings) -> Ready:
        """See `Form`."""
        self._thread = threading.Thread(target=self._run, args=(settings,), name="fedsight-monitor", daemon=True)
        self._thread.start()
        try:
            reply = self._replies.get(timeout=_START_SEC)
        except queue.Empty:
            reply = None
        return _begun(reply)

    def _run(self, settings: Settings) -> None:
        try:
            self._worker = work(settings, self._inbox, self._replies.put, time.thread_time)
        except Exception:  # a fault of ours: said with its trace, and training goes on
            logger.exception("fedsight: the monitor of process %s has failed", settings.pid)
        finally:
            self._replies.put(None)

    def call(self, command: AnyCommand) -> Done:
        """See `Form`."""
        command.seq = next(self._numbers)
        self._inbox.queue.put(command)
        deadline = time.monotonic() + _CALL_SEC
        while True:
            try:
                reply = self._replies.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise MonitorLost(f"its thread has not answered for {_CALL_SEC:.0f} s") from None
            if reply is None:
                raise MonitorLost("its thread has failed")
            if isinstance(reply, Done) and reply.seq == command.seq:
                return reply

    def pending(self) -> str | None:
        """See `Form`."""
        return self._worker.pending() if self._worker is not None else None

    def finish(self, timeout_sec: float) -> bool:
        """See `Form`."""
        deadline = time.monotonic() + timeout_sec
        if self._thread is not None:
            self._thread.join(timeout_sec)
            if self._thread.is_alive():
                return False
        if self._worker is None or self._worker.shipping is None:
            return True
        return self._worker.shipping.finish(max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        """See `Form`."""
        self._inbox.queue.put(Stop())
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_CALL_SEC)
        if self._worker is not None and self._worker.shipping is not None:
            self._worker.shipping.abandon()

    def forget_after_fork(self) -> None:
        """See `Form`."""
        self._thread = self._worker = None


# ── process ───────────────────────────────────────────────────────────────────────────────────


class ProcessForm:
    """Runs the worker in a child process: a fresh interpreter, no fork of the training."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._undelivered: str | None = None
        self._numbers = itertools.count(1)
        self._decoder: msgspec.json.Decoder[AnyReply] = msgspec.json.Decoder(AnyReply)

    @property
    def pid(self) -> int | None:
        """Of the child."""
        return self._process.pid if self._process is not None else None

    def start(self, settings: Settings) -> Ready:
        """See `Form`."""
        if not sys.executable or getattr(sys, "frozen", False):
            raise UsageError("form", "there is no Python interpreter to run a child process with: use thread_monitor.")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", child.__file__, *_search_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C and a closing terminal are the training's: the last reading is still to come.
            start_new_session=True,
        )
        try:
            self._send(settings)
            return _begun(self._receive(time.monotonic() + _START_SEC))
        except MonitorLost as error:
            self._kill()
            raise UsageError("form", f"the monitor's child process could not be started: {error}.") from error
        except BaseException:
            self._kill()
            raise

    def call(self, command: AnyCommand) -> Done:
        """See `Form`."""
        command.seq = next(self._numbers)
        self._send(command)
        deadline = time.monotonic() + _CALL_SEC
        while True:
            reply = self._receive(deadline)
            if isinstance(reply, Done) and reply.seq == command.seq:
                return reply

    def _send(self, message: msgspec.Struct) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), msgspec.json.encode(message) + b"\n")
        except (OSError, ValueError) as error:
            raise MonitorLost(self._fate()) from error

    def _receive(self, deadline: float) -> AnyReply:
        assert self._process is not None
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            if sys.platform != "win32":  # where pipes can't be waited for
                selector.register(fd, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if selector.get_map() and not selector.select(max(0.0, deadline - time.monotonic())):
                    raise MonitorLost("it does not answer")
                data = os.read(fd, 1 << 16)
                if not data:
                    raise MonitorLost(self._fate())
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return self._decoder.decode(line)

    def _fate(self) -> str:
        assert self._process is not None
        try:
            return f"it has ended with status {self._process.wait(1.0)}"
        except subprocess.TimeoutExpired:
            return "it has hung up"

    def pending(self) -> str | None:
        """See `Form`."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            try:
                return self.call(AskPending()).text
            except MonitorLost:  # it is just ending
                pass
        self.finish(_CALL_SEC)
        return self._undelivered

    def finish(self, timeout_sec: float) -> bool:
        """See `Form`."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_sec)
        except subprocess.TimeoutExpired:
            return False
        self._hear_last_words()
        self._hang_up()
        return True

    def _hear_last_words(self) -> None:
        """What an ending child says of what it could not deliver."""
        assert self._process is not None
        if self._process.stdout is None or self._process.stdout.closed:
            return
        while data := os.read(self._process.stdout.fileno(), 1 << 16):
            self._buffer += data
        for line in self._buffer.splitlines():
            reply = self._decoder.decode(line)
            if isinstance(reply, Done):
                self._undelivered = reply.text

    def abandon(self) -> None:
        """See `Form`."""
        if self._process is None:
            return
        self._hang_up()
        try:
            self._process.wait(_CALL_SEC)
        except subprocess.TimeoutExpired:
            self._kill()

    def _hang_up(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._hang_up()

    def forget_after_fork(self) -> None:
        """See `Form`."""
        if self._process is not None:
            self._hang_up()
            self._process.returncode = 0  # not ours to wait for
            self._process = None


def _begun(reply: AnyReply | None) -> Ready:
    if isinstance(reply, Ready):
        return reply
    if isinstance(reply, Failed):
        raise UsageError(reply.field, reply.message)
    raise UsageError("form", f"the monitor did not begin within {_START_SEC:.0f} s.")


def _search_path() -> list[str]:
    """Where the child finds what this process finds, Python's own library apart: it has that itself."""
    own = str(Path(__file__).resolve().parents[2])
    libraries = str(Path(msgspec.__file__).resolve().parents[1])
    return list(dict.fromkeys([own, libraries, *(entry for entry in sys.path if entry and Path(entry).is_absolute())]))
