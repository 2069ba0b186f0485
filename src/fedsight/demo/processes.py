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
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from fedsight.errors import FedsightError

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
                [sys.executable, "-m", "fedsight.demo.leash", str(os.getpid()), *command],
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

    def start_collector(self, port: int, *, data: Path, tokens: Path) -> Collector:
        """Start `fedsight serve` on a loopback port; it keeps what it is sent in the folder `data`."""
        serve = ["-c", "from fedsight.cli import main; main()", "serve", "--data", str(data)]
        address = ["--host", "127.0.0.1", "--port", str(port)]
        env = {"FEDSIGHT_TOKENS": str(tokens), "FEDSIGHT_OPEN_READS": "1"}
        child = self.start("collector", [sys.executable, *serve, *address], env=env)
        return Collector(child, f"http://127.0.0.1:{port}", self.log_path("collector"))

    def wait(self, *, but: Collection[subprocess.Popen[bytes]] = (), timeout_sec: float | None = None) -> None:
        """Wait for the children to end by themselves, all `but` some, for `timeout_sec` (default 5) at most in all."""
        deadline = time.monotonic() + (GRACE_SEC if timeout_sec is None else timeout_sec)
        for child in self.children:
            if child not in but:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline - time.monotonic()))

    def stop(self, *, but: Collection[subprocess.Popen[bytes]] = ()) -> None:
        """End the children that still run, all `but` some: asked first, killed where they don't listen."""
        ending = [child for child in self.children if child not in but]
        for child in ending:
            if child.poll() is None:
                child.terminate()
        self.wait(but=but)
        for child in ending:
            if child.poll() is None:
                child.kill()
                child.wait()
        self.children = [child for child in self.children if child in but]

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Collector:
    """The collector's process, and its address."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def wait_until_ready(self, timeout_sec: float = COLLECTOR_START_SEC) -> None:
        """Wait until it answers; raises `FedsightError` with its last words when it does not."""
        deadline = time.monotonic() + timeout_sec
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                words = self._log.read_text(errors="replace")[-LOG_TAIL_CHARS:]
                raise FedsightError(f"The collector did not start. The end of {self._log}:\n{words}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/status", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def free_port(wanted: int) -> int:
    """`wanted` where nobody listens there, else any free port."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise FedsightError("no free port on 127.0.0.1")
