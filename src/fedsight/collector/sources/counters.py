"""Counters that devices keep, and the rates between two readings of them.

Integers throughout: 64-bit counters don't fit a float. A counter that the device does not keep is None, never 0.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

UNSUPPORTED = 2**64 - 1
"""What OpenFlow sends for a counter that a switch does not keep (OpenFlow 1.3.5, 7.3.5.6); ONOS shows it as -1."""


def count(value: Any) -> int | None:
    """A counter as an integer: from a number or its decimal text. None where there is none: "?", -1, 2^64-1, NaN, nonsense."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        # No `float()` first: it would round what lies beyond 2^53.
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else _as_float(text)
    if isinstance(value, float):
        # 2^64-1 rounds to 2^64 in a float, as Prometheus endpoints show it.
        value = int(value) if math.isfinite(value) and value < UNSUPPORTED else None
    return value if isinstance(value, int) and 0 <= value < UNSUPPORTED else None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def seconds(whole: Any, nanoseconds: Any = 0) -> float | None:
    """A device's own duration in seconds. None where it is unknown or 0: OpenFlow 1.0 has none, and ONOS says 0 then."""
    whole_sec, nsec = count(whole), count(nanoseconds)
    if whole_sec is None:
        return None
    return whole_sec + (nsec or 0) / 1e9 or None


class Rates(msgspec.Struct):
    """What came between two readings of one thing's counters.

    interval_sec: between the two, by the device's clock where it has one. per_sec: of each counter that both readings have;
    one that fell has none.
    """

    interval_sec: float
    per_sec: dict[str, float]


class _Reading(msgspec.Struct):
    at_sec: float
    on_device_clock: bool
    counters: dict[str, int | None]
    narrow: frozenset[str]


class RateMeter:
    """Rates of any number of ports (or flows, or series), each known by a key.

    window_sec: rates are taken over this long, or over the last two readings where that is longer. 0: always the last two.
    refresh_sec: how often the device takes its counters. Equal numbers within that time are the same reading again, not
    standstill. is_narrow: all counters are known to have 32 bits: one that falls has gone round.
    """

    def __init__(self, window_sec: float = 0.0, refresh_sec: float = 0.0, is_narrow: bool = False) -> None:
        self._window_sec = window_sec
        self._refresh_sec = refresh_sec
        self._is_narrow = is_narrow
        self._readings: dict[str, deque[_Reading]] = {}

    def take(
        self,
        key: str,
        counters: Mapping[str, int | None],
        now_sec: float,
        duration_sec: float | None = None,
        narrow: frozenset[str] = frozenset(),
    ) -> Rates | None:
        """Take in a reading; None where nothing can be said: the first one, the same one again, a reset.

        now_sec: the poll's monotonic clock. duration_sec: how long the device has counted, by its own clock, which wins.
        narrow: counters that are known to have 32 bits.
        """
        at_sec = now_sec if duration_sec is None else duration_sec
        reading = _Reading(at_sec, duration_sec is not None, dict(counters), narrow)
        past = self._readings.setdefault(key, deque())
        if past and (past[-1].on_device_clock != reading.on_device_clock or at_sec < past[-1].at_sec):
            past.clear()  # the device has begun anew, or counts by another clock: nothing before compares
        if past and (at_sec == past[-1].at_sec or self._is_same(past[-1], reading)):
            return None
        past.append(reading)
        while len(past) > 2 and at_sec - past[1].at_sec >= self._window_sec:
            past.popleft()
        return None if len(past) < 2 else self._between(past)

    def keep_only(self, keys: set[str]) -> None:
        """Forget what is no longer there: a port that comes back starts anew."""
        for key in self._readings.keys() - keys:
            del self._readings[key]

    def _is_same(self, last: _Reading, reading: _Reading) -> bool:
        return reading.counters == last.counters and reading.at_sec - last.at_sec < self._refresh_sec

    def _between(self, past: deque[_Reading]) -> Rates | None:
        first, last = past[0], past[-1]
        interval_sec = last.at_sec - first.at_sec
        per_sec: dict[str, float] = {}
        for name in last.counters:
            wraps_at = 2**32 if self._is_narrow or name in last.narrow else None
            steps = [_step(a.counters.get(name), b.counters.get(name), wraps_at) for a, b in pairwise(past)]
            if all(step is not None for step in steps):
                per_sec[name] = sum(step for step in steps if step is not None) / interval_sec
        if not per_sec and any(value is not None for value in last.counters.values()):
            # Every counter fell: a reset without a clock to show it. What comes next compares with this reading alone.
            past.clear()
            past.append(last)
            return None
        return Rates(interval_sec, per_sec)


def _step(before: int | None, after: int | None, wraps_at: int | None) -> int | None:
    """From one value to the next; None where one is unknown, or where it fell and can't have gone round."""
    if before is None or after is None:
        return None
    if after >= before:
        return after - before
    return after + wraps_at - before if wraps_at is not None and before < wraps_at else None
