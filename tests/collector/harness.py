"""A real collector in a process of its own, and a producer that speaks to it over a socket."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from fedsight.collector.access import TokenRole, Tokens
from fedsight.events import ClientUpdate, Event, JournalHeader, RoundEnd, RoundStart, RunEnd, RunStart, encode

DEADLINE_SEC = 30.0


def until(condition: Callable[[], Any], what: str, deadline_sec: float = DEADLINE_SEC) -> Any:
    """Poll until `condition` gives something true; what it gave."""
    end = time.monotonic() + deadline_sec
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_sec} s: {what}")


class Process:
    """`fedsight <arguments>` as a process; `url` once it says where it is."""

    def __init__(self, *arguments: str, cwd: Path, environ: dict[str, str] | None = None) -> None:
        self.log = cwd / f"process-{time.monotonic_ns()}.log"
        self._out = self.log.open("wb")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FEDSIGHT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from fedsight.cli import main; main()", *arguments],
            cwd=cwd,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**clean, "XDG_CACHE_HOME": str(cwd / "cache"), "COLUMNS": "200", **(environ or {})},
        )

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        def found() -> re.Match[str] | None:
            if self.process.poll() is not None and "http://" not in self.output:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.output}")
            return re.search(r"http://\S+:\d+", self.output)

        return until(found, f"its address: {self.output}").group()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(15)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._out.close()


class Collector(Process):
    """`fedsight serve` on a free port with its data in `folder`; it has an admin's token from the start."""

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.tokens = Tokens(self.data / "tokens.json")
        self.admin = self.token("admin")
        if "--port" not in arguments:
            arguments = (*arguments, "--port", "0")
        super().__init__("serve", "--data", str(self.data), *arguments, cwd=folder, environ=environ)
        self._client: httpx.Client | None = None

    def token(self, role: TokenRole, **bound: str) -> str:
        return self.tokens.create(role, **bound)[0]

    @property
    def http(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)
        return self._client

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(
        self, journal: str, offset: int, body: bytes, *, token: str | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return self.http.post(
            f"/api/v1/journals/{journal}",
            params={"offset": offset},
            content=body,
            headers={
                "content-type": "application/x-ndjson",
                "authorization": f"Bearer {token or self.admin}",
                **(headers or {}),
            },
        )

    def settled(self) -> dict[str, Any]:
        """The status once everything that was taken in is stored."""

        def nothing_pending() -> dict[str, Any] | None:
            status: dict[str, Any] = self.get("/api/v1/status")
            return status if status["pending_bytes"] == 0 else None

        found: dict[str, Any] = until(nothing_pending, "everything is stored")
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self._client is not None:
            self._client.close()
            self._client = None
        return super().stop(number)

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def header(journal: str = "j1", role: str = "server", run_id: str | None = "r1", client_id: str | None = None) -> bytes:
    return encode(
        JournalHeader(ts=1.0, version=1, journal=journal, role=role, run_id=run_id, client_id=client_id)  # type: ignore[arg-type]
    )


def lines(*events: Event) -> bytes:
    return b"".join(encode(event) for event in events)


def run_start(run_id: str = "r1", ts: float = 1.0) -> bytes:
    return lines(RunStart(ts=ts, run_id=run_id, project="p"))


def a_round(number: int, *clients: str, accuracy: float = 0.5) -> bytes:
    ts = 10.0 * (number + 1)
    return lines(
        RoundStart(ts=ts, round=number, selected=list(clients)),
        *(ClientUpdate(ts=ts + 1, client_id=c, round=number, local_accuracy=accuracy) for c in clients),
        RoundEnd(ts=ts + 2, round=number, global_accuracy=accuracy),
    )


def run_end(ts: float = 1000.0) -> bytes:
    return lines(RunEnd(ts=ts, status="finished"))


def a_run(journal: str = "j1", run_id: str = "r1", rounds: int = 3, clients: tuple[str, ...] = ("a", "b")) -> bytes:
    """A whole run's journal."""
    return (
        header(journal, run_id=run_id)
        + run_start(run_id)
        + b"".join(a_round(n, *clients) for n in range(rounds))
        + run_end()
    )
