"""One journal on its way into a mirror: the next block as points, and what it takes to go on from there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from fedsight.collector.mirrors.points import JournalPoints
from fedsight.events import JournalHeader, decode_block
from fedsight.journal import JournalReader

READ_BYTES = 1 << 20


class Journal(Protocol):
    """A journal on disk, as far as it may be read."""

    path: Path
    header: JournalHeader
    length: int


class Journals(Protocol):
    """What there is to follow."""

    def all(self) -> Iterable[Journal]:
        """Every journal that holds something. May be called in any thread."""


class Position(msgspec.Struct):
    """How far one journal is mirrored, and what it takes to go on from there."""

    offset: int = 0
    num_lines: int = 0
    fold_from: int = 0
    source_kind: str | None = None


class Feed:
    """One journal on its way out."""

    def __init__(self, journal: Journal, position: Position) -> None:
        self.journal = journal
        self.position = position
        self.points: JournalPoints | None = None
        self.end = position.offset
        """Where the block ends that was taken last."""
        self.error: str | None = None
        """Why it can't be read; it is tried again at `retry_at` (monotonic)."""
        self.retry_at = 0.0

    def next(self) -> list[bytes] | None:
        """The points of the next block; None where nothing is left. They count as delivered after `delivered`."""
        if self.points is None:
            self.points = self._go_on()
        with JournalReader(self.journal.path, self.position.offset) as reader:
            start, data = reader.read(READ_BYTES)
        if not data:
            return None
        block = decode_block(data, start)
        points = self.points.take(block)
        self.end = block.end
        return points

    def delivered(self) -> Position:
        """The block that `next` gave is in the database; how far that is."""
        assert self.points is not None
        self.position = Position(
            offset=self.end,
            num_lines=self.points.num_lines,
            fold_from=self.points.fold_from(self.end),
            source_kind=self.points.source_kind,
        )
        return self.position

    def _go_on(self) -> JournalPoints:
        """What an earlier process knew at this position."""
        at = self.position
        points = JournalPoints(self.journal.header, at.num_lines, at.source_kind)
        if at.fold_from < at.offset:
            with JournalReader(self.journal.path, at.fold_from) as reader:
                while reader.offset < at.offset:
                    start, data = reader.read(min(READ_BYTES, at.offset - reader.offset))
                    if not data:
                        break
                    points.fold(decode_block(data, start))
        return points
