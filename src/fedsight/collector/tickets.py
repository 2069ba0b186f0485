"""Tickets: for a browser's stream, which can send no header. Good once, for half a minute, for reading."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from time import monotonic

LIFETIME_SEC = 30.0
MAX_TICKETS = 10_000
"""Of more, the oldest go: whoever may read can ask for as many as it likes."""


class Tickets:
    """Those that were given out and not yet used, by their SHA-256, the oldest first. For the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def issue(self) -> str:
        """A new ticket."""
        self._drop_old()
        ticket = f"ft_{secrets.token_urlsafe(24)}"
        # Looked up by hash: how long that takes says nothing of the ticket.
        self._until[_sha256(ticket)] = self._clock() + LIFETIME_SEC
        return ticket

    def redeem(self, ticket: str) -> bool:
        """Whether the ticket is good; it is not, a second time."""
        until = self._until.pop(_sha256(ticket), None)
        return until is not None and self._clock() < until

    def _drop_old(self) -> None:
        now = self._clock()
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] >= now and len(self._until) < MAX_TICKETS:
                return
            del self._until[oldest]


def _sha256(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()
