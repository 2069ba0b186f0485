"""What is known of one client in one round, as bits, and what it counts for.

A client counts once per round, however often and by whomever it was told of. Its status is the
server's word, else its own.
"""

from __future__ import annotations

from typing import NamedTuple

SITE, SERVER = 0, 1
"""Who told an update: the client's own journal, or the server's."""

TOLD = 0b11
DROPOUT, FAILURE, LATE = 1 << 8, 1 << 9, 1 << 10
_STATUS_SHIFT = (2, 5)
_NO_STATUS, _ACTIVE, _DROPPED, _FAILED, _OTHER = range(5)
_CODES = {None: _NO_STATUS, "active": _ACTIVE, "dropped": _DROPPED, "failed": _FAILED}


class Tally(NamedTuple):
    """What one client counts for in one round (each 0 or 1)."""

    updates: int
    completed: int
    dropouts: int
    failures: int
    late: int


def told_bit(source: int) -> int:
    """The bit that says: there is an update of this client by `source`."""
    return 1 << source


def status_bits(source: int, status: str | None) -> int:
    """The bits that say which status `source` gave it."""
    return _CODES.get(status, _OTHER) << _STATUS_SHIFT[source]


def without_status(bits: int, source: int) -> int:
    """`bits`, the status that `source` gave taken out."""
    return bits & ~(0b111 << _STATUS_SHIFT[source])


def _tally(bits: int) -> Tally:
    status = (bits >> _STATUS_SHIFT[SERVER] & 0b111) or (bits >> _STATUS_SHIFT[SITE] & 0b111)
    told = int(bits & TOLD != 0)
    return Tally(
        updates=told,
        completed=told if status in (_NO_STATUS, _ACTIVE) else 0,
        dropouts=int(bits & DROPOUT != 0 or status == _DROPPED),
        failures=int(bits & FAILURE != 0 or status == _FAILED),
        late=int(bits & LATE != 0),
    )


TALLIES: tuple[Tally, ...] = tuple(_tally(bits) for bits in range(1 << 11))
"""The tally of every combination of bits."""
