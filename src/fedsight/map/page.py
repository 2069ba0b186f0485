"""The live page of a folder of runs: `fedsight view` in a process of its own, which ends with this one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from fedsight.errors import FedsightError, MissingExtra

_NEEDED = ("typer", "rich", "litestar", "uvicorn", "duckdb", "pyarrow", "zstandard")
_URL = re.compile(r"http://\S+:\d+")
_STOP_SEC = 5.0


class LivePage:
    """A running (or starting) page. Its folder is only read; training's interpreter is not shared.

    on_up: called with the page's URL once it can be opened. on_down: called once with the reason, where the page
    ended by itself or never came up. Both are called from a thread of ours.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        *,
        on_up: Callable[[str], None] = lambda _: None,
        on_down: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.url: str | None = None
        self._on_up = on_up
        self._on_down = on_down
        self._is_stopping = False
        self._reason: str | None = None
        self._said = threading.Event()
        for package in _NEEDED:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "collector")
        view = ["view", str(folder.resolve()), "--host", host, "--port", str(port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fedsight.map.leashed", str(os.getpid()), *view],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "300"},
            # Ctrl-C is for the training; the page goes when that is gone.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, name="fedsight-page", daemon=True).start()

    def _listen(self) -> None:
        """Take what the page says off its pipe, which would fill up otherwise."""
        assert self._process.stdout is not None
        last = ""
        with self._process.stdout as output:
            for raw in output:
                line = raw.decode(errors="replace").strip()
                last = line or last
                if self.url is None and (found := _URL.search(line)):
                    self.url = found.group()
                    self._on_up(self.url)
                    self._said.set()
        status = self._process.wait()
        self._reason = last.removeprefix("fedsight: ") or f"it ended with status {status}"
        if not self._is_stopping:
            self._on_down(self._reason)
        self._said.set()

    @property
    def is_running(self) -> bool:
        """Whether the process lives (it may not answer yet)."""
        return self._process.poll() is None

    def wait_until_up(self, timeout_sec: float = 60.0) -> str:
        """The URL, once it can be opened. Raises `FedsightError` where that doesn't come to be."""
        self._said.wait(timeout_sec)
        if self.url is None or not self.is_running:
            reason = self._reason or f"it did not come up within {timeout_sec:g} s"
            raise FedsightError(f"No page of {self.folder}: {reason}.")
        return self.url

    def wait(self) -> None:
        """Until the page ends."""
        self._process.wait()

    def stop(self) -> None:
        """End the page, and wait for that."""
        self._is_stopping = True
        self._process.terminate()
        try:
            self._process.wait(_STOP_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
