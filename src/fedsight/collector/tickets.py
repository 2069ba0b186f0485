"""Tickets: for a browser's stream, which can send no header. Good once, for half a minute, for reading."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from time import monotonic

import msgspec

from fedsight.collector.access import Grant

LIFETIME_SEC = 30.0
MAX_TICKETS = 10_000
"""Of more, the oldest go: whoever may read can ask for as many as it likes."""


class Ticket(msgspec.Struct, frozen=True):
    """What a ticket opens, and until when (monotonic). grant: of whom it was given to; None where reads are open."""

    until: float
    grant: Grant | None


class Tickets:
    """Those that were given out and not yet used, by their SHA-256, the oldest first. For the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._issued: dict[str, Ticket] = {}

    def issue(self, grant: Grant | None = None) -> str:
        """A new ticket, good as long as the grant is."""
        self._drop_old()
        ticket = f"ft_{secrets.token_urlsafe(24)}"
        # Looked up by hash: how long that takes says nothing of the ticket.
        self._issued[_sha256(ticket)] = Ticket(self._clock() + LIFETIME_SEC, grant)
        return ticket

    def redeem(self, ticket: str) -> Ticket | None:
        """The ticket where it is good; it is not, a second time."""
        found = self._issued.pop(_sha256(ticket), None)
        return found if found is not None and self._clock() < found.until else None

    def _drop_old(self) -> None:
        now = self._clock()
        while self._issued:
            oldest = next(iter(self._issued))
            if self._issued[oldest].until >= now and len(self._issued) < MAX_TICKETS:
                return
            del self._issued[oldest]


def _sha256(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()
