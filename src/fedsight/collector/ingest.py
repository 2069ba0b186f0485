"""The door for producers: takes journals in, byte for byte, and acknowledges what is on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from fedsight.collector.access import Grant
from fedsight.collector.bodies import unpack
from fedsight.collector.errors import Refused
from fedsight.collector.indexer import Indexer
from fedsight.collector.journals import JOURNAL_ID, Copy, Journals
from fedsight.collector.settings import MB, Settings
from fedsight.events import (
    MAX_LINE_BYTES,
    Block,
    JournalHeader,
    RunStart,
    UnknownEvent,
    decode,
    decode_block,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_UNPACKING = 2
"""Bodies unpacked and decoded at a time: each may take its 64 MiB."""

MAX_BODIES = 8
"""With the bytes of so many of the largest bodies in memory, new ones are refused; with twice as many, all are."""

ROOM_WAIT_SEC = 1.0
"""A sender that is faster than the index is held up so long at most, to spare reading its lines twice."""

BLOCK_BYTES = 2 << 20
"""A body is decoded in blocks of about this size, so that a large one never stands in memory decoded."""

_CLOSE = {"connection": "close"}
"""Sent where the rest of a body is not waited for."""


class Held(msgspec.Struct):
    """How far the collector's copy of a journal goes: what a sender goes on from."""

    journal: str
    offset: int
    last_line: str | None


class Ingest:
    """Checks, appends, syncs; then hands the decoded blocks on to the index."""

    def __init__(self, settings: Settings, journals: Journals, indexer: Indexer) -> None:
        self._settings = settings
        self._journals = journals
        self._indexer = indexer
        self._receiving_bytes = 0
        self._trouble: str | None = None
        self._unpacking = anyio.CapacityLimiter(MAX_UNPACKING)

    async def held(self, journal: str, grant: Grant) -> Held:
        """How far the journal has come.

        Raises `Refused`: 404 when nothing of it is here, 403 when it is not the caller's.
        """
        check_id(journal)
        copy = self._journals.get(journal)
        if copy is None:
            raise Refused(404, f"There is no journal {journal!r}.", field="journal")
        _authorize(grant, copy.header)
        async with copy.lock:
            return Held(journal, copy.length, await anyio.to_thread.run_sync(copy.last_line_hash))

    async def receive(
        self, journal: str, offset: int, grant: Grant, encoding: str, length: int | None, chunks: AsyncIterator[bytes]
    ) -> int:
        """Take one body; returns the offset behind it, once its bytes are on disk.

        Raises `Refused` with the status that docs/api.md names for each fault.
        """
        check_id(journal)
        if length is not None and length > self._settings.max_body_mb * MB:
            raise self._body_too_large()
        if length != 0:  # a heartbeat costs nothing, and without it a live run would be taken for lost
            self._check_load(length or 0)
        with self._counting() as count:
            body = await self._read(chunks, count)
            if not body:
                return await self._heartbeat(journal, offset, grant)
            return await self._take(journal, offset, grant, encoding, body)

    async def _take(self, journal: str, offset: int, grant: Grant, encoding: str, body: bytes) -> int:
        await self._wait_for_room()
        copy = self._journals.get(journal)
        if copy is None:
            # Whose journal a new one is, its first line says: unpack before anything is made of it.
            await self._check_start(journal, offset)
            header = await self._in_thread(partial(self._first_header, journal, body, encoding))
            _authorize(grant, header)
            try:
                copy = self._journals.get_or_new(journal, header)
            except OSError as error:
                raise _unwritable(error) from error
        else:
            _authorize(grant, copy.header)
        async with copy.lock:
            await self._check_offset(copy, offset)
            blocks = await self._in_thread(partial(self._store, copy, body, encoding))
            end = copy.length
        self._indexer.received(copy.path, copy.header, blocks, end)
        return end

    async def _wait_for_room(self) -> None:
        with anyio.move_on_after(ROOM_WAIT_SEC):
            while self._indexer.room_bytes() <= 0:
                await anyio.sleep(0.02)

    async def _heartbeat(self, journal: str, offset: int, grant: Grant) -> int:
        copy = self._journals.get(journal)
        if copy is None:
            await self._check_start(journal, offset)
            return 0
        _authorize(grant, copy.header)
        async with copy.lock:
            await self._check_offset(copy, offset)
        self._indexer.heard_of(journal, time.time())
        return offset

    @contextmanager
    def _counting(self) -> Iterator[Callable[[int], None]]:
        """Counts bytes as being received from when they arrive until the caller is done with them."""
        counted = 0

        def count(num_bytes: int) -> None:
            nonlocal counted
            counted += num_bytes
            self._receiving_bytes += num_bytes

        try:
            yield count
        finally:
            self._receiving_bytes -= counted

    async def _read(self, chunks: AsyncIterator[bytes], count: Callable[[int], None]) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in chunks:
            size += len(part)
            count(len(part))
            if size > self._settings.max_body_mb * MB:
                raise self._body_too_large()
            if self._receiving_bytes > 2 * MAX_BODIES * self._settings.max_body_mb * MB:
                raise self._behind(**_CLOSE)
            parts.append(part)
        return b"".join(parts)

    def _body_too_large(self) -> Refused:
        return Refused(
            413,
            f"the body is larger than {self._settings.max_body_mb} MiB; send it in smaller parts, each of whole lines",
            headers=_CLOSE,
        )

    def _check_load(self, length: int) -> None:
        """The journal is the sender's buffer: when we are behind, it can wait."""
        backlog = self._indexer.backlog_bytes > self._settings.max_backlog_mb * MB
        if backlog or self._receiving_bytes + length > MAX_BODIES * self._settings.max_body_mb * MB:
            raise self._behind()

    def _behind(self, **headers: str) -> Refused:
        return Refused(429, "The collector is behind; send this again later.", headers={"retry-after": "1", **headers})

    async def _check_start(self, journal: str, offset: int) -> None:
        if offset != 0:
            raise Refused(409, f"Nothing of journal {journal!r} is here; start at offset 0.", field="offset", offset=0)

    async def _check_offset(self, copy: Copy, offset: int) -> None:
        if offset != copy.length:
            raise Refused(
                409,
                f"The journal ends at offset {copy.length} here, the body begins at {offset}.",
                field="offset",
                offset=copy.length,
                last_line=await anyio.to_thread.run_sync(copy.last_line_hash),
            )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._unpacking)

    def _first_header(self, journal: str, body: bytes, encoding: str) -> JournalHeader:
        return _header_of(journal, self._lines(body, encoding))

    def _lines(self, body: bytes, encoding: str) -> bytes:
        data = unpack(body, encoding, self._settings.max_decoded_mb * MB)
        if not data.endswith(b"\n"):
            raise Refused(400, "the body is not whole lines: it must end with a newline")
        _check_line_lengths(data)
        return data

    def _store(self, copy: Copy, body: bytes, encoding: str) -> list[Block]:
        """Unpack, check every line, append and sync. Returns the blocks that there is room for in the index's queue."""
        data = self._lines(body, encoding)
        start = copy.length
        if start == 0:
            copy.header = _header_of(copy.header.journal, data)
        kept: list[Block] = []
        room = self._indexer.room_bytes()
        for at, part in _blocks(data):
            block = decode_block(part, start + at)
            check_lines(block, copy.header)
            room -= len(part)
            if room >= 0:
                kept.append(block)
        try:
            copy.append(data)
        except OSError as error:
            self._note_trouble(f"journals can't be written: {error}")
            raise _unwritable(error) from error
        self._note_trouble(None)
        return kept

    def _note_trouble(self, trouble: str | None) -> None:
        """Say it once: a full disk must not be filled with the same line for every sender that tries again."""
        if trouble is not None and self._trouble is None:
            logger.error("%s; senders are told to come again", trouble)
        elif trouble is None and self._trouble is not None:
            logger.warning("journals are written again")
        self._trouble = trouble


def _unwritable(error: OSError) -> Refused:
    return Refused(
        503,
        f"The collector could not write the journal ({error.strerror}); send this again later.",
        headers={"retry-after": "5"},
    )


def check_id(journal: str) -> None:
    """Raises `Refused` (400) for what can't be a journal's id."""
    if not JOURNAL_ID.fullmatch(journal):
        raise Refused(
            400, f"{journal[:200]!r} is no journal id: 1 to 120 letters, digits, '-' and '_'", field="journal"
        )


def check_lines(block: Block, header: JournalHeader) -> None:
    """See that every line is the header's to say: a client's journal speaks for that client, a server's for its run.

    Raises `Refused` (403) naming the first line that is not.
    """
    # A backslash: a kind may be spelt in escapes.
    if b'"run_start"' in block.data or b'"journal"' in block.data or b"\\u" in block.data:
        for event in block.events:
            if isinstance(event, RunStart) and header.run_id is not None and event.run_id != header.run_id:
                raise _foreign(f"a run_start of run {event.run_id!r}", header)
            if isinstance(event, JournalHeader) and _identity(event) != _identity(header):
                raise _foreign(f"a header of journal {event.journal!r}, run {event.run_id!r}", header)
    if header.client_id is not None:
        for event in block.events:
            if isinstance(event, UnknownEvent):
                client_id = event.fields.get("client_id")
            else:
                client_id = getattr(event, "client_id", None)
            if client_id is not None and client_id != header.client_id:
                raise _foreign(f"a line of client {client_id!r}", header)


def _foreign(what: str, header: JournalHeader) -> Refused:
    whose = f"run {header.run_id!r}" + (f", client {header.client_id!r}" if header.client_id is not None else "")
    return Refused(
        403, f"the body holds {what}, but the journal is the {header.role}'s of {whose}", code="foreign_line"
    )


def _identity(header: JournalHeader) -> tuple[str, str, str | None, str | None]:
    return header.journal, header.role, header.run_id, header.client_id


def _authorize(grant: Grant, header: JournalHeader) -> None:
    if reason := grant.why_not_write(header):
        raise Refused(403, reason)


def _header_of(journal: str, data: bytes) -> JournalHeader:
    """The header that a new journal must begin with.

    Raises `Refused`: 400 when there is none, 403 when it is another journal's.
    """
    line = data[: data.find(b"\n") + 1]
    try:
        header = decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Refused(400, f"a journal must begin with its header line, which this is not: {error}") from error
    if not isinstance(header, JournalHeader):
        raise Refused(400, "a journal must begin with its header line, a line of kind 'journal'")
    if header.base != 0:
        raise Refused(400, f"the first header of a journal has base 0, not {header.base}", field="base")
    if header.version != 1:
        raise Refused(400, f"journal version {header.version} is newer than this collector; update it", field="version")
    if header.journal != journal:
        raise Refused(403, f"the header says journal {header.journal!r}, the path says {journal!r}", field="journal")
    if header.role in ("server", "client") and not header.run_id:
        raise Refused(400, f"a header of role {header.role!r} needs a run_id", field="run_id")
    if header.role == "client" and not header.client_id:
        raise Refused(400, "a header of role 'client' needs a client_id", field="client_id")
    return header


def _check_line_lengths(data: bytes) -> None:
    at = 0
    while at < len(data):
        newline = data.rfind(b"\n", at, at + MAX_LINE_BYTES)
        if newline < 0:
            raise Refused(400, f"a line is longer than {MAX_LINE_BYTES} bytes")
        at = newline + 1


def _blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """`data` in pieces of whole lines, each with where it starts."""
    at = 0
    while at < len(data):
        end = len(data)
        if end - at > BLOCK_BYTES + MAX_LINE_BYTES:
            end = data.index(b"\n", at + BLOCK_BYTES) + 1
        yield at, data[at:end]
        at = end
