"""How far a mirror came in each journal: one small file, replaced now and then."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from fedsight.collector.mirrors.feed import Position

logger = logging.getLogger(__name__)

SAVE_INTERVAL_SEC = 1.0


class _Content(msgspec.Struct):
    target: str
    journals: dict[str, Position]


class Positions:
    """The file. target: which database it is about; another one has nothing yet."""

    def __init__(self, file: Path, target: str) -> None:
        self._file = file
        self._target = target
        self._saved_at = 0.0
        self.journals = self._load()
        """By journal id."""
        self._is_dirty = False

    def of(self, journal: str) -> Position:
        """How far a journal is mirrored; its beginning where nothing is known of it."""
        return self.journals.get(journal) or Position()

    def reached(self, journal: str, position: Position) -> None:
        """A journal is mirrored so far."""
        self.journals[journal] = position
        self._is_dirty = True

    def save(self, *, at_once: bool = False) -> None:
        """Bring it to the disk, at most once a second: what is mirrored twice changes nothing.

        Raises `OSError`.
        """
        now = time.monotonic()
        if not self._is_dirty or (not at_once and now - self._saved_at < SAVE_INTERVAL_SEC):
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(_Content(self._target, self.journals)))
        new.replace(self._file)
        self._saved_at, self._is_dirty = now, False

    def _load(self) -> dict[str, Position]:
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=_Content)
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("%s is damaged (%s): the mirror writes everything again", self._file, error)
            return {}
        return saved.journals if saved.target == self._target else {}
