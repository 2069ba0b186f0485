"""Watching a folder of journals that others write: one look at the folder tells what is new and what grew."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from fedsight.collector.indexer import Found
from fedsight.errors import JournalError
from fedsight.events import JournalHeader
from fedsight.journal import read_header, writer_alive

logger = logging.getLogger(__name__)

SCAN_INTERVAL_SEC = 0.2
MAX_SCAN_SHARE = 0.1
"""Of one core's time, at most, goes into looking: a folder of many journals is looked at less often."""
PROBE_GONE_SEC = 10.0
"""A writer that was gone is looked for again this often (it may resume)."""

_NAME = re.compile(r"(?P<stem>.+?)(?:@(?P<base>\d{15}))?\.jsonl")


class _Watched(msgspec.Struct):
    path: Path
    header: JournalHeader
    end: int
    is_alive: bool = True
    probe_at: float = 0.0


class FolderWatch:
    """Reports the journals of one folder as they appear and grow, and whose writer lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journals: dict[Path, _Watched] = {}
        self._by_id: dict[str, Path] = {}
        self._no_journals: dict[Path, int] = {}
        self._scan_at = 0.0

    def scan(self) -> list[Found]:
        """Journals that are new or have grown since the last call."""
        began = time.monotonic()
        if began < self._scan_at:
            return []
        news = [found for path, end in self._ends().items() if (found := self._look(path, end)) is not None]
        took = time.monotonic() - began
        self._scan_at = began + max(SCAN_INTERVAL_SEC, took / MAX_SCAN_SHARE)
        return news

    def _ends(self) -> dict[Path, int]:
        """Every journal's end, by its first file: the newest file's base and size."""
        ends: dict[str, int] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None:
                    continue
                try:
                    size = entry.stat().st_size
                except FileNotFoundError:
                    continue
                first = f"{match['stem']}.jsonl"
                ends[first] = max(ends.get(first, 0), int(match["base"] or 0) + size)
        return {self.folder / name: ends[name] for name in sorted(ends)}

    def _look(self, path: Path, end: int) -> Found | None:
        watched = self._journals.get(path)
        if watched is not None and watched.end == end:
            return None
        if watched is None or end < watched.end:
            watched = self._open(path, end)
            if watched is None:
                return None
        watched.end = end
        watched.probe_at = 0.0
        return Found(path, watched.header, end)

    def _open(self, path: Path, end: int) -> _Watched | None:
        """Read the header of a journal that is new, or was cut or replaced."""
        if self._no_journals.get(path) == end:
            return None
        try:
            header = read_header(path)
        except (OSError, JournalError) as error:
            if end:
                logger.warning("%s", error)
            self._no_journals[path] = end
            return None
        known = self._by_id.get(header.journal)
        if known is not None and (known != path or self._journals[path].end > end):
            what = f"a copy of {known}" if known != path else "shorter than it was"
            logger.warning("%s is left out: it is %s", path, what)
            self._no_journals[path] = end
            return None
        self._by_id[header.journal] = path
        watched = self._journals[path] = _Watched(path, header, end)
        return watched

    def contacts(self, now: float) -> tuple[Mapping[str, float], Collection[str]]:
        """Journals whose writer lives (id → now), and the ids of those whose writer is gone."""
        seen: dict[str, float] = {}
        gone: set[str] = set()
        for watched in self._journals.values():
            if now >= watched.probe_at:
                watched.is_alive = writer_alive(watched.path)
                watched.probe_at = now + (0.0 if watched.is_alive else PROBE_GONE_SEC)
            if watched.is_alive:
                seen[watched.header.journal] = now
            else:
                gone.add(watched.header.journal)
        return seen, gone
