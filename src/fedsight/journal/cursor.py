"""How far a follower came: an offset kept on disk under (journal, destination)."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from fedsight.errors import JournalError
from fedsight.journal.lock import try_lock
from fedsight.journal.names import quote_id
from fedsight.journal.reader import read_header


class SavedPosition(msgspec.Struct):
    """The file's content. `state` is whatever spans events for this follower."""

    journal: str
    destination: str
    offset: int
    state: Any = None


def saved_positions(path: Path) -> list[SavedPosition]:
    """How far each destination came in the journal that starts at `path`, of those that anything was kept for."""
    journal = read_header(path).journal
    found = []
    for folder in _folders(path, journal):
        for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            with contextlib.suppress(OSError, msgspec.MsgspecError):  # another's, or just being replaced
                saved = msgspec.json.decode(file.read_bytes(), type=SavedPosition)
                if saved.journal == journal:
                    found.append(saved)
    return found


class Cursor:
    """The saved offset of one destination in one journal; held by one process at a time.

    It lies beside the journal in `.fedsight/cursors`, or in the user's state folder
    (`$XDG_STATE_HOME/fedsight`, default `~/.local/state/fedsight`) where that can't be written.
    Raises `JournalError` when another process delivers to the same destination already.
    """

    def __init__(self, path: Path, destination: str) -> None:
        self.journal = read_header(path).journal
        self.destination = destination
        self.offset = 0
        self.state: Any = None
        self._lock_fd = -1
        self._file = self._open(path)
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=SavedPosition)
        except FileNotFoundError:
            return
        # A journal that was replaced by another of the same name is followed from its beginning.
        if saved.journal == self.journal:
            self.offset = saved.offset
            self.state = saved.state

    def _open(self, path: Path) -> Path:
        digest = hashlib.sha256(self.destination.encode()).hexdigest()[:12]
        name = f"{path.name.removesuffix('.jsonl')}.{quote_id(self.destination)[:40]}-{digest}.json"
        for folder in _folders(path, self.journal):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock_fd = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                refused = error
                continue
            if not try_lock(self._lock_fd):
                self.close()
                raise JournalError(f"Another process is delivering {path} to {self.destination} already.")
            return folder / name
        raise JournalError(f"No place to remember how far {path} was delivered: {refused}.") from refused

    def save(self, offset: int) -> None:
        """Everything before `offset` is delivered. Atomic: a crash leaves the old offset or this one."""
        self.offset = offset
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(SavedPosition(self.journal, self.destination, offset, self.state)))
        new.replace(self._file)

    def close(self) -> None:
        """Let another process go on."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _folders(path: Path, journal: str) -> tuple[Path, Path]:
    return path.parent / ".fedsight" / "cursors", _state_folder() / "cursors" / journal


def _state_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "fedsight"
