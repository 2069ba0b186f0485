"""Mending what a crash left: a torn last line is cut off."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fedsight.events import Log, RunEnd, RunStart, decode, encode
from fedsight.journal.names import segments

_CHUNK_BYTES = 1 << 16


class Recovery(msgspec.Struct):
    """What was found in a journal that is opened again."""

    end: int
    """Stream offset of its end, after the cut."""
    torn_bytes: int
    """How many bytes of an unfinished last line were cut off."""
    open_run: bool
    """Whether its last run never ended."""


def recover(path: Path, fd: int, base: int) -> Recovery:
    """Cut the torn last line off the newest file of the journal at `path`, open as `fd` (writable).

    The caller holds the writer's lock. `base` is the stream offset of that file's first byte.
    """
    size = os.fstat(fd).st_size
    keep = _end_of_last_line(fd, size)
    if keep < size:
        os.ftruncate(fd, keep)
    return Recovery(end=base + keep, torn_bytes=size - keep, open_run=_has_open_run(path))


def closing_lines(recovery: Recovery) -> list[bytes]:
    """What to write into a journal that was found so: what was cut off, and the end of a run that never ended."""
    lines = []
    if recovery.torn_bytes:
        message = f"A crash had torn the last line: {recovery.torn_bytes} bytes were cut off."
        lines.append(encode(Log(ts=time.time(), component="journal", event="recovered", message=message)))
    if recovery.open_run:
        lines.append(encode(RunEnd(ts=time.time(), status="killed", error="The process ended without a word.")))
    return lines


def _end_of_last_line(fd: int, size: int) -> int:
    at = size
    while at > 0:
        start = max(0, at - _CHUNK_BYTES)
        newline = os.pread(fd, at - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        at = start
    return 0


def _has_open_run(path: Path) -> bool:
    """Whether a `run_start` stands behind the last `run_end`, looking from the end."""
    for _, segment in reversed(segments(path)):
        for line in _lines_from_end(segment):
            # The kind stands first in every line that we write; a look at the bytes spares the decoding.
            if line.startswith((b'{"kind":"run_start"', b'{"kind":"run_end"')):
                event = decode(line)
                if isinstance(event, RunEnd):
                    return False
                if isinstance(event, RunStart):
                    return True
    return False


def _lines_from_end(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        rest = b""
        while at > 0:
            step = min(at, 1 << 20)
            at -= step
            file.seek(at)
            lines = (file.read(step) + rest).split(b"\n")
            rest = lines[0]
            yield from reversed(lines[1:])
        yield rest
