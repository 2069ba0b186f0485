"""The demo's other processes: the collector and the clients. Whoever starts them ends them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

COLLECTOR_START_SEC = 60.0
GRACE_SEC = 5.0
LOG_TAIL_CHARS = 2000


class Processes:
    """Child processes, each with its output in a file of `log_folder`; a context manager that ends them.

    They get no signals from the terminal: on Ctrl-C the demo ends them in order, after the
    recorder has said its last word.
    """

    def __init__(self, log_folder: Path) -> None:
        self.log_folder = log_folder
        self.children: list[subprocess.Popen[bytes]] = []
        # One thread each is what these small matrices need; twenty clients with a thread per core would fight.
        self._env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def start(self, name: str, command: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a command whose output goes to `<log_folder>/<name>.log`."""
        self.log_folder.mkdir(parents=True, exist_ok=True)
        with self.log_path(name).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "fedsight.demo.leash", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._env, **(env or {})},
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def log_path(self, name: str) -> Path:
        """Where the output of the process `name` goes."""
        return self.log_folder / f"{name}.log"

    def start_clients(self, host: str, port: int, client_ids: Iterable[str]) -> None:
        """Start a process for each client of a federation that listens on `host`:`port`."""
        for client_id in client_ids:
            address = ["--host", host, "--port", str(port), "--client-id", client_id]
            self.start(f"client-{client_id}", [sys.executable, "-m", "fedsight.demo.client", *address])

    def stop(self, *, grace_sec: float = GRACE_SEC) -> None:
        """Wait a moment for each child to end by itself, then end it; the last one started goes first."""
        for child in reversed(self.children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0 if child is self.children[0] else grace_sec)
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + grace_sec
        for child in self.children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children.clear()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
