"""What MLflow holds of a run, and a real `mlflow server` behind a network that can fail."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from collector_process import free_port, wait_until
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

Points = list[tuple[int, float]]


class Store:
    """Reads an MLflow store."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)

    def runs(self, experiment: str) -> dict[str, MlflowRun]:
        """The experiment's runs, by name."""
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None, "no such experiment"
        runs = self.client.search_runs([found.experiment_id], max_results=50_000)
        assert len({run.info.run_name for run in runs}) == len(runs), "two runs of one name"
        return {run.info.run_name: run for run in runs}

    def run(self, experiment: str) -> MlflowRun:
        """The experiment's only run."""
        (run,) = self.runs(experiment).values()
        return run

    def points(self, run: MlflowRun) -> dict[str, Points]:
        """Each metric's points, (step, value) in the order of their time."""
        run_id = run.info.run_id
        return {
            key: [(point.step, point.value) for point in self.client.get_metric_history(run_id, key)]
            for key in self.client.get_run(run_id).data.metrics
        }

    def files(self, run: MlflowRun, folder: str | None = None) -> list[str]:
        """The paths of all of its artifacts."""
        found: list[str] = []
        for entry in self.client.list_artifacts(run.info.run_id, folder):
            found += self.files(run, entry.path) if entry.is_dir else [entry.path]
        return found

    def read(self, run: MlflowRun, path: str, folder: Path) -> bytes:
        """An artifact's bytes."""
        return Path(self.client.download_artifacts(run.info.run_id, path, str(folder))).read_bytes()


class MlflowServer:
    """`mlflow server` on a free port, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                start_new_session=True,  # it has workers of its own, which end with it
            )
        wait_until(self._is_up, 150)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "mlflow server ended"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)


class Gate:
    """A proxy before the server. `fate` says what becomes of a request, from its path and its JSON body.

    "pass"; "lost": the server does it, but the answer never arrives; "slow": half a second later;
    "cut": the connection ends; anything else is the message of an answer with status 400.
    """

    def __init__(self, server_port: int, port: int | None = None) -> None:
        self.fate: Callable[[str, Any], str] = lambda path, body: "pass"
        self.requests: list[str] = []
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                is_json = "json" in self.headers.get("Content-Type", "")
                fate = gate.fate(self.path, json.loads(body) if body and is_json else None)
                gate.requests.append(self.path)
                if fate == "slow":
                    time.sleep(0.5)
                elif fate == "cut":
                    self.close_connection = True
                    return
                elif fate not in ("pass", "lost"):
                    self._answer(400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": fate}).encode())
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
                try:
                    upstream.request(self.command, self.path, body, dict(self.headers.items()))
                    response = upstream.getresponse()
                    answer = response.read()
                finally:
                    upstream.close()
                if fate == "lost":
                    self.close_connection = True
                    return
                self._answer(response.status, answer)

            def _answer(self, status: int, answer: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_PATCH = _pass_on  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port or 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def num(self, call: str) -> int:
        """How many requests of one kind came."""
        return sum(path.endswith(call) for path in self.requests)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.fate = lambda path, body: "cut"  # on connections that are still open
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
