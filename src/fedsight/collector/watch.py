"""Watching a folder of journals that others write: one look at the folder tells what is new and what grew."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from fedsight.collector.folder import look
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
MAX_PROBING_SEC = 0.05
"""So long, at most, commits are held up by looking for writers; whose turn did not come is looked for next time."""


class _Watched(msgspec.Struct):
    path: Path
    header: JournalHeader
    end: int
    probe_at: float = 0.0
    alive_at: float | None = None
    """When its writer was last seen alive."""
    is_gone: bool = False


class _LeftOut(msgspec.Struct):
    end: int
    reason: str


class FolderWatch:
    """Reports the journals of one folder as they appear and grow, and whose writer lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journals: dict[Path, _Watched] = {}
        self._by_id: dict[str, Path] = {}
        self._no_journals: dict[Path, _LeftOut] = {}
        self._scan_at = 0.0

    def scan(self) -> list[Found]:
        """Journals that are new or have grown since the last call."""
        began = time.monotonic()
        if began < self._scan_at:
            return []
        news = []
        for path, files in look(self.folder).items():
            end = max(file.base + file.size for file in files)
            if (found := self._look(path, end, files[-1].changed_at)) is not None:
                news.append(found)
        took = time.monotonic() - began
        self._scan_at = began + max(SCAN_INTERVAL_SEC, took / MAX_SCAN_SHARE)
        return news

    def left_out(self) -> dict[Path, str]:
        """Files named like journals that are not followed, and why not."""
        return {path: left.reason for path, left in self._no_journals.items() if left.end}

    def _look(self, path: Path, end: int, changed_at: float) -> Found | None:
        watched = self._journals.get(path)
        if watched is not None and watched.end == end:
            return None
        if watched is None or end < watched.end:
            watched = self._open(path, end)
            if watched is None:
                return None
        watched.end = end
        watched.probe_at = 0.0
        return Found(path, watched.header, end, changed_at)

    def _open(self, path: Path, end: int) -> _Watched | None:
        """Read the header of a journal that is new, or was cut or replaced."""
        before = self._no_journals.pop(path, None)
        if before is not None and before.end == end:
            self._no_journals[path] = before
            return None
        try:
            header = read_header(path)
        except (OSError, JournalError) as error:
            if end:
                logger.warning("%s", error)
            self._no_journals[path] = _LeftOut(end, str(error))
            return None
        known = self._by_id.get(header.journal)
        if known is not None and (known != path or self._journals[path].end > end):
            what = f"a copy of {known}" if known != path else "shorter than it was"
            logger.warning("%s is left out: it is %s", path, what)
            self._no_journals[path] = _LeftOut(end, f"it is {what}")
            return None
        self._by_id[header.journal] = path
        watched = self._journals[path] = _Watched(path, header, end)
        return watched

    def contacts(self, now: float) -> tuple[Mapping[str, float], Collection[str]]:
        """Journals whose writer lives (id → when it was seen), and the ids of those whose writer is gone."""
        began = time.monotonic()
        for watched in sorted((w for w in self._journals.values() if now >= w.probe_at), key=lambda w: w.probe_at):
            watched.is_gone = not writer_alive(watched.path)
            if not watched.is_gone:
                watched.alive_at = now
            watched.probe_at = now + (PROBE_GONE_SEC if watched.is_gone else 0.0)
            if time.monotonic() - began >= MAX_PROBING_SEC:
                break
        every = self._journals.values()
        seen = {w.header.journal: w.alive_at for w in every if w.alive_at is not None and not w.is_gone}
        return seen, {w.header.journal for w in every if w.is_gone}
