"""An emitter whose destination is served by a process of its own: neither its work nor its memory is the training's."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fedsight.emitters.following import Following
from fedsight.emitters.state import EmitterState, journal_end
from fedsight.emitters.trouble import OnChange, Trouble
from fedsight.errors import UsageError

logger = logging.getLogger("fedsight")

_END_SEC = 2.0


class FromChild(msgspec.Struct, omit_defaults=True):
    """A line that the child writes: its state, something it logs, a change, that it has delivered everything."""

    state: EmitterState | None = None
    log: tuple[int, str] | None = None
    change: tuple[str, str] | None = None
    where: str | None = None
    complete: bool = False


class ToChild(msgspec.Struct, omit_defaults=True):
    """A line that the child reads: a journal to follow, or that the end has come."""

    attach: str | None = None
    drain: bool = False


class OwnProcess:
    """Delivers to `emitter`'s destination from a child process (a fresh interpreter, no fork).

    The child ends when all is delivered. Should this process die, by whatever means, the child
    delivers what the journals hold by then, in 30 s at most. A child that dies is started again.

    Raises `UsageError` for an emitter that can't be pickled or whose class is defined in the script
    itself (the child would have to run the script to know it), and for one that is no destination.
    """

    only_in_its_process = True

    def __init__(self, emitter: object) -> None:
        from fedsight.emitters import as_emitters

        (following,) = as_emitters([emitter])
        if not isinstance(following, Following):
            raise UsageError("emitter", f"{emitter!r} has no process of its own to be served by: give it as it is.")
        self.destination = following.destination
        self.name = following.name
        self.identity = following.identity
        self._pickled = _pickled(self.destination)
        self.on_change: OnChange | None = None
        self._trouble = Trouble(self.name)
        self._trouble.on_change = lambda change, text: self.on_change(change, text) if self.on_change else None
        self._state = EmitterState(self.name, self.identity)
        self._where = ""
        self._paths: list[Path] = []
        self._is_draining = False
        self._complete = threading.Event()
        self._let_go = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = os.getpid()
        _parents.add(self)

    def __repr__(self) -> str:
        return f"<{self.state().in_short()}, in a process of its own>"

    # ── what a run asks ───────────────────────────────────────────────────────────────────────

    def attach(self, path: Path) -> None:
        """Have the child follow the journal that starts at `path`, too."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._paths.append(path)
            self._complete.clear()
            if self._child is None:
                self._let_go.clear()
                self._is_draining = False
                self._start()
            else:
                self._tell(ToChild(attach=str(path.absolute())))

    def drain(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Wait until the child has delivered all that these journals hold now."""
        if os.getpid() != self._pid:
            return True
        with self._lock:
            if not self._is_draining:
                self._is_draining = True
                self._tell(ToChild(drain=True))
        return self._complete.wait(timeout_sec)

    def detach(self, paths: Sequence[Path]) -> None:
        """Let the child end; one that is not done is ended."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._state = self.state()
            self._paths = [path for path in self._paths if path not in paths]
            if self._paths or self._child is None:
                return
            child, self._child = self._child, None
            self._let_go.set()
            if not self._complete.is_set():
                child.terminate()
            _close(child)
        try:
            child.wait(_END_SEC)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def state(self) -> EmitterState:
        """How far it is, as the child said last."""
        if not self._paths:
            return self._state
        pending = 0
        if not self._complete.is_set():
            with contextlib.suppress(OSError):
                pending = max(0, sum(map(journal_end, self._paths)) - self._state.delivered_bytes)
        return msgspec.structs.replace(
            self._state,
            pending_bytes=pending,
            last_error=self._trouble.last_error or self._state.last_error,
            failing_since=self._trouble.failing_since or self._state.failing_since,
        )

    def pending(self, paths: Sequence[Path] = ()) -> str:
        """What is not delivered yet, and why."""
        return self.state().what_is_pending()

    def delivered(self) -> str:
        """Where to look at it."""
        return self._where

    def sync_command(self, paths: Sequence[Path]) -> str:
        """How to deliver the rest."""
        return Following(self.destination).sync_command(self._paths or paths)

    # ── the child ─────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "fedsight.emitters.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is the training's to handle
        )
        frame = pickle.dumps((sys.path, self._pickled))
        self._send(len(frame).to_bytes(8, "big") + frame)
        for path in self._paths:
            self._tell(ToChild(attach=str(path.absolute())))
        if self._is_draining:
            self._tell(ToChild(drain=True))
        threading.Thread(target=self._listen, args=(self._child,), name=f"fedsight-{self.name}", daemon=True).start()

    def _tell(self, message: ToChild) -> None:
        self._send(msgspec.json.encode(message) + b"\n")

    def _send(self, data: bytes) -> None:
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError):  # it died: who listens to it starts another
                self._child.stdin.write(data)
                self._child.stdin.flush()

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        decode = msgspec.json.Decoder(FromChild).decode
        assert child.stdout is not None
        for line in child.stdout:
            self._take(decode(line))
        child.stdout.close()
        if self._complete.is_set() or self._let_go.is_set():
            return
        status = child.wait()
        self._trouble.failed(ChildProcessError(f"its process ended with status {status}"))
        if not self._let_go.wait(self._trouble.backoff_sec(self._is_draining)):
            with self._lock:
                if not self._let_go.is_set():
                    _close(child)
                    self._start()

    def _take(self, told: FromChild) -> None:
        if told.log is not None:
            logger.log(told.log[0], "%s", told.log[1])
        if told.change is not None and self.on_change is not None:
            self.on_change("failing" if told.change[0] == "failing" else "working", told.change[1])
        if told.where is not None:
            self._where = told.where
        if told.state is not None:
            if told.state.num_events > 0 or told.complete:
                self._trouble.worked()
            self._state = told.state
        if told.complete:
            self._complete.set()

    def _forget_after_fork(self) -> None:
        """In a forked child: its copy of the pipe's end would keep the delivering process from seeing our end."""
        self._lock = threading.Lock()
        if self._child is not None:
            _close(self._child)


def _close(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()


def _pickled(destination: Any) -> bytes:
    try:
        data = pickle.dumps(destination)
    except Exception as error:
        raise UsageError(
            "emitter", f"OwnProcess needs an emitter that can be pickled; {destination!r} can't: {error}."
        ) from error
    if b"__main__" in data:
        raise UsageError(
            "emitter",
            f"OwnProcess can't find {destination.name!r} in the script itself: put its class into a module of its own.",
        )
    return data


_parents: weakref.WeakSet[OwnProcess] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for parent in list(_parents):
        parent._forget_after_fork()  # noqa: SLF001 - one module's own business


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
