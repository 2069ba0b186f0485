"""The collector as a producer: what it finds out itself goes into journals of its own, as everybody's does."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import partial

import anyio.to_thread

from fedsight.collector.indexer import Indexer
from fedsight.collector.journals import Copy, Journals
from fedsight.events import Event, JournalHeader, Role, decode_block, encode


class Producers:
    """The journals that this collector writes, by what they are about."""

    def __init__(self, journals: Journals, indexer: Indexer) -> None:
        self.num_made = 0
        """Journals that were made in this collector's time."""
        self._journals = journals
        self._indexer = indexer

    def knows(self, role: Role, subject: str) -> bool:
        """Whether there is a journal about `subject` already."""
        return self._journals.get(journal_id(role, subject)) is not None

    async def append(
        self,
        role: Role,
        subject: str,
        events: Sequence[Event],
        *,
        run_id: str | None = None,
        client_id: str | None = None,
    ) -> None:
        """Append to the journal about `subject` (such as "heflwr edge-7"), which is made when it is new.

        Raises `OSError` where it can't be written; then nothing of it is there.
        """
        journal = journal_id(role, subject)
        header = JournalHeader(
            ts=time.time(), version=1, journal=journal, role=role, run_id=run_id, client_id=client_id
        )
        copy = self._journals.get_or_new(journal, header)
        lines = b"".join(map(encode, events))
        async with copy.lock:
            if not copy.length:
                lines = encode(copy.header) + lines
                self.num_made += 1
            start = copy.length
            await anyio.to_thread.run_sync(partial(copy.append, lines))
            end = copy.length
        self._tell(copy, lines, start, end)

    def _tell(self, copy: Copy, lines: bytes, start: int, end: int) -> None:
        self._indexer.received(copy.path, copy.header, [decode_block(lines, start)], end)


def journal_id(role: Role, subject: str) -> str:
    """The id of the collector's own journal about `subject`: the same after a restart."""
    return f"{role}-{hashlib.sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
