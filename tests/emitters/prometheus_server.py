"""A real Prometheus and a real Pushgateway, each a process of its own on a free port."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from collector_process import free_port, wait_until


def get(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    """Status and body; (0, "") when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


class _Process:
    """Started on entering, ended on leaving."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.port = free_port()
        self._command = [*command, f"--web.listen-address=127.0.0.1:{self.port}"]
        self._log = folder / f"{command[0]}.log"

    def __enter__(self) -> Any:
        with self._log.open("wb") as log:
            try:
                self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
            except FileNotFoundError:
                pytest.skip(
                    f"{self._command[0]} is not installed (Debian: apt install prometheus prometheus-pushgateway)"
                )
        try:
            wait_until(lambda: get(self.port, "/-/ready")[0] == 200)
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)


class PrometheusServer(_Process):
    """Scrapes `targets` ("host:port") five times a second."""

    def __init__(self, folder: Path, *targets: str) -> None:
        config = folder / "prometheus.yml"
        config.write_text(
            json.dumps(  # JSON is YAML
                {
                    "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
                    "scrape_configs": [
                        {"job_name": "fedsight", "honor_labels": True, "static_configs": [{"targets": list(targets)}]}
                    ],
                }
            )
        )
        super().__init__(folder, "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}")

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values that PromQL's `expression` gives now."""
        status, body = get(self.port, f"/api/v1/query?query={quote(expression)}")
        assert status == 200, body
        return [(one["metric"], float(one["value"][1])) for one in json.loads(body)["data"]["result"]]

    def value(self, expression: str) -> float | None:
        """The one value that `expression` gives; None where there is none."""
        found = self.query(expression)
        assert len(found) < 2, found
        return found[0][1] if found else None


class Pushgateway(_Process):
    """An empty Pushgateway."""

    def __init__(self, folder: Path) -> None:
        # Debian's keeps its state in /var unless told otherwise.
        super().__init__(folder, "prometheus-pushgateway", f"--persistence.file={folder / 'pushgateway.data'}")
        self.url = f"http://127.0.0.1:{self.port}"
