"""One look at a folder of journals: which files each of them has, how far it goes, when it last grew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

_NAME = re.compile(r"(?P<stem>.+?)(?:@(?P<base>\d{15}))?\.jsonl")


class JournalFile(msgspec.Struct, order=True):
    """One file of a journal: the stream offset of its first byte, and what the system knows of it."""

    base: int
    path: Path
    size: int
    changed_at: float


def look(folder: Path) -> dict[Path, list[JournalFile]]:
    """Every journal's files in order, by the journal's path (its first file's, whether that is there or not)."""
    found: dict[str, list[JournalFile]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            try:
                stat = entry.stat()
            except FileNotFoundError:
                continue
            file = JournalFile(int(match["base"] or 0), folder / entry.name, stat.st_size, stat.st_mtime)
            found.setdefault(f"{match['stem']}.jsonl", []).append(file)
    return {folder / name: sorted(found[name]) for name in sorted(found)}
