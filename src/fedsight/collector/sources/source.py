"""What a source is: a system around the federation that the collector asks, again and again.

A source turns what it is told into events; the runner keeps time, writes them to a journal, and
knows how the source does.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from fedsight.errors import FedsightError
from fedsight.events import Event

T = TypeVar("T")


MAX_ROWS = 50_000
"""In one list of an answer. A body that is not too large may hold a million rows of nothing: to go through them would
hold up everybody. Rows that say something are longer: no body of 8 MiB has that many."""


class SourceConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What every source can be told; each kind adds its own. A table `[[source]]` of the configuration file.

    name: unique among the sources. timeout_sec: for one poll, below the interval.
    """

    name: str
    url: str
    interval_sec: float = 5.0
    timeout_sec: float = 4.0


class SourceDown(FedsightError):
    """A poll could not be done; the message says why, in a few words, without secrets."""


def checked_rows(rows: list[T], where: str) -> list[T]:
    """The rows where they are not too many. where: for the message, such as "GET /rounds". Raises `SourceDown`."""
    if len(rows) > MAX_ROWS:
        raise SourceDown(f"{where} answered {len(rows)} rows; {MAX_ROWS} are read at most")
    return rows


class Polled(msgspec.Struct):
    """What one poll gave.

    events: go into the source's own journal, in order. runs: events of federated runs, by run id;
    each run gets a journal in which the source speaks as its server. cursor: what the next poll goes on from,
    also after a restart: it is written in one piece with the events, so that none comes twice and none is skipped.
    """

    events: list[Event] = []
    runs: dict[str, list[Event]] = {}
    cursor: dict[str, Any] | None = None


class Web(Protocol):
    """HTTP for sources: every call has the poll's deadline, a largest body, and one clear error."""

    async def json(self, url: str, **params: Any) -> Any:
        """GET `url` and decode its JSON. Raises `SourceDown`: no connection, a status that is no success, no JSON."""

    async def text(self, url: str, **params: Any) -> str:
        """GET `url` as text. Raises `SourceDown`."""


class Source(Protocol):
    """One system to ask. Made from its configuration; keeps in memory only what a lost process may lose."""

    kind: ClassVar[str]
    """The word in the configuration: "fl_server"."""

    config: SourceConfig

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Ask once. cursor: as the last poll gave it, None at first. Raises `SourceDown`, or anything, which counts as that."""
