"""The one thread that writes the store: takes what has arrived and commits it, a few times a second.

The journals on disk are the queue. Blocks that were decoded on their way in are handed over while
there is room for them; whatever is missing (after a start, or when blocks come faster than the
store takes them) is read from the journal at the store's cursor.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from fedsight.collector.applying import apply
from fedsight.errors import JournalError
from fedsight.events import Block, JournalHeader, decode_block
from fedsight.journal import JournalReader
from fedsight.store import Receipt, Store

logger = logging.getLogger(__name__)

MAX_EVENTS_PER_COMMIT = 50_000
MIN_COMMIT_INTERVAL_SEC = 0.15
PLENTY_BYTES = 8 << 20
"""With so much waiting, the next commit does not wait for more."""
READ_BYTES = 2 << 20
CONTACT_INTERVAL_SEC = 1.0
"""How often silence is judged, and roll-ups that wait are finished."""
RETRY_SEC = 1.0
RETRY_READING_SEC = 5.0
"""A journal whose file can't be read is tried again so often."""
MAX_OPEN_FILES = 100
"""Journals' files held open, however many wait: there may be more of them than a process may open."""


class Found(msgspec.Struct):
    """A journal that grew, as a watch reports it, and when it did."""

    path: Path
    header: JournalHeader
    end: int
    changed_at: float


class Watch(Protocol):
    """Looks for news in a folder of journals that others write."""

    def scan(self) -> list[Found]:
        """Journals that are new or have grown since the last call (quickly nothing when it is not yet time)."""
        ...

    def contacts(self, now: float) -> tuple[Mapping[str, float], Collection[str]]:
        """Journals whose writer lives (id → when seen), and those whose writer is gone."""
        ...


class _Feed:
    """One journal on its way into the store."""

    def __init__(self, path: Path, header: JournalHeader, indexed: int, changed_at: float) -> None:
        self.path = path
        self.header = header
        self.end = indexed
        self.indexed = indexed
        self.taken = indexed
        self.changed_at = changed_at
        """When bytes last arrived: what is read from the file is not newer than that."""
        self.queue: deque[tuple[Block, float]] = deque()
        """Blocks that came decoded, each with when it came."""
        self.reader: JournalReader | None = None
        self.error: str | None = None
        """Why its file can't be read; it is tried again at `retry_at` (monotonic)."""
        self.retry_at = 0.0

    def read(self, limit: int) -> Block | None:
        """Read the next block from the journal's file, up to offset `limit`; None where no whole line is left."""
        if self.reader is None or self.reader.offset != self.taken:
            self.stop_reading()
            self.reader = JournalReader(self.path, self.taken)
        start, data = self.reader.read(READ_BYTES)
        data = data[: limit - start]
        data = data[: data.rfind(b"\n") + 1]
        return decode_block(data, start) if data else None

    def stop_reading(self) -> None:
        """Close the file."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None


class Indexer:
    """Feeds the store from journals, in a thread of its own.

    on_commit: called, in that thread, with the number of every new commit.
    """

    def __init__(
        self, store: Store, on_commit: Callable[[int], None], *, max_queue_bytes: int, watch: Watch | None = None
    ) -> None:
        self.stalled: str | None = None
        """Why nothing can be written at present; None while all is well."""
        self._store = store
        self._on_commit = on_commit
        self._max_queue_bytes = max_queue_bytes
        self._watch = watch
        self._lock = threading.Lock()
        self._feeds: dict[str, _Feed] = {}
        self._waiting: dict[str, _Feed] = {}
        self._unreadable: dict[str, _Feed] = {}
        self._reading: dict[str, _Feed] = {}
        """Feeds with an open file, the longest unused first."""
        self._queued_bytes = 0
        self._pending_bytes = 0
        self._contacts: dict[str, float] = {}
        self._listening_since = time.time()
        self._cursors = store.cursors()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedsight-indexer", daemon=True)

    # ── told by others ────────────────────────────────────────────────────────────────────────

    def received(self, path: Path, header: JournalHeader, blocks: Sequence[Block], end: int) -> None:
        """A journal has grown to offset `end` just now; `blocks` are (some of) the news, decoded."""
        now = time.time()
        with self._lock:
            self._grow(path, header, end, now)
            feed = self._feeds[header.journal]
            for block in blocks:
                feed.queue.append((block, now))
                self._queued_bytes += len(block.data)
            self._contacts[header.journal] = now
        self._news.set()

    def grown(self, path: Path, header: JournalHeader, end: int, changed_at: float) -> None:
        """A journal on disk reaches to `end` since `changed_at`; nobody was in contact."""
        with self._lock:
            self._grow(path, header, end, min(changed_at, time.time()))
        self._news.set()

    def _grow(self, path: Path, header: JournalHeader, end: int, changed_at: float) -> None:
        feed = self._feeds.get(header.journal)
        if feed is None:
            feed = _Feed(path, header, self._cursors.get(header.journal, 0), changed_at)
            self._feeds[header.journal] = feed
        self._pending_bytes += end - feed.end
        feed.end = end
        feed.changed_at = changed_at
        if feed.end > feed.indexed:
            self._waiting[header.journal] = feed

    def heard_of(self, journal: str, now: float) -> None:
        """The journal's sender is alive."""
        with self._lock:
            self._contacts[journal] = now

    def room_bytes(self) -> int:
        """How many bytes' blocks the queue still takes."""
        return self._max_queue_bytes - self._queued_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes of journals that are on disk and not yet in the store."""
        return self._pending_bytes

    @property
    def backlog_bytes(self) -> int:
        """Of those, what is only a matter of time: without the journals that can't be read."""
        with self._lock:
            return self._pending_bytes - sum(feed.end - feed.indexed for feed in self._unreadable.values())

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def lag_sec(self, now: float) -> float:
        """How long the oldest bytes that are not in the store have waited, at least."""
        with self._lock:
            since = [feed.queue[0][1] if feed.queue else feed.changed_at for feed in self._waiting.values()]
        return max(0.0, now - min(since)) if since else 0.0

    def unreadable(self) -> dict[Path, str]:
        """Journals that can't be read at present, and why not."""
        with self._lock:
            return {feed.path: feed.error or "" for feed in self._unreadable.values()}

    # ── the thread ────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin."""
        self._listening_since = time.time()
        self._thread.start()

    def stop(self) -> None:
        """Finish the commit under way and end; what waits is in the journals."""
        self._stopping.set()
        self._news.set()
        self._thread.join()
        for feed in self._feeds.values():
            feed.stop_reading()

    def run_dry(self, on_progress: Callable[[int], object] | None = None) -> None:
        """Index everything that is known now and can be read, in the caller's thread (`on_progress`: bytes done)."""
        while self._has_work():
            before = self._pending_bytes
            self._commit()
            if on_progress is not None:
                on_progress(before - self._pending_bytes)

    def _run(self) -> None:
        contacts_at = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if self._watch is not None:
                    for found in self._watch.scan():
                        self.grown(found.path, found.header, found.end, found.changed_at)
                self._news.clear()
                if self._waiting:
                    self._commit()
                if time.monotonic() >= contacts_at:
                    self._note_contacts()
                    contacts_at = time.monotonic() + CONTACT_INTERVAL_SEC
                self.stalled = self._trouble()
            except Exception as error:
                # Nothing is lost: all is in the journals. Say so, and try again.
                self.stalled = f"{type(error).__name__}: {error}"
                logger.exception("the index can't be written; trying again")
                self._stopping.wait(RETRY_SEC)
            self._rest(began)

    def _has_work(self) -> bool:
        with self._lock:
            return bool(self._waiting.keys() - self._unreadable.keys())

    def _trouble(self) -> str | None:
        unreadable = self.unreadable()
        if not unreadable:
            return None
        path, error = next(iter(unreadable.items()))
        more = f" (and {len(unreadable) - 1} more journals)" if len(unreadable) > 1 else ""
        return f"{path.name} can't be read: {error}{more}"

    def _rest(self, began: float) -> None:
        """Wait for news; under light load also for more of them, since every commit has its price."""
        took = time.monotonic() - began
        if not self._has_work():
            self._news.wait(0.2 if self._watch is not None else 1.0)
        pause = max(MIN_COMMIT_INTERVAL_SEC, 2 * took) - (time.monotonic() - began)
        while pause > 0 and self.backlog_bytes < PLENTY_BYTES and not self._stopping.is_set():
            self._stopping.wait(min(pause, 0.05))
            pause -= 0.05

    def _commit(self) -> None:
        try:
            receipts, feeds = self._take()
            if receipts:
                apply(self._store, receipts)
        except BaseException:
            self._go_back()
            raise
        with self._lock:
            for feed in feeds:
                self._pending_bytes -= feed.taken - feed.indexed
                feed.indexed = feed.taken
                if feed.indexed >= feed.end:
                    self._waiting.pop(feed.header.journal, None)
        if receipts:
            self._on_commit(self._store.commit)

    def _take(self) -> tuple[list[Receipt], list[_Feed]]:
        """The next transaction's blocks: one of each waiting journal in turn, so that none starves the others."""
        receipts: list[Receipt] = []
        room = MAX_EVENTS_PER_COMMIT
        now = time.monotonic()
        with self._lock:
            feeds = [feed for feed in self._waiting.values() if feed.retry_at <= now]
        turn = deque(feeds)
        while turn and room > 0:
            feed = turn.popleft()
            if feed.taken >= feed.end:
                continue
            try:
                block, received_at = self._next_block(feed)
            except (OSError, JournalError) as error:
                self._put_off(feed, error)
                continue
            self._note_readable(feed)
            if block is None:
                self._shorten(feed)
                continue
            feed.taken = block.end
            receipts.append(Receipt(header=feed.header, block=block, received_at=received_at))
            room -= len(block.events)
            turn.append(feed)
        with self._lock:
            for feed in feeds:  # who was served goes to the back
                if feed.taken > feed.indexed and feed.header.journal in self._waiting:
                    del self._waiting[feed.header.journal]
                    self._waiting[feed.header.journal] = feed
        return receipts, feeds

    def _next_block(self, feed: _Feed) -> tuple[Block | None, float]:
        """The block that follows, and when it arrived."""
        with self._lock:
            while feed.queue and feed.queue[0][0].start < feed.taken:
                self._queued_bytes -= len(feed.queue.popleft()[0].data)
            if feed.queue and feed.queue[0][0].start == feed.taken:
                block, received_at = feed.queue.popleft()
                self._queued_bytes -= len(block.data)
                return block, received_at
            limit = feed.queue[0][0].start if feed.queue else feed.end
            received_at = feed.changed_at
        return self._read(feed, limit), received_at

    def _read(self, feed: _Feed, limit: int) -> Block | None:
        self._reading.pop(feed.header.journal, None)
        while len(self._reading) >= MAX_OPEN_FILES:
            self._reading.pop(next(iter(self._reading))).stop_reading()
        block = feed.read(limit)
        if block is None or block.end >= limit:
            feed.stop_reading()
        else:
            self._reading[feed.header.journal] = feed
        return block

    def _put_off(self, feed: _Feed, error: Exception) -> None:
        """A journal's file can't be read. Go on with the others, and try this one again later."""
        if feed.error != str(error):
            logger.error("%s can't be read; trying again: %s", feed.path, error)
        feed.stop_reading()
        feed.retry_at = time.monotonic() + RETRY_READING_SEC
        with self._lock:
            feed.error = str(error)
            self._unreadable[feed.header.journal] = feed

    def _note_readable(self, feed: _Feed) -> None:
        if feed.error is not None:
            logger.warning("%s can be read again", feed.path)
            with self._lock:
                feed.error = None
                self._unreadable.pop(feed.header.journal, None)

    def _shorten(self, feed: _Feed) -> None:
        """There is nothing more to take at present, whatever its size says (a line that is still being written)."""
        with self._lock:
            self._pending_bytes -= feed.end - feed.taken
            feed.end = feed.taken

    def _go_back(self) -> None:
        """After a failed commit: what was taken is taken again, from the files."""
        cursors = self._store.cursors()
        with self._lock:
            for feed in self._waiting.values():
                feed.stop_reading()
                reached = cursors.get(feed.header.journal, 0)
                self._pending_bytes -= reached - feed.indexed
                feed.indexed = feed.taken = reached

    # ── contact ───────────────────────────────────────────────────────────────────────────────

    def _note_contacts(self) -> None:
        now = time.time()
        with self._lock:
            seen: dict[str, float] = self._contacts
            self._contacts = {}
        gone: Collection[str] = ()
        if self._watch is not None:
            alive, gone = self._watch.contacts(now)
            seen = {**seen, **alive}
        commit = self._store.note_contact(seen, gone, now, self._listening_since)
        if commit is not None:
            self._on_commit(commit)
