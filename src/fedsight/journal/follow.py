"""Following a journal: everything from the saved offset on, then whatever is still to come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from fedsight.events import Block, decode_block
from fedsight.journal.cursor import Cursor
from fedsight.journal.reader import JournalReader, writer_alive

_SHORTEST_WAIT_SEC = 0.01
_LONGEST_WAIT_SEC = 0.25


def follow(
    path: Path, cursor: Cursor, *, stop: threading.Event | None = None, max_bytes: int = 1 << 20
) -> Iterator[Block]:
    """Yield the journal's lines from the cursor on, in decoded blocks, each in order and once.

    A block counts as delivered, and the cursor is saved, when the loop asks for the next one. Ends
    when the writer is gone and all is read, or, all being read, when `stop` is set.
    """
    stop = stop or threading.Event()
    wait_sec = _SHORTEST_WAIT_SEC
    with JournalReader(path, cursor.offset) as reader:
        while True:
            # Asked before reading: what a writer wrote before it went is then surely read.
            last_look = stop.is_set() or not writer_alive(path)
            start, data = reader.read(max_bytes)
            if data:
                wait_sec = _SHORTEST_WAIT_SEC
                yield decode_block(data, start)
                cursor.save(start + len(data))
            elif last_look:
                return
            else:
                stop.wait(wait_sec)
                wait_sec = min(wait_sec * 2, _LONGEST_WAIT_SEC)
