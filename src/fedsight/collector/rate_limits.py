"""How often one address may write and log in: a bucket of tokens each, filled at a steady rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

MAX_ADDRESSES = 10_000
"""Of more, those that have been quiet the longest are forgotten."""


class RateLimit:
    """So many requests a second of each address, and as many at once as come together in `burst_sec`."""

    def __init__(self, per_sec: float, burst_sec: float, clock: Callable[[], float] = monotonic) -> None:
        self._per_sec = per_sec
        self._most = max(1.0, per_sec * burst_sec)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Address → what is left in its bucket, and when that was; the longest quiet first."""

    def wait_sec(self, address: str) -> int:
        """Count a request: 0 where it may be, else after how many whole seconds to ask again."""
        now = self._clock()
        left, at = self._buckets.pop(address, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_sec)
        may = left >= 1.0
        self._buckets[address] = (left - 1.0 if may else left, now)
        while len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return 0 if may else math.ceil((1.0 - left) / self._per_sec)
