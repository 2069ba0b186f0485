"""The collector's own copies of the journals: appended verbatim, on disk before anybody is told so.

`<journal id>.jsonl` holds a journal's stream; where the sender's writer rolled to a new file (its
header line says at which offset), the copy goes on in `<journal id>@<base>.jsonl` as well, so that
`JournalReader` reads both alike.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fedsight.collector.folder import JournalFile, look
from fedsight.errors import JournalError
from fedsight.events import MAX_LINE_BYTES, JournalHeader, decode
from fedsight.journal import read_header
from fedsight.journal.names import segment_path

logger = logging.getLogger(__name__)

JOURNAL_ID = re.compile(r"[A-Za-z0-9_-]{1,120}")
"""What a journal's id may look like: it is part of a file name."""

MAX_ROLLS = 100
"""New files that one body may begin; a further header is a line like any other. A writer rolls every 256 MiB."""

_HEADER_START = b'{"kind":"journal"'


class Copy:
    """One journal's copy: how long it is, and the lock that keeps its senders in line."""

    def __init__(
        self, path: Path, header: JournalHeader, length: int, newest: Path, changed_at: float | None = None
    ) -> None:
        self.path = path
        self.header = header
        self.length = length
        """Bytes of the stream that are on disk and were (or may be) acknowledged."""
        self.newest = newest
        self.changed_at = changed_at
        """When an earlier collector last wrote to it; None for one that began in this collector's time."""
        self.lock = asyncio.Lock()

    def append(self, data: bytes) -> None:
        """Put whole lines at the end and bring them to the disk.

        Raises `OSError` when that fails; then the copy is as it was before.
        """
        parts = split_at_headers(data, self.length, self.header.journal)
        length, newest, written = self.length, self.newest, [(self.newest, self._size_of_newest())]
        try:
            for base, part in parts:
                if base:
                    newest = segment_path(self.path, length)
                    written.append((newest, 0))
                _append(newest, part, is_new=bool(base) or length == 0)
                length += len(part)
        except OSError:
            for file, size in written:
                _restore(file, size)
            raise
        self.length, self.newest = length, newest

    def last_line_hash(self) -> str | None:
        """SHA-256 of the last line, newline included: by it a sender sees whether this is its journal."""
        if self.length == 0:
            return None
        with self.newest.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - MAX_LINE_BYTES - 1))
            tail = file.read()
        return hashlib.sha256(tail[tail.rfind(b"\n", 0, -1) + 1 :]).hexdigest()

    def _size_of_newest(self) -> int:
        return self.newest.stat().st_size if self.length else 0


class Journals:
    """All copies in one folder, by journal id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._copies: dict[str, Copy] = {}
        self._left_alone: set[Path] = set()
        for path, files in look(folder).items():
            copy = _reopen(path, files)
            if copy is not None:
                self._copies[copy.header.journal] = copy
            elif any(file.path.exists() for file in files):
                self._left_alone.add(path)

    def get(self, journal: str) -> Copy | None:
        """The copy of a journal, None when nothing of it has arrived yet."""
        copy = self._copies.get(journal)
        return copy if copy is not None and copy.length else None

    def get_or_new(self, journal: str, header: JournalHeader) -> Copy:
        """The copy of a journal; an empty one that `header` begins when there is none yet.

        Raises `OSError` where files of that name were left alone: nothing is mixed with what is in them.
        """
        path = self.folder / f"{journal}.jsonl"
        if path in self._left_alone:
            raise FileExistsError(errno.EEXIST, f"{path.name} is there already and can't be gone on with")
        return self._copies.setdefault(journal, Copy(path, header, 0, path))

    def all(self) -> list[Copy]:
        """Every copy that holds something."""
        return [copy for copy in list(self._copies.values()) if copy.length]


def split_at_headers(data: bytes, start: int, journal: str) -> list[tuple[int, bytes]]:
    """Cut a body where the sender's stream goes on in a new file: (base of that file or 0, bytes) each."""
    headers = (
        at for at in _header_lines(data) if _is_segment_header(data[at : data.index(b"\n", at)], start + at, journal)
    )
    cuts = set(itertools.islice(headers, MAX_ROLLS))
    bounds = sorted({0, *cuts, len(data)})
    return [(start + a if a in cuts else 0, data[a:b]) for a, b in itertools.pairwise(bounds)]


def _header_lines(data: bytes) -> Iterator[int]:
    """Where in `data` lines begin that look like a journal's header."""
    at = 0 if data.startswith(_HEADER_START) else data.find(b"\n" + _HEADER_START) + 1
    while at or data.startswith(_HEADER_START):
        yield at
        at = data.find(b"\n" + _HEADER_START, at) + 1
        if not at:
            return


def _is_segment_header(line: bytes, offset: int, journal: str) -> bool:
    """Whether a line begins a rolled file at this offset; base 0 is the journal's own first line."""
    try:
        header = decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return isinstance(header, JournalHeader) and header.journal == journal and header.base == offset > 0


def _append(path: Path, data: bytes, *, is_new: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fdatasync(fd)
    finally:
        os.close(fd)
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a new file's name to the disk, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _restore(path: Path, size: int) -> None:
    if size == 0:
        if path.is_file():
            path.unlink()
    else:
        os.truncate(path, size)


def _reopen(path: Path, files: list[JournalFile]) -> Copy | None:
    """The copy that an earlier collector left at `path`, its torn tail cut off."""
    if files[0].base:
        logger.error("%s is left alone: its first file is gone", path)
        return None
    base, newest = files[-1].base, files[-1].path
    size = _cut_torn_tail(newest)
    if size == 0:
        # The crash came within the file's first write: nothing of it was acknowledged.
        newest.unlink()
        if len(files) == 1:
            return None
        base, newest = files[-2].base, files[-2].path
        size = _cut_torn_tail(newest)
    try:
        header = read_header(path)
    except JournalError as error:
        logger.error("%s is left alone: %s", path, error)  # noqa: TRY400 (the message says it all)
        return None
    if not JOURNAL_ID.fullmatch(header.journal) or path.name != f"{header.journal}.jsonl":
        logger.error("%s is left alone: it is not named after its journal id %r", path, header.journal)
        return None
    return Copy(path, header, base + size, newest, files[-1].changed_at)


def _cut_torn_tail(path: Path) -> int:
    """Cut what stands behind the last newline; returns the file's size."""
    with path.open("r+b") as file:
        size = at = file.seek(0, os.SEEK_END)
        keep = 0
        while at > 0 and not keep:
            start = max(0, at - (1 << 16))
            file.seek(start)
            keep = start + found + 1 if (found := file.read(at - start).rfind(b"\n")) >= 0 else 0
            at = start
        if keep < size:
            logger.warning("%s: %d bytes of a torn last line were cut off", path, size - keep)
            file.truncate(keep)
            os.fsync(file.fileno())
    return keep
