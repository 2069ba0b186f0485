"""`SSEEmitter`: the live page of a run on this machine, and its map.json."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from fedsight.emitters.state import EmitterState
from fedsight.emitters.trouble import OnChange
from fedsight.errors import FedsightError, UsageError
from fedsight.journal import read_header
from fedsight.map.metadata import map_path, write_map
from fedsight.map.page import LivePage
from fedsight.map.server import run_url

logger = logging.getLogger("fedsight")

_PAGES_LOCK = threading.Lock()
_PAGES: dict[tuple[str, int, Path], LivePage] = {}
"""The pages of this process: a second run in the same folder is shown by the first one's."""


class SSEEmitter:
    """Opens the dashboard over the run's folder, live, and writes `<run>.map.json` at the run's end.

    The page is a process of its own that reads the journals; it ends with this process, by whatever means that ends
    (`fedsight view runs` opens it later). It needs `pip install 'fedsight[collector]'`; without it, or where the
    port is taken, one warning says so, and the run is recorded all the same. There is nothing that could double:
    the page reads the journal, and map.json is replaced as a whole.

    port: where the page is; 0 for any free one. host: 127.0.0.1 is open to this machine alone; another address needs a
        tokens file (FEDSIGHT_TOKENS).
    serve_map: False opens no page; map.json is written all the same.
    runs_dir: kept for HiveWatch's users. The journal lies where the run puts it (`fedsight.init(runs_dir=…)`), and
        that folder is shown.
    map_path: where map.json goes instead of beside the journal. (HiveWatch meant its page's HTML file by it; a name
        ending in .html is not used, and said so.)

    Raises `UsageError` for a port that can't be one.
    """

    name: ClassVar[str] = "sse"

    def __init__(
        self,
        port: int = 7070,
        serve_map: bool = True,
        runs_dir: str | Path | None = "runs",
        host: str = "127.0.0.1",
        map_path: str | Path | None = None,
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise UsageError("port", f"port must be a whole number from 0 to 65535, not {port!r}.")
        self.port = port
        self.host = str(host)
        self.serve_map = bool(serve_map)
        self.runs_dir = None if runs_dir is None else Path(runs_dir)
        self.map_path = None if map_path is None else Path(map_path)
        if self.map_path is not None and self.map_path.suffix.lower() in (".html", ".htm"):
            logger.warning("fedsight: map_path=%r is not used: the page is Fedsight's own.", str(map_path))
            self.map_path = None
        self.page: LivePage | None = None
        self.on_change: OnChange | None = None
        """Told when the page could not be had or ended by itself."""
        self._pid = os.getpid()
        self._is_attached = False
        self._last_error: str | None = None
        self._failing_since: float | None = None
        self._written: dict[Path, Path] = {}
        self._writing: dict[Path, threading.Thread] = {}

    def __repr__(self) -> str:
        return f"<{self.name} → {self.state().destination}>"

    # ── a run's emitter ───────────────────────────────────────────────────────────────────────

    def attach(self, path: Path) -> None:
        """A run is recorded to `path`: open the page over its folder."""
        if os.getpid() != self._pid or self._is_attached:
            return  # a forked child's journal lies in the same folder
        self._is_attached = True
        if self.runs_dir not in (None, Path("runs")) and self.runs_dir.resolve() != path.parent.resolve():
            logger.warning(
                "fedsight: SSEEmitter(runs_dir=%r) does not move the run: it is recorded in %s. "
                "Give runs_dir to fedsight.init().",
                str(self.runs_dir),
                path.parent,
            )
        if self.serve_map:
            self._show(path)

    def _show(self, path: Path) -> None:
        run_id = read_header(path).run_id or ""
        key = (self.host, self.port, path.parent.resolve())
        with _PAGES_LOCK:
            page = _PAGES.get(key)
            if page is None or not page.is_running:
                page = self._open(path.parent, run_id)
                if page is not None:
                    _PAGES[key] = page
            self.page = page

    def _open(self, folder: Path, run_id: str) -> LivePage | None:
        def say_where(url: str) -> None:
            with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to stop
                print(f"fedsight: live page: {run_url(url, run_id)}", file=sys.stderr)

        try:
            return LivePage(folder, self.host, self.port, on_up=say_where, on_down=self._page_is_gone)
        except (FedsightError, OSError) as error:
            self._say_no_page(str(error))
            return None

    def _say_no_page(self, reason: str) -> None:
        self._last_error = reason
        self._failing_since = time.time()
        logger.warning("fedsight: no live page: %s. The run is recorded all the same.", reason.rstrip("."))

    def _page_is_gone(self, reason: str) -> None:
        self._say_no_page(reason)
        if self.on_change is not None:
            self.on_change("failing", f"no live page: {reason}")

    def drain(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Write map.json of the run that is over. False: it takes longer."""
        if os.getpid() != self._pid:
            return True
        for journal in _one_a_run(paths):
            if journal not in self._written and journal not in self._writing:
                thread = threading.Thread(target=self._write, args=(journal,), name="fedsight-map", daemon=True)
                self._writing[journal] = thread
                thread.start()
        for thread in list(self._writing.values()):
            thread.join(timeout_sec)
        return not any(thread.is_alive() for thread in self._writing.values())

    def _write(self, journal: Path) -> None:
        try:
            self._written[journal] = write_map(journal, self.map_path)
        except (FedsightError, OSError) as error:
            self._last_error = str(error)
            logger.warning("fedsight: no map.json of %s: %s. Write it with: %s", journal, error, _command([journal]))

    def detach(self, paths: Sequence[Path]) -> None:
        """Ready for another run, or the same one again. The page stays until this process ends."""
        self._is_attached = False
        self._written, self._writing = {}, {}

    def pending(self, paths: Sequence[Path]) -> str:
        """What is still to do."""
        return f"{map_path(paths[0], read_header(paths[0]).run_id or '')} is still being written"

    def delivered(self) -> str:
        """Where to look."""
        told = [f"map in {path}" for path in self._written.values()]
        if self.page is not None and self.page.url is not None and self.page.is_running:
            told.append(f"live page {self.page.url} until this process ends (then: fedsight view)")
        return "; ".join(told) or "no map.json was written"

    def state(self) -> EmitterState:
        """How it is doing. It holds nothing back: the page reads the journals itself, map.json comes at the end."""
        return EmitterState(
            name=self.name,
            destination=f"http://{self.host}:{self.port}" if self.serve_map else "map.json",
            last_error=self._last_error,
            failing_since=self._failing_since,
        )

    def sync_command(self, paths: Sequence[Path]) -> str:
        """The command that writes map.json."""
        return _command(paths[:1])


GeoEmitter = SSEEmitter
"""Its name in HiveWatch 0.3."""


def _one_a_run(paths: Sequence[Path]) -> list[Path]:
    """The first journal of each run: the others are found beside it."""
    first: dict[str | None, Path] = {}
    for path in paths:
        try:
            first.setdefault(read_header(path).run_id, path)
        except (FedsightError, OSError) as error:
            logger.warning("fedsight: no map.json of %s: %s", path, error)
    return list(first.values())


def _command(paths: Sequence[Path]) -> str:
    return f"fedsight map export {shlex.join(map(str, paths))}"
