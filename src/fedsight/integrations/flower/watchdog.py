"""A thread that says in the journal when a training stands still, and when it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Level = Literal["info", "warning"]

_LONGEST_PAUSE_SEC = 600.0
_USUAL_FACTOR = 2.0
_LARGEST_FACTOR = 10.0


class Say(Protocol):
    """Records what the watchdog has to say; waiting_sec: how long nothing has happened."""

    def __call__(self, event: str, message: str, level: Level, waiting_sec: float) -> None: ...  # noqa: D102


@dataclass
class _Wait:
    describe: Callable[[], str]
    level: Level
    learns: bool
    since_sec: float
    next_sec: float
    is_said: bool = False


class Watchdog:
    """Says "waiting" after `after_sec` without progress, again at twice the time and so on, and then "going_on".

    Where the usual pace can be learnt, it waits for twice the longest pause so far, 10 × `after_sec` at most:
    a client that always trains for minutes is not news.

    lock: held while it says something; whoever calls the methods may hold it (it is reentrant).
    """

    def __init__(self, after_sec: float, say: Say, lock: threading.RLock) -> None:
        self._after_sec = after_sec
        self._say = say
        self._lock = lock
        self._longest_sec = 0.0
        self._wait: _Wait | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def expect(self, describe: Callable[[], str], level: Level, *, learns: bool = False) -> None:
        """From now on something is to happen.

        describe: what is waited for, in words, as of the moment. learns: it takes its time, and the usual time is learnt.
        """
        with self._lock:
            self.idle()
            self._wait = _Wait(describe, level, learns, time.monotonic(), self._patience_sec(learns))
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="fedsight-flower-watchdog", daemon=True)
                self._thread.start()

    def progress(self) -> None:
        """Something of it happened, and more is to come."""
        with self._lock:
            if (wait := self._wait) is not None:
                now_sec = time.monotonic()
                if wait.learns:
                    self._longest_sec = max(self._longest_sec, now_sec - wait.since_sec)
                self._go_on(wait)
                wait.since_sec, wait.next_sec = now_sec, self._patience_sec(wait.learns)

    def idle(self) -> None:
        """It is all done."""
        with self._lock:
            if self._wait is not None:
                self._go_on(self._wait)
                self._wait = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _patience_sec(self, learns: bool) -> float:
        usual_sec = min(_USUAL_FACTOR * self._longest_sec, _LARGEST_FACTOR * self._after_sec) if learns else 0.0
        return max(self._after_sec, usual_sec)

    def _go_on(self, wait: _Wait) -> None:
        if wait.is_said:
            waited_sec = time.monotonic() - wait.since_sec
            wait.is_said = False
            self._say("going_on", f"Going on after {waited_sec:.0f} s", "info", waited_sec)

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._after_sec / 4)):
            with self._lock:
                wait = self._wait
                if wait is None or self._stopped.is_set():
                    continue
                waited_sec = time.monotonic() - wait.since_sec
                if waited_sec >= wait.next_sec:
                    wait.next_sec = waited_sec + min(waited_sec, _LONGEST_PAUSE_SEC)
                    wait.is_said = True
                    self._say("waiting", wait.describe(), wait.level, waited_sec)
