"""A journal that a receiver knows otherwise is sent again under an id of its own.

The new id is derived from the old one and as long, so that offsets stay the same and a later
process comes to the same id by itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fedsight.errors import JournalError
from fedsight.events import MAX_LINE_BYTES
from fedsight.journal.reader import JournalReader

_HEADER = b'{"kind":"journal",'


class Retake:
    """The journal `original` as it is sent the `number`-th time anew (0: as it is)."""

    def __init__(self, original: str, number: int) -> None:
        self.number = number
        self._original = original
        self.journal = original
        if number:
            self.journal = hashlib.sha256(f"{original}:{number}".encode()).hexdigest()[: len(original)]

    def translate(self, data: bytes) -> bytes:
        """Whole lines of the journal, with the id in headers replaced."""
        if self.number == 0 or _HEADER not in data:
            return data
        old, new = f'"journal":"{self._original}"'.encode(), f'"journal":"{self.journal}"'.encode()
        return b"".join(
            line.replace(old, new, 1) if line.startswith(_HEADER) else line for line in data.splitlines(keepends=True)
        )

    def line_hash(self, path: Path, offset: int) -> str | None:
        """SHA-256 (hex) of the line that ends at `offset`; None where the journal has no such line."""
        start = max(0, offset - MAX_LINE_BYTES)
        try:
            with JournalReader(path, start) as reader:
                data = b""
                while len(data) < offset - start:
                    block = reader.read(offset - start - len(data))[1]
                    if not block:
                        break
                    data += block
        except JournalError:
            return None
        # A reader that starts amid a line still gives bytes in step with the stream.
        data = data[: offset - start]
        if len(data) < offset - start or not data.endswith(b"\n"):
            return None
        line = data[data.rfind(b"\n", 0, -1) + 1 :]
        return hashlib.sha256(self.translate(line)).hexdigest()
