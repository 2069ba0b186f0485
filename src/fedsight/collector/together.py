"""Appends to several of the collector's own journals that happen all or not at all, over a crash, too.

What is to be appended is first written to a file of its own, `<journal id>.batch` beside the journals,
which goes when the journals have it. A collector that finds such a file at its start does what it says.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio.to_thread
import msgspec

from fedsight.collector.indexer import Indexer
from fedsight.collector.journals import Copy, Journals
from fedsight.collector.producer import journal_id
from fedsight.events import Event, JournalHeader, Role, decode_block, encode

logger = logging.getLogger(__name__)


class Addition(msgspec.Struct):
    """Events for the journal about `subject`, which is made when it is new."""

    role: Role
    subject: str
    events: Sequence[Event]
    run_id: str | None = None


class _Part(msgspec.Struct):
    journal: str
    start: int
    lines: str


class Together:
    """Appends several additions as one."""

    def __init__(self, journals: Journals, indexer: Indexer) -> None:
        self._journals = journals
        self._indexer = indexer

    async def append(self, additions: Iterable[Addition]) -> None:
        """Append all of them, or nothing. One journal at most once.

        Raises `OSError` where they can't be written, `TypeError` or `ValueError` for an event that has no JSON form.
        """
        work = []
        for addition in additions:
            journal = journal_id(addition.role, addition.subject)
            header = JournalHeader(
                ts=time.time(), version=1, journal=journal, role=addition.role, run_id=addition.run_id
            )
            work.append((self._journals.get_or_new(journal, header), b"".join(map(encode, addition.events))))
        async with AsyncExitStack() as locks:
            for copy, _ in sorted(work, key=lambda item: item[0].header.journal):
                await locks.enter_async_context(copy.lock)
            ready = [(copy, lines if copy.length else encode(copy.header) + lines) for copy, lines in work]
            starts = [copy.length for copy, _ in ready]
            # Not cancelled while it runs: what was begun is finished.
            await anyio.to_thread.run_sync(self._write, ready)
            for (copy, lines), start in zip(ready, starts, strict=True):
                self._indexer.received(copy.path, copy.header, [decode_block(lines, start)], copy.length)

    def _write(self, ready: list[tuple[Copy, bytes]]) -> None:
        note = self._journals.folder / f"{ready[0][0].header.journal}.batch"
        _write_note(note, [_Part(copy.header.journal, copy.length, lines.decode()) for copy, lines in ready])
        done: list[tuple[Copy, int]] = []
        try:
            for copy, lines in ready:
                before = copy.length
                copy.append(lines)
                done.append((copy, before))
        except OSError:
            # The note goes last: a crash before that finishes at the next start what was begun.
            for copy, before in done:
                _take_back(copy, before)
            note.unlink()
            raise
        note.unlink()


def finish_batches(folder: Path) -> None:
    """Do what the notes in `folder` say that an earlier collector did not come to. Before the journals are opened."""
    if not folder.is_dir():
        return
    for leftover in folder.glob("*.batch.new"):
        leftover.unlink()
    for note in sorted(folder.glob("*.batch")):
        try:
            parts = msgspec.json.decode(note.read_bytes(), type=list[_Part])
        except msgspec.MsgspecError:
            logger.error("%s is no batch; left alone", note)  # noqa: TRY400 (the message says it all)
            continue
        for part in parts:
            _finish(folder / f"{part.journal}.jsonl", part)
        note.unlink()


def _finish(path: Path, part: _Part) -> None:
    lines = part.lines.encode()
    size = path.stat().st_size if path.exists() else 0
    if size >= part.start + len(lines):
        return
    if size < part.start:
        logger.error("%s ends at %d, before what was to be added at %d: left alone", path, size, part.start)
        return
    with path.open("r+b" if size else "wb") as file:
        file.truncate(part.start)
        file.seek(part.start)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def _take_back(copy: Copy, length: int) -> None:
    # Our own journals are one file each: the stream's offset is the file's.
    if length == 0:
        copy.path.unlink()
    else:
        os.truncate(copy.path, length)
    copy.length = length


def _write_note(path: Path, parts: list[_Part]) -> None:
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.encode(parts))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        new.unlink(missing_ok=True)
        raise
