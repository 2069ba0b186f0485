"""The hub: tells every open stream what the store has committed since the stream last heard.

A subscriber has nothing but a cursor, the commit up to which it knows everything. Whoever is slow
asks less often and gets the newest state of each row then; it holds up nobody.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio.to_thread
import msgspec

from fedsight.collector.api.tables import table_json
from fedsight.errors import RunNotFound
from fedsight.store import Store, queries

TICK_SEC = 0.25
HEARTBEAT_SEC = 10.0

_AS_OF = re.compile(r"(?P<epoch>.+)-(?P<commit>\d{1,18})")

Message = tuple[str, bytes]
"""`as_of` and the JSON text."""


class Hub:
    """Wakes subscribers at most once a tick, and asks the store each question once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest = store.commit
        self._commit = self._latest
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick = asyncio.Event()
        self._ticked_at = 0.0
        self._tick_due = False
        self._closing = False
        self._answers: dict[tuple[int, str | None, int], asyncio.Task[tuple[int, bytes | None]]] = {}

    def start(self) -> None:
        """Begin. Called in the event loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End all streams. Called in the event loop."""
        self._closing = True
        self._wake()

    def committed(self, commit: int) -> None:
        """The store has a new commit. Called from the indexer's thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._advance, commit)

    def _advance(self, commit: int) -> None:
        self._latest = max(self._latest, commit)
        if not self._tick_due:
            self._tick_due = True
            assert self._loop is not None
            self._loop.call_at(max(self._loop.time(), self._ticked_at + TICK_SEC), self._wake)

    def _wake(self) -> None:
        self._tick_due = False
        self._commit = self._latest
        self._ticked_at = self._loop.time() if self._loop is not None else 0.0
        self._answers = {key: task for key, task in self._answers.items() if not task.done()}
        # Whoever waits holds the old event; new waiters get a new one.
        self._tick.set()
        self._tick = asyncio.Event()

    @property
    def commit(self) -> int:
        """The commit of the last tick: what readers may be told up to."""
        return self._commit

    @property
    def closing(self) -> bool:
        """The collector stops; streams end."""
        return self._closing

    @property
    def next_tick(self) -> asyncio.Event:
        """Set when there may be news, or the end."""
        return self._tick

    async def subscribe(self, since: str | None, run_id: str | None) -> AsyncIterator[Message]:
        """Messages from `since` (an `as_of`; absent: from now) on, until the collector stops."""
        cursor = self.position(since)
        if cursor is None:
            cursor = self._commit
            yield self.plain("reset", cursor)
        elif since is None:
            # Says from where on: whoever asked for nothing older can resume from here.
            yield self.plain("heartbeat", cursor)
        heard_at = asyncio.get_running_loop().time()
        while not self._closing:
            tick = self._tick
            if self._commit > cursor:
                cursor, body = await self._changes(cursor, run_id)
                if body is not None:
                    yield self.as_of(cursor), body
                    heard_at = asyncio.get_running_loop().time()
                if self._commit > cursor:
                    # More had changed than one message holds.
                    continue
            try:
                await asyncio.wait_for(
                    tick.wait(), max(0.0, heard_at + HEARTBEAT_SEC - asyncio.get_running_loop().time())
                )
            except (TimeoutError, asyncio.TimeoutError):
                yield self.plain("heartbeat", cursor)
                heard_at = asyncio.get_running_loop().time()

    def position(self, since: str | None) -> int | None:
        """The commit that a resume token names; None when it is of another store."""
        if since is None:
            return self._commit
        match = _AS_OF.fullmatch(since)
        if match is None or match["epoch"] != self._store.epoch or int(match["commit"]) > self._store.commit:
            return None
        return int(match["commit"])

    def as_of(self, commit: int) -> str:
        """The resume token of a commit."""
        return f"{self._store.epoch}-{commit}"

    def plain(self, kind: str, commit: int) -> Message:
        """A message that says nothing but where one is."""
        as_of = self.as_of(commit)
        return as_of, msgspec.json.encode({"type": kind, "as_of": as_of})

    async def _changes(self, since: int, run_id: str | None) -> tuple[int, bytes | None]:
        """The `rows` message for all who are at `since`, and the commit it reaches."""
        key = (since, run_id, self._commit)
        task = self._answers.get(key)
        if task is None:
            task = self._answers[key] = asyncio.create_task(self._ask(since, run_id))
        return await asyncio.shield(task)

    async def _ask(self, since: int, run_id: str | None) -> tuple[int, bytes | None]:
        return await anyio.to_thread.run_sync(self._rows, since, run_id)

    def _rows(self, since: int, run_id: str | None) -> tuple[int, bytes | None]:
        try:
            changes = queries.changes(self._store, since, run_id)
        except RunNotFound:  # not yet: all that will be said of it comes later than this
            changes = queries.changes(self._store, since, None)
        message: dict[str, Any] = {"type": "rows", "as_of": changes.as_of}
        tables = {"runs": changes.runs, "rounds": changes.rounds, "clients": changes.clients, "events": changes.events}
        for name, table in tables.items():
            if table is not None:
                message[name] = msgspec.Raw(table_json(table))
        return changes.commit, msgspec.json.encode(message) if len(message) > 2 else None
