"""An FL server that tells of its training over HTTP: FLOPY-NET's (`/metrics`, `/rounds`, `/events`, `/status`), or any by a mapping.

What guards from doubles and gaps is the cursor: the run, the last round and the last event delivered. A run is new when
the server's start time changes, when it says that training was restarted, or when its rounds begin again.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import msgspec

from fedsight.collector.sources.fl_mapping import Mapping, compile_mapping, snapshot
from fedsight.collector.sources.fl_telling import Cursor, FLServerConfig, Telling, round_of
from fedsight.collector.sources.paging import new_events
from fedsight.collector.sources.source import Polled, SourceDown, Web, checked_rows
from fedsight.collector.sources.web import if_there

__all__ = ["FLServer", "FLServerConfig"]

ROUNDS_A_PAGE = 500


class FLServer:
    """One FL server."""

    kind: ClassVar[str] = "fl_server"

    def __init__(self, config: FLServerConfig) -> None:
        self.config = config
        self._mapping: Mapping | None = compile_mapping(config.mapping) if config.mapping is not None else None

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Ask once. Raises `SourceDown`."""
        until = time.monotonic() + self.config.timeout_sec / 2
        telling = Telling(self.config, msgspec.convert(cursor or {}, Cursor))
        if self._mapping is not None:
            telling.take_snapshot(snapshot(self._mapping, await web.json(self.config.url)))
            return telling.polled()
        metrics = _object_of(await web.json("/metrics"), "/metrics")
        status = await if_there(web.json("/status"))
        telling.take_state(metrics, status)
        page = await if_there(new_events(web, "/events", telling.cursor.events, until))
        if page is not None:
            telling.take_events(page.events, gap=page.gap)
            telling.cursor.events = page.ids
        has_rounds = await self._take_rounds(web, telling, metrics, until)
        # Rows and figures must be of one training: where it was started anew meanwhile, the next poll asks again.
        again = _object_of(await web.json("/metrics"), "/metrics") if telling.has_runs else metrics
        if telling.is_restarted(again):
            return Polled(cursor=cursor)
        if not has_rounds:
            telling.take_without_rounds(metrics)
        if not telling.is_full:
            telling.take_end(metrics, status)
        return telling.polled()

    async def _take_rounds(self, web: Web, telling: Telling, metrics: dict[str, Any], until: float) -> bool:
        """Whether the server has `/rounds`."""
        first = max(telling.cursor.round + 1, 0)
        while True:
            reply = await if_there(web.json("/rounds", start_round=first, limit=ROUNDS_A_PAGE))
            if reply is None:
                return False
            rows = reply.get("rounds") if isinstance(reply, dict) else reply
            if not isinstance(rows, list):
                raise SourceDown("GET /rounds answered without a list of rounds")
            telling.take_rounds(checked_rows(rows, "GET /rounds"), metrics)
            last = max(map(round_of, rows), default=-1)
            if telling.is_full or len(rows) < ROUNDS_A_PAGE or last < first or time.monotonic() >= until:
                return True
            first = last + 1


def _object_of(reply: Any, path: str) -> dict[str, Any]:
    if not isinstance(reply, dict):
        raise SourceDown(f"GET {path} answered no object")
    return reply
