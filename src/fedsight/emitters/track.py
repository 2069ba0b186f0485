"""One journal on its way to one destination: how far it was read, delivered and remembered."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from fedsight.emitters.batching import Batching, Pause
from fedsight.emitters.state import journal_end
from fedsight.errors import JournalError
from fedsight.events import Block, JournalHeader, decode_block
from fedsight.journal import Cursor, JournalReader, read_header
from fedsight.journal.retake import Retake

logger = logging.getLogger("fedsight")

_SLICE_BYTES = 1 << 15
_SIBLING = re.compile(r"~[0-9a-f]{8}(?=\.jsonl$)")


def main_path(path: Path) -> Path:
    """The journal beside which that of a forked child or a second writer lies; `path` itself where it is that."""
    return path.with_name(_SIBLING.sub("", path.name))


class Track:
    """The journal that starts at `path`, followed for the destination `identity`.

    sync_options: those of `fedsight sync` that deliver to the same place; remembered with the offset. `offset` is up to where it was delivered. What the destination keeps (`destination_state`) and
    the status that it was closed with last (`closed_as`) are remembered together with the offset.
    """

    BLOCK_BYTES: ClassVar[int] = 1 << 18
    """What is delivered at once, and comes again after a crash: seconds, at a slow database."""

    def __init__(self, path: Path, identity: str, sync_options: Sequence[str]) -> None:
        self.path = path
        self.offset = 0
        self.header: JournalHeader
        self.batching: Batching | None = None
        self.destination_state: Any = None
        self.closed_as: str | None = None
        self.is_begun = False
        self.is_done = False
        self.is_let_go = False
        self._identity = identity
        self._sync_options = list(sync_options)
        self._cursor: Cursor | None = None
        self._reader: JournalReader | None = None
        self._last_line: str | None = None

    @property
    def journal(self) -> str:
        """The journal's id."""
        return self.header.journal

    @property
    def run_key(self) -> tuple[str, str | None]:
        """Which run, and which site's side of it."""
        return self.header.run_id or "", self.header.client_id

    def is_of_run(self, other: Track) -> bool:
        """Whether both tell of the same run (and the same site's side of it)."""
        return self.run_key == other.run_key

    def begin(self, is_last_look: bool) -> bool:
        """Open the journal at the saved offset. False: another process delivers it, and it is left to that.

        Raises `JournalError` where another process has it, and there is time to wait for it.
        """
        self.header = read_header(self.path)
        try:
            self._cursor = Cursor(self.path, self._identity)
        except JournalError:
            if not is_last_look or main_path(self.path) == self.path:
                raise
            self.is_done = True  # a further writer's, which has an emitter of its own
            return False
        if self.batching is None:  # else we know more than what was saved
            state = self._cursor.state if isinstance(self._cursor.state, dict) else {}
            self.destination_state = state.get("destination")
            self.closed_as = state.get("closed_as")
            self._last_line = state.get("last_line")
            self.offset = self._cursor.offset
        if self.offset and Retake(self.journal, 0).line_hash(self.path, self.offset) != self._last_line:
            logger.warning(
                "fedsight: %s was cut or replaced since it was delivered to %s: it is delivered anew, from its start.",
                self.path,
                self._identity,
            )
            self.offset = 0
        self._reader = JournalReader(self.path, self.offset)
        self.is_begun = True
        return True

    def read_delivered(self, pause: Pause) -> Iterator[Block]:
        """What lies before the saved offset."""
        with JournalReader(self.path) as reader:
            while reader.offset < self.offset:
                start, data = reader.read(min(self.BLOCK_BYTES, self.offset - reader.offset))
                if not data:
                    return
                yield _decode(data, start, pause)

    def read(self, pause: Pause) -> Block | None:
        """The next block; None at the present end."""
        if self._reader is None:
            return None
        start, data = self._reader.read(self.BLOCK_BYTES)
        return _decode(data, start, pause) if data else None

    def saved_state(self) -> Any:
        """What the destination kept when it delivered this run last, also where that was another of its journals."""
        if self.destination_state is not None or main_path(self.path) == self.path:
            return self.destination_state
        main = main_path(self.path)
        if not main.exists():
            return None
        with Cursor(main, self._identity) as cursor:
            return cursor.state.get("destination") if isinstance(cursor.state, dict) else None

    def keep(self, state: Any) -> None:
        """Have what the destination keeps saved with the next offset."""
        self.destination_state = state

    def save(self, block: Block | None = None) -> None:
        """Everything up to the end of `block` is delivered."""
        if block is not None:
            self.offset = block.end
            line = block.data[block.data.rfind(b"\n", 0, -1) + 1 :]
            self._last_line = hashlib.sha256(line).hexdigest()
        if self._cursor is not None:
            self._cursor.state = {
                "destination": self.destination_state,
                "closed_as": self.closed_as,
                "last_line": self._last_line,
                "sync_options": self._sync_options,
            }
            self._cursor.save(self.offset)

    def pending_bytes(self) -> int:
        """How much of the journal is not delivered. What came after the last look isn't counted."""
        if self.is_done:
            return 0
        with contextlib.suppress(OSError):
            return max(0, journal_end(self.path) - self.offset)
        return 0

    def close(self) -> None:
        """Let go of the files; `begin` goes on."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        self.is_begun = False


def _decode(data: bytes, start: int, pause: Pause) -> Block:
    """A block, decoded in slices: decoding keeps the interpreter from all other threads."""
    block = Block(start, data, [], [])
    at = 0
    while at < len(data):
        end = data.find(b"\n", min(at + _SLICE_BYTES, len(data) - 1)) + 1
        part = decode_block(data[at:end], start + at)
        block.events += part.events
        block.bad += part.bad
        at = end
        pause()
    return block
