"""The clocks of a monitor. Rates and windows come from the monotonic one; `ts` is for people."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


def _suspended_sec() -> float:
    """How long this machine has been suspended since it was started, as far as the kernel tells."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return 0.0


class Clock(msgspec.Struct, frozen=True):
    """What a sampler asks for the time; a test hands in its own, for nights and leaps that it can't wait for."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    suspended_sec: Callable[[], float] = _suspended_sec


class Schedule:
    """Readings every `interval_sec` from `start_sec` on, without drift. Those that were slept through are skipped."""

    def __init__(self, interval_sec: float, start_sec: float) -> None:
        self._interval_sec = interval_sec
        self._start_sec = start_sec
        self._next = 1
        self.num_missed = 0

    def wait_sec(self, now_sec: float) -> float:
        """Seconds until the next reading is due, 0 when it is."""
        return max(0.0, self._start_sec + self._next * self._interval_sec - now_sec)

    def is_due(self, now_sec: float) -> bool:
        """Whether a reading is due at `now_sec`; it is taken to be done then."""
        if now_sec < self._start_sec + self._next * self._interval_sec:
            return False
        reached = int((now_sec - self._start_sec) / self._interval_sec)
        self.num_missed += max(0, reached - self._next)
        self._next = max(self._next, reached) + 1
        return True
