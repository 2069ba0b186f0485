"""News across collectors: what one of them stores, the readers of all of them hear, by Redis' publish/subscribe.

A message is `{"collector": <who tells>, "feed": …, "run_id": …, "message": {…}}`: the message as the streams have it. It is told
once, to those who listen: a reader that was away asks the collector that stored it. Rows are each collector's own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec

from fedsight.collector.api.tables import encode
from fedsight.collector.cache import COMPONENTS, Cache
from fedsight.collector.hub import Hub, Message
from fedsight.collector.subscribing import MAX_ITEMS, STREAMS, Newsroom, Subscription, body_of
from fedsight.store import Store, queries
from fedsight.store.queries import Feed

if TYPE_CHECKING:
    from fedsight.collector.redis import RedisLink

logger = logging.getLogger(__name__)

CHANNEL = "fedsight:news"
MAX_HELD = 2_000
"""Messages of other collectors that are held for this one's readers."""
MESSAGES_EACH = 200
"""Published in one go."""
CURRENT_INTERVAL_SEC = 5.0
"""The components' states are kept anew so often, while there is news."""
CURRENT_REFRESH_SEC = 100.0
"""So often where there is none: before they lapse."""
WAIT_SEC = 1.0

FEEDS: frozenset[Feed] = frozenset().union(*STREAMS.values())


class Envelope(msgspec.Struct):
    """What goes over the channel."""

    collector: str
    feed: str
    message: dict[str, Any]
    run_id: str | None = None


class _Heard(msgspec.Struct):
    number: int
    feed: str
    run_id: str | None
    rest: bytes
    """The message's JSON, without its opening brace."""


class Others:
    """What other collectors told, for this one's readers: each has its position, the slow miss the oldest."""

    def __init__(self) -> None:
        self.num_heard = 0
        self.num_bad = 0
        self.news = asyncio.Event()
        """Set, and replaced, when there is more."""
        self._held: deque[_Heard] = deque(maxlen=MAX_HELD)

    def take(self, envelope: Envelope) -> None:
        """One more message."""
        body = encode({**envelope.message, "collector": envelope.collector})
        self._held.append(_Heard(self.num_heard, envelope.feed, envelope.run_id, body[1:]))
        self.num_heard += 1
        self.news.set()
        self.news = asyncio.Event()

    def after(self, position: int, wanted: Subscription, as_of: str) -> list[Message]:
        """What a reader at `position` has not heard, of what it wants."""
        oldest = self._held[0].number if self._held else self.num_heard
        start = b'{"as_of":"%b",' % as_of.encode()
        told = [
            (as_of, start + heard.rest)
            for heard in itertools.islice(self._held, max(position - oldest, 0), None)
            if heard.feed in wanted.feeds and (wanted.run_id is None or heard.run_id in (None, wanted.run_id))
        ]
        if position < oldest and wanted.feeds:
            skipped = encode({"type": "skipped", "as_of": as_of, "feed": "others", "num_skipped": oldest - position})
            told.insert(0, (as_of, skipped))
        return told


class SharedNewsroom(Newsroom):
    """A newsroom whose readers also hear what other collectors tell."""

    def __init__(self, store: Store, hub: Hub, others: Others) -> None:
        super().__init__(store, hub)
        self._others = others

    async def follow(self, wanted: Subscription) -> AsyncIterator[list[Message]]:
        """Messages of this collector and of the others as they come, until the collector stops."""
        own = super().follow(wanted)
        position = self._others.num_heard
        coming = asyncio.ensure_future(anext(own, None))
        try:
            while True:
                more = asyncio.ensure_future(self._others.news.wait())
                try:
                    if position == self._others.num_heard:
                        await asyncio.wait((coming, more), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    more.cancel()
                if coming.done():
                    messages = coming.result()
                    if messages is None:
                        return
                    yield messages
                    coming = asyncio.ensure_future(anext(own, None))
                told = self._others.after(position, wanted, self._hub.as_of(wanted.position))
                position = self._others.num_heard
                if told:
                    yield told
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await coming
            await own.aclose()  # type: ignore[attr-defined]


class Fanout:
    """Tells other collectors what this one stores, and hears what they store. For the event loop's thread."""

    def __init__(self, store: Store, hub: Hub, link: RedisLink, cache: Cache) -> None:
        self.others = Others()
        self.num_told = 0
        self._store = store
        self._hub = hub
        self._link = link
        self._cache = cache
        self._id = secrets.token_hex(8)
        self._tasks: list[asyncio.Task[None]] = []
        self._current_at = -CURRENT_REFRESH_SEC
        self._current_commit = -1
        """When the components' states were kept last, and as of which commit."""

    def start(self) -> None:
        """Begin. Called in the event loop."""
        self._tasks = [
            asyncio.create_task(self._tell(self._hub.commit)),
            asyncio.create_task(self._link.listen(CHANNEL, self._heard)),
        ]

    async def stop(self) -> None:
        """End; the connections are closed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()

    def _heard(self, data: bytes) -> None:
        try:
            envelope = msgspec.json.decode(data, type=Envelope)
            if envelope.collector != self._id:
                self.others.take(envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.others.num_bad += 1

    async def _tell(self, position: int) -> None:
        while not self._hub.closing:
            tick = self._hub.next_tick
            try:
                if not self._link.is_away:
                    await self._put_current()
                if self._hub.commit > position and not self._link.is_away:
                    position = await self._tell_since(position)
                    continue
            except Exception:
                # The store is in trouble, which its own health says; what is new is told when it is well again.
                logger.exception("news can't be told to other collectors; trying again")
                await asyncio.sleep(WAIT_SEC)
                continue
            with suppress(asyncio.TimeoutError, TimeoutError):
                # Not for the tick alone: Redis may be back.
                await asyncio.wait_for(tick.wait(), WAIT_SEC)

    async def _tell_since(self, position: int) -> int:
        """Tell what was committed after `position`; how far that goes. Where Redis is away, it stays at `position`."""
        commit, messages = await anyio.to_thread.run_sync(self._collect, position)
        for first in range(0, len(messages), MESSAGES_EACH):
            part = messages[first : first + MESSAGES_EACH]
            if not await self._link.publish(CHANNEL, part):
                return position
            self.num_told += len(part)
        return commit

    def _collect(self, position: int) -> tuple[int, list[bytes]]:
        told = queries.news(self._store, FEEDS, position, None, limit=MAX_ITEMS)
        return told.commit, [
            encode({"collector": self._id, "feed": item.feed, "run_id": item.run_id, "message": body_of(item)})
            for item in told.items
        ]

    async def _put_current(self) -> None:
        """Keep the components' states in the cache where it is time to, for whoever reads Redis."""
        commit, age_sec = self._hub.commit, time.monotonic() - self._current_at
        if age_sec < (CURRENT_REFRESH_SEC if commit == self._current_commit else CURRENT_INTERVAL_SEC):
            return
        self._current_at, self._current_commit = time.monotonic(), commit
        now = time.time()
        found = await anyio.to_thread.run_sync(queries.components, self._store, now)
        for name in COMPONENTS:
            component = getattr(found, name)
            if component.state is not None:
                state = {"status": component.state, **component.figures, "last_update": component.last_ts}
                await self._cache.put_current(name, state)
