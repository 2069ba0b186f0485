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

SHARED_COMMITS = 50
"""Who is no further behind is served from what is new of all runs, asked once for everybody."""

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


class _Told(msgspec.Struct):
    """A message as everybody gets it: its JSON without the opening brace and `as_of`. run_id: None where it is of no run."""

    run_id: str | None
    rest: bytes


class _Batch:
    """What one stretch of commits has to tell."""

    def __init__(self, before: str, after: str, commit: int, told: list[_Told], num_skipped: int) -> None:
        self.commit = commit
        self.num_skipped = num_skipped
        self._before, self._after = before, after
        self._told = told
        self._messages: dict[str | None, list[Message]] = {}

    def messages(self, run_id: str | None) -> list[Message]:
        """For readers of this run, or of all. All but the last bear the token from before the batch."""
        found = self._messages.get(run_id)
        if found is None:
            told = [each for each in self._told if run_id is None or each.run_id in (None, run_id)]
            tokens = [self._before] * (len(told) - 1) + [self._after]
            found = self._messages[run_id] = [
                (token, b'{"as_of":"%b",' % token.encode() + each.rest)
                for token, each in zip(tokens, told, strict=False)
            ]
        return found


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
                messages = batch.messages(wanted.run_id)
                if asked != (wanted.position, wanted.feeds, wanted.run_id):
                    continue  # it wants something else by now
                wanted.position = batch.commit
                self.num_skipped += batch.num_skipped
                if messages:
                    yield messages
                    heard_at = loop.time()
                    continue
            if not await _either(tick, wanted.changed, heard_at + HEARTBEAT_SEC - loop.time()):
                yield [self._hub.plain("heartbeat", wanted.position)]
                heard_at = loop.time()

    async def _batch(self, since: int, feeds: frozenset[Feed], run_id: str | None) -> _Batch:
        if run_id is not None and self._hub.commit - since <= SHARED_COMMITS:
            batch = await self._asked_once(since, feeds, None)
            if not batch.num_skipped:  # else another run's news may have taken the room of this one's
                return batch
        return await self._asked_once(since, feeds, run_id)

    async def _asked_once(self, since: int, feeds: frozenset[Feed], run_id: str | None) -> _Batch:
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
        news = queries.news(self._store, feeds, since, run_id, limit=MAX_ITEMS)
        told = [
            _Told(None, encode({"type": "skipped", "feed": feed, "num_skipped": number})[1:])
            for feed, number in news.skipped.items()
        ]
        told += [_Told(item.run_id, encode(body_of(item))[1:]) for item in news.items]
        return _Batch(self._hub.as_of(since), news.as_of, news.commit, told, sum(news.skipped.values()))


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
