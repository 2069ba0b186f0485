"""How a source does: what the runner knows of it, for the API, `/health` and `/metrics`."""

from __future__ import annotations

import time
from collections import deque
from typing import Literal

import msgspec

State = Literal["starting", "up", "down", "stale"]

STALE_INTERVALS = 3
"""A source that has not answered for so many intervals (though no poll has failed) is stale: what it told is old."""

DURATIONS_KEPT = 1000


class SourceStatus(msgspec.Struct, kw_only=True):
    """One source's state. Times are UTC epoch seconds; null is "not yet".

    state: starting (not asked yet), up, down (the last poll failed), stale (no news for three intervals).
    since: when that state began. num_events: events that it gave, in this collector's time.
    """

    name: str
    kind: str
    url: str
    interval_sec: float
    timeout_sec: float
    state: State = "starting"
    since: float | None = None
    last_success_at: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None
    last_duration_sec: float | None = None
    next_poll_at: float | None = None
    clock_error: str | None = None
    num_cycles: int = 0
    num_successes: int = 0
    num_failures: int = 0
    num_failures_in_row: int = 0
    num_events: int = 0
    durations_sec: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=DURATIONS_KEPT))
    """Of the newest polls, failed ones included; for quantiles."""

    def now(self) -> SourceStatus:
        """A copy in which the state is true at this moment."""
        copy = msgspec.structs.replace(self, durations_sec=self.durations_sec.copy())
        if copy.state == "up" and copy.last_success_at is not None:
            stale_at = copy.last_success_at + STALE_INTERVALS * copy.interval_sec + copy.timeout_sec
            if time.time() > stale_at:
                copy.state, copy.since = "stale", stale_at
        return copy
