"""A real collector in a process of its own, and a network before it that can be made to misbehave."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer of `what`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


class CollectorProcess:
    """`fedsight serve` on a free port over `data`; can be killed and started again."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        created = subprocess.run(
            [sys.executable, "-m", "fedsight", "token", "create", "--role", "admin", "--data", str(data)],
            capture_output=True,
            text=True,
            check=True,
        )
        self.token = max(created.stdout.split(), key=len)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.data / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fedsight", "serve", "--data", str(self.data), "--port", str(self.port)],
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.get("/api/v1/status") is not None)

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def get(self, path: str) -> Any:
        """The JSON at `path`; None when nobody answers or there is no such thing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            body = response.read()
            return msgspec.json.decode(body) if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def columns(self, path: str) -> dict[str, list[Any]]:
        """A whole table, page by page."""
        found: dict[str, list[Any]] = {}
        cursor = None
        while True:
            page = self.get(
                path + ("&" if "?" in path else "?") + "limit=5000" + (f"&cursor={cursor}" if cursor else "")
            )
            assert page is not None, path
            for name, values in page["columns"].items():
                found.setdefault(name, []).extend(values)
            cursor = page["next"]
            if cursor is None:
                return found

    def stored_bytes(self, run_id: str) -> dict[str, int]:
        """Journal id → indexed offset, as the store has it."""
        run = self.get(f"/api/v1/runs/{quote(run_id, safe='')}")
        return {journal["journal"]: journal["offset"] for journal in run["journals"]} if run else {}

    def copies(self) -> list[bytes]:
        """The bytes of every journal that it keeps, rolled files joined."""
        found: dict[str, bytes] = {}
        for path in sorted((self.data / "journals").rglob("*.jsonl")):
            stem = str(path).removesuffix(".jsonl").partition("@")[0]
            found[stem] = found.get(stem, b"") + path.read_bytes()
        return list(found.values())


class BadNetwork:
    """A proxy before a collector. `choose(n)` says what becomes of the n-th request.

    "pass", "slow" (0.2 s later), "500", "429", "cut" (the connection ends before the collector
    hears of it), "lost" (the collector does it, but the answer never arrives).
    """

    def __init__(self, collector_port: int, choose: Callable[[int], str]) -> None:
        network = self
        self.requests = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on(b"")

            def do_POST(self) -> None:
                self._pass_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def _pass_on(self, body: bytes) -> None:
                fate = choose(network.requests)
                network.requests += 1
                if fate == "slow":
                    time.sleep(0.2)
                if fate == "cut":
                    self.close_connection = True
                    return
                if fate in ("500", "429"):
                    self.send_response(int(fate))
                    self.send_header("Content-Length", "2")
                    self.send_header("Retry-After", "0.05")
                    self.end_headers()
                    self.wfile.write(b"no")
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", collector_port, timeout=10)
                try:
                    upstream.request(self.command, self.path, body, dict(self.headers.items()))
                    response = upstream.getresponse()
                    answer = response.read()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                    return
                finally:
                    upstream.close()
                if fate == "lost":
                    self.close_connection = True
                    return
                self.send_response(response.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def __enter__(self) -> BadNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
