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


class Found(msgspec.Struct):
    """A journal that grew, as a watch reports it."""

    path: Path
    header: JournalHeader
    end: int


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

    def __init__(self, path: Path, header: JournalHeader, indexed: int) -> None:
        self.path = path
        self.header = header
        self.end = indexed
        self.indexed = indexed
        self.taken = indexed
        self.queue: deque[Block] = deque()
        self.reader: JournalReader | None = None

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
        self._queued_bytes = 0
        self._pending_bytes = 0
        self._contacts: dict[str, float] = {}
        self._cursors = store.cursors()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedsight-indexer", daemon=True)

    # ── told by others ────────────────────────────────────────────────────────────────────────

    def received(self, path: Path, header: JournalHeader, blocks: Sequence[Block], end: int) -> None:
        """A journal has grown to offset `end`; `blocks` are (some of) the news, decoded."""
        with self._lock:
            feed = self._feed(path, header)
            for block in blocks:
                feed.queue.append(block)
                self._queued_bytes += len(block.data)
            self._pending_bytes += end - feed.end
            feed.end = end
            if feed.end > feed.indexed:
                self._waiting[header.journal] = feed
        self._news.set()

    def grown(self, path: Path, header: JournalHeader, end: int) -> None:
        """A journal on disk reaches to `end`; nobody was in contact."""
        with self._lock:
            feed = self._feed(path, header)
            self._pending_bytes += end - feed.end
            feed.end = end
            if feed.end > feed.indexed:
                self._waiting[header.journal] = feed
        self._news.set()

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

    def _feed(self, path: Path, header: JournalHeader) -> _Feed:
        feed = self._feeds.get(header.journal)
        if feed is None:
            feed = self._feeds[header.journal] = _Feed(path, header, self._cursors.get(header.journal, 0))
        return feed

    # ── the thread ────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the commit under way and end; what waits is in the journals."""
        self._stopping.set()
        self._news.set()
        self._thread.join()
        for feed in self._feeds.values():
            feed.stop_reading()

    def run_dry(self, on_progress: Callable[[int], object] | None = None) -> None:
        """Index everything that is known now, in the caller's thread (`on_progress`: bytes done)."""
        while self._waiting:
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
                        self.grown(found.path, found.header, found.end)
                self._news.clear()
                if self._waiting:
                    self._commit()
                if time.monotonic() >= contacts_at:
                    self._note_contacts()
                    contacts_at = time.monotonic() + CONTACT_INTERVAL_SEC
                self.stalled = None
            except Exception as error:
                # Nothing is lost: all is in the journals. Say so, and try again.
                self.stalled = f"{type(error).__name__}: {error}"
                logger.exception("the index can't be written; trying again")
                self._stopping.wait(RETRY_SEC)
            self._rest(began)

    def _rest(self, began: float) -> None:
        """Wait for news; under light load also for more of them, since every commit has its price."""
        took = time.monotonic() - began
        if not self._waiting:
            self._news.wait(0.2 if self._watch is not None else 1.0)
        pause = max(MIN_COMMIT_INTERVAL_SEC, 2 * took) - (time.monotonic() - began)
        while pause > 0 and self._pending_bytes < PLENTY_BYTES and not self._stopping.is_set():
            self._stopping.wait(min(pause, 0.05))
            pause -= 0.05

    def _commit(self) -> None:
        receipts, feeds = self._take()
        if receipts:
            try:
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
                    feed.stop_reading()
        if receipts:
            self._on_commit(self._store.commit)

    def _take(self) -> tuple[list[Receipt], list[_Feed]]:
        """The next transaction's blocks: one of each waiting journal in turn, so that none starves the others."""
        receipts: list[Receipt] = []
        now = time.time()
        room = MAX_EVENTS_PER_COMMIT
        with self._lock:
            feeds = list(self._waiting.values())
        turn = deque(feeds)
        while turn and room > 0:
            feed = turn.popleft()
            if feed.taken >= feed.end:
                continue
            try:
                block = self._next_block(feed)
            except (OSError, JournalError) as error:
                self._give_up(feed, error)
                continue
            if block is None:
                self._shorten(feed)
                continue
            feed.taken = block.end
            receipts.append(Receipt(header=feed.header, block=block, received_at=now))
            room -= len(block.events)
            turn.append(feed)
        with self._lock:
            for feed in feeds:  # who was served goes to the back
                if feed.taken > feed.indexed and feed.header.journal in self._waiting:
                    del self._waiting[feed.header.journal]
                    self._waiting[feed.header.journal] = feed
        return receipts, feeds

    def _next_block(self, feed: _Feed) -> Block | None:
        with self._lock:
            while feed.queue and feed.queue[0].start < feed.taken:
                self._queued_bytes -= len(feed.queue.popleft().data)
            if feed.queue and feed.queue[0].start == feed.taken:
                block = feed.queue.popleft()
                self._queued_bytes -= len(block.data)
                return block
            limit = feed.queue[0].start if feed.queue else feed.end
        return feed.read(limit)

    def _give_up(self, feed: _Feed, error: Exception) -> None:
        """A journal's file can't be read. Go on with the others; a later growth has it tried again."""
        logger.error("%s can't be followed: %s", feed.path, error)
        self._shorten(feed)

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
        commit = self._store.note_contact(seen, gone, now)
        if commit is not None:
            self._on_commit(commit)
