"""The batches that a destination gets from a recorded journal, without threads and offsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedsight.emitters.batching import Batching
from fedsight.emitters.destination import Batch
from fedsight.events import decode_block
from fedsight.journal import JournalReader, read_header


def batches_of(path: Path, lines_each: int = 1_000_000) -> Iterator[Batch]:
    """All that the journal at `path` holds, read `lines_each` lines at a time."""
    header = read_header(path)
    batching = Batching(header, lambda: None)
    with JournalReader(path) as reader:
        start, data = reader.read()
        lines = data.splitlines(keepends=True)
        assert not reader.read()[1], "a journal this long is not read here"
    for first in range(0, len(lines), lines_each):
        part = b"".join(lines[first : first + lines_each])
        block = decode_block(part, start)
        assert block.bad == []
        start += len(part)
        if (batch := batching.batch(block, header.journal)).lines:
            yield batch
