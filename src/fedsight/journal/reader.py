"""Reading journals: whole lines from any offset, over rolled files, while somebody writes."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import msgspec

from fedsight.errors import JournalError
from fedsight.events import MAX_LINE_BYTES, JournalHeader, decode
from fedsight.journal.lock import is_locked
from fedsight.journal.names import is_first_segment, segment_path, segments

__all__ = ["JournalReader", "list_journals", "read_header", "writer_alive"]


def read_header(path: Path) -> JournalHeader:
    """The first line of a journal file.

    Raises `JournalError` where that is none, `OSError` where the file can't be read.
    """
    with path.open("rb") as file:
        line = file.readline(MAX_LINE_BYTES)
    try:
        header = decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalError(f"{path} is no journal: its first line is not a header ({error}).") from error
    if not isinstance(header, JournalHeader) or not line.endswith(b"\n"):
        raise JournalError(f"{path} is no journal: its first line is not a header.")
    return header


def list_journals(folder: Path) -> list[Path]:
    """Every journal in `folder` by its first file, sorted. Other `.jsonl` files may be among them."""
    return sorted(entry for entry in folder.glob("*.jsonl") if is_first_segment(entry))


def writer_alive(path: Path) -> bool:
    """Whether a live process has the journal that starts at `path` open for writing."""
    newest = _newest(path)
    while newest is not None and not _is_written(newest):
        before, newest = newest, _newest(path)
        if newest == before:  # else it was rolled while we looked
            return False
    return newest is not None


def _newest(path: Path) -> Path | None:
    found = segments(path)
    return found[-1][1] if found else None


def _is_written(segment: Path) -> bool:
    try:
        fd = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_locked(fd)
    finally:
        os.close(fd)


class JournalReader:
    """Reads a journal's stream from `offset`, in blocks of whole lines.

    `path` is the journal's first file; rolled files are followed. Raises `JournalError` where the
    journal is shorter than `offset` or a rolled file is missing.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self._fd = -1
        self._base = 0
        self._open_segment_of(offset)

    def _open_segment_of(self, offset: int) -> None:
        found = [(base, segment) for base, segment in segments(self.path) if base <= offset]
        if not found:
            raise JournalError(f"{self.path}: there is no file that holds offset {offset}.")
        self._base, segment = found[-1]
        self._fd = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(self._fd).st_size
        if self._base + size < offset:
            self.close()
            raise JournalError(
                f"{segment} ends at offset {self._base + size}, before {offset}: it was cut or replaced. "
                "Start again from offset 0."
            )

    def read(self, max_bytes: int = 4 << 20) -> tuple[int, bytes]:
        """The next complete lines and the offset of their first byte; no bytes at the present end.

        About `max_bytes` at most, but always a whole line.
        """
        while True:
            data = self._read_lines(max_bytes)
            if data:
                start = self.offset
                self.offset += len(data)
                return start, data
            if not self._next_segment():
                return self.offset, b""

    def _read_lines(self, max_bytes: int) -> bytes:
        want = max_bytes
        while True:
            data = os.pread(self._fd, want, self.offset - self._base)
            cut = data.rfind(b"\n") + 1
            if cut or len(data) < want:
                return data[:cut]
            want *= 2

    def _next_segment(self) -> bool:
        """Go on to the rolled file that begins where this one ended, if there is one by now."""
        if self.offset == self._base:
            return False
        following = segment_path(self.path, self.offset)
        if not following.exists():
            return False
        # The file may have grown between the last read and the roll; then it isn't done yet.
        if os.fstat(self._fd).st_size > self.offset - self._base:
            return True
        os.close(self._fd)
        self._fd = os.open(following, os.O_RDONLY | os.O_CLOEXEC)
        self._base = self.offset
        return True

    def close(self) -> None:
        """Let go of the file. Reading afterwards is an error."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
