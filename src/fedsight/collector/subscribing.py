"""Streams that a reader chooses: one message an event, in the words of the FLOPY-NET collector.

A reader has a position in the store's commits, as the hub's have, and no queue: what it has not yet taken is asked for
when it can take more, the newest of each feed, with a count of what was skipped. Readers at one position share the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

import anyio.to_thread
import msgspec

from fedsight.collector.api.tables import encode
from fedsight.collector.hub import HEARTBEAT_SEC, Hub, Message
from fedsight.store import Store, queries
from fedsight.store.queries import Feed, Item

MAX_ITEMS = 1000
"""Messages of one feed that a reader gets at once; of more, the newest."""

MAX_ANSWERS = 16
"""Batches kept for other readers who are about to ask the same."""

STREAMS: dict[str, frozenset[Feed]] = {
    "fl_training": frozenset({"rounds", "updates"}),
    "network_performance": frozenset({"source_samples", "topology", "network_changes"}),
    "policy_events": frozenset({"policy"}),
    "system_events": frozenset({"log", "source_state"}),
    "alerts": frozenset({"alert", "network_changes"}),
    "samples": frozenset({"machine_samples", "source_samples"}),
}
"""What can be subscribed to. A feed that stands in two streams of a reader is told once."""


class UnknownStream(ValueError):
    """The message names the stream and what there is."""


def feeds_of(streams: Iterable[str]) -> frozenset[Feed]:
    """The feeds of these streams. Raises `UnknownStream`."""
    feeds: set[Feed] = set()
    for stream in streams:
        if stream not in STREAMS:
            raise UnknownStream(f"streams: there is no {stream[:100]!r}; choose of {', '.join(STREAMS)}.")
        feeds |= STREAMS[stream]
    return frozenset(feeds)


class Subscription:
    """What one reader wants, and up to which commit it knows everything. For the event loop's thread."""

    def __init__(self, position: int, streams: Collection[str] = (), run_id: str | None = None) -> None:
        self.position = position
        self.run_id = run_id
        self.streams: dict[str, None] = dict.fromkeys(streams)
        self.feeds = feeds_of(streams)
        self.changed = asyncio.Event()

    def add(self, streams: Collection[str]) -> None:
        """Want more. Raises `UnknownStream`; then nothing is changed."""
        feeds_of(streams)
        self._want(dict.fromkeys((*self.streams, *streams)))

    def remove(self, streams: Collection[str]) -> None:
        """Want less. Raises `UnknownStream`; then nothing is changed."""
        feeds_of(streams)
        self._want(dict.fromkeys(name for name in self.streams if name not in streams))

    def _want(self, streams: dict[str, None]) -> None:
        self.feeds = feeds_of(streams)
        self.streams = streams
        self.changed.set()


class _Batch(msgspec.Struct):
    """Messages of one stretch of commits, and the commit that it reaches."""

    commit: int
    messages: list[Message]
    num_skipped: int


class Newsroom:
    """Answers subscriptions; each question that several readers have is asked once."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self.num_skipped = 0
        """Messages that readers were not told, because they were too slow, but told of."""
        self._store = store
        self._hub = hub
        self._answers: dict[tuple[frozenset[Feed], str | None, int, int], asyncio.Task[_Batch]] = {}

    async def follow(self, wanted: Subscription) -> AsyncIterator[list[Message]]:
        """Messages as they come, several at once, until the collector stops. A change of `wanted` counts from then on.

        All messages but the last of a batch carry the token from before it: whoever resumes from one of them is told
        some again, and misses none.
        """
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while not self._hub.closing:
            tick = self._hub.next_tick
            wanted.changed.clear()
            if not wanted.feeds:
                wanted.position = max(wanted.position, self._hub.commit)
            elif self._hub.commit > wanted.position:
                asked = wanted.position, wanted.feeds, wanted.run_id
                batch = await self._batch(*asked)
                if asked != (wanted.position, wanted.feeds, wanted.run_id):
                    continue  # it wants something else by now
                wanted.position = batch.commit
                self.num_skipped += batch.num_skipped
                if batch.messages:
                    yield batch.messages
                    heard_at = loop.time()
                    continue
            if not await _either(tick, wanted.changed, heard_at + HEARTBEAT_SEC - loop.time()):
                yield [self._hub.plain("heartbeat", wanted.position)]
                heard_at = loop.time()

    async def _batch(self, since: int, feeds: frozenset[Feed], run_id: str | None) -> _Batch:
        key = feeds, run_id, since, self._hub.commit
        task = self._answers.get(key)
        if task is None:
            while len(self._answers) >= MAX_ANSWERS:
                del self._answers[next(iter(self._answers))]
            task = self._answers[key] = asyncio.create_task(self._ask(since, feeds, run_id))
        return await asyncio.shield(task)

    async def _ask(self, since: int, feeds: frozenset[Feed], run_id: str | None) -> _Batch:
        return await anyio.to_thread.run_sync(self._collect, since, feeds, run_id)

    def _collect(self, since: int, feeds: frozenset[Feed], run_id: str | None) -> _Batch:
        told = queries.news(self._store, feeds, since, run_id, limit=MAX_ITEMS)
        bodies: list[dict[str, Any]] = [
            {"type": "skipped", "feed": feed, "num_skipped": number} for feed, number in told.skipped.items()
        ]
        bodies += map(body_of, told.items)
        before, after = self._hub.as_of(since), told.as_of
        tokens = [before] * (len(bodies) - 1) + [after]
        return _Batch(
            told.commit,
            [
                (token, encode({"type": body.pop("type"), "as_of": token, **body}))
                for token, body in zip(tokens, bodies, strict=False)
            ],
            sum(told.skipped.values()),
        )


async def _either(one: asyncio.Event, other: asyncio.Event, timeout_sec: float) -> bool:
    """Wait for one of two events; False where neither came in time."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        done, _ = await asyncio.wait(waiting, timeout=max(timeout_sec, 0.0), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()
    return bool(done)


# ── messages ──────────────────────────────────────────────────────────────────────────────────


def body_of(item: Item) -> dict[str, Any]:
    """A piece of news as the message that tells it, but for its `as_of`. What is unknown is absent."""
    kind, key = _TYPES[item.feed]
    told = {name: value for name, value in item.values.items() if name != "kind"}
    if item.feed == "rounds":
        # The names that the FLOPY-NET text has for what we call otherwise.
        told = {"experiment_id": item.run_id, "participants": told.get("num_completed"), **told}
    elif item.feed == "network_changes":
        told = _network_alert(told)
    elif item.feed == "source_state":
        told.pop("cursor", None)
    body: dict[str, Any] = {"type": kind, "run_id": item.run_id, key: told}
    if item.journal is not None:
        body |= {"journal": item.journal, "offset": item.offset}
    return body


_TYPES: dict[Feed, tuple[str, str]] = {
    "rounds": ("fl_round_update", "metrics"),
    "updates": ("client_update", "update"),
    "machine_samples": ("sample", "sample"),
    "source_samples": ("sample", "sample"),
    "topology": ("topology", "topology"),
    "network_changes": ("network_alert", "alert"),
    "policy": ("policy_event", "event"),
    "log": ("system_event", "event"),
    "source_state": ("source_state", "source"),
    "alert": ("alert", "alert"),
}
"""A feed's type of message, and the key that its content stands under."""


def _network_alert(log: dict[str, Any]) -> dict[str, Any]:
    is_down = str(log.get("event", "")).endswith(("_down", "_lost"))
    return {
        "type": log.get("event"),
        "severity": "high" if is_down else "info",
        "state": "firing" if is_down else "resolved",
        "message": log.get("message"),
        "timestamp": log.get("ts"),
        "source": str(log.get("component", "")).removeprefix("source "),
        **(log.get("extra") or {}),
    }
