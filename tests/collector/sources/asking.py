"""Asks one source by hand, poll after poll, over real HTTP; the cursor goes through a journal line in between."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fedsight.collector.sources.config import build
from fedsight.collector.sources.source import Polled
from fedsight.collector.sources.web import HttpWeb
from fedsight.events import Event, SourceState, decode, encode

E_ = TypeVar("E_", bound=Event)


class Asking:
    """One source and everything it has told so far."""

    def __init__(self, **table: Any) -> None:
        [self.configured] = build([{"interval_sec": 10, **table}])
        self.cursor: dict[str, Any] | None = None
        self.events: list[Event] = []
        self.runs: dict[str, list[Event]] = {}

    def poll(self) -> Polled:
        polled = asyncio.run(self._poll())
        state = SourceState(ts=1.0, source="s", type="t", state="up", cursor=polled.cursor)
        read = decode(encode(state).rstrip())
        assert isinstance(read, SourceState)
        self.cursor = read.cursor
        self.events += polled.events
        for run, events in polled.runs.items():
            self.runs.setdefault(run, []).extend(events)
        return polled

    async def _poll(self) -> Polled:
        config = self.configured.source.config
        web = HttpWeb(config.url, self.configured.access, config.timeout_sec)
        try:
            return await self.configured.source.poll(web, self.cursor)
        finally:
            await web.close()

    def of(self, kind: type[E_], run: str | None = None) -> list[E_]:
        events = self.events if run is None else self.runs[run]
        return [event for event in events if isinstance(event, kind)]
