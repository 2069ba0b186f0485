"""Reading a system's event buffer page by page, so that no event is skipped and none comes twice.

The cursor is the last event that was delivered, never the `last_event_id` of a reply: that names the newest
event of the buffer, also where `limit` has cut the page before it. Each question overlaps with what is known by one
event: where that one is not in the reply, the buffer has lost it, and perhaps others with it.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from fedsight.collector.sources.source import SourceDown, Web, checked_rows

PAGE = 1000

MAX_EVENTS = 10_000
"""In one poll, whatever a system gives; the next one goes on behind them."""


class Page(msgspec.Struct):
    """New events, oldest first. ids: of the last two delivered, for the next poll. gap: some may be missing before these."""

    events: list[dict[str, Any]]
    ids: list[str]
    gap: bool


async def new_events(web: Web, path: str, ids: list[str], until: float) -> Page:
    """The events behind the last one delivered; where they are many, only as many as come before `until` (monotonic).

    ids: as the last page gave them. Raises `SourceDown` where the reply is none.
    """
    found: list[dict[str, Any]] = []
    gap = False
    while not found or (time.monotonic() < until and len(found) < MAX_EVENTS):
        reply = await web.json(path, since_event_id=ids[0] if len(ids) > 1 else None, limit=PAGE)
        events = _events_of(reply, path)
        if not events:
            break
        known = [event_id(event) for event in events]
        if ids and ids[-1] in known:
            events = events[len(known) - known[::-1].index(ids[-1]) :]
        elif ids:
            gap = True
        events = events[: MAX_EVENTS - len(found)]
        found += events
        ids = [*ids, *map(event_id, events)][-2:]
        newest = reply.get("last_event_id") if isinstance(reply, dict) else None
        if not events or str(newest) == ids[-1] or (newest is None and len(known) < PAGE):
            break
    return Page(found, ids, gap)


def event_id(event: dict[str, Any]) -> str:
    """What the system calls the event, empty where it has no name."""
    found = event.get("event_id", event.get("id"))
    return str(found) if isinstance(found, (str, int)) else ""


def _events_of(reply: Any, path: str) -> list[dict[str, Any]]:
    events = reply.get("events") if isinstance(reply, dict) else reply
    if not isinstance(events, list):
        raise SourceDown(f"GET {path} answered without a list of events")
    checked_rows(events, f"GET {path}")
    # What has no id can't be told from what came before.
    return [event for event in events if isinstance(event, dict) and event_id(event)]
