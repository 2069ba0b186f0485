"""Real servers for tests, each a process of its own on a free port of this machine, with its data in a folder."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from collector.harness import until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package {package})")
    return found


class Server:
    """One server that can be stopped and started again; its port stays."""

    def __init__(self, command: list[str], port: int, folder: Path, is_up: Callable[[], bool]) -> None:
        self.command, self.port, self.folder, self.is_up = command, port, folder, is_up
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.folder / "server.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(self.command, cwd=self.folder, stdout=out, stderr=out)

        def is_up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, log.read_text()
            return self.is_up()

        until(is_up, f"{self.command[0]} is up")

    def send(self, number: int) -> None:
        """A signal that does not end it."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code < 400
    except httpx.HTTPError:
        return False


INFLUX_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""


def influxdb(folder: Path) -> Server:
    """InfluxDB 1 with an empty database engine. Not started yet."""
    folder.mkdir()
    port = free_port()
    config = folder / "influxdb.conf"
    config.write_text(INFLUX_CONFIG.format(folder=folder, port=port, rpc_port=free_port()))
    command = [program("influxd", "influxdb"), "-config", str(config)]
    return Server(command, port, folder, lambda: answers(f"http://127.0.0.1:{port}/ping"))


def victoria_metrics(folder: Path) -> Server:
    """VictoriaMetrics, one node. Not started yet."""
    folder.mkdir()
    port = free_port()
    command = [
        program("victoria-metrics", "victoria-metrics"),
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y",
        "-dedup.minScrapeInterval=1ms",
        "-memory.allowedBytes=64MB",
    ]
    return Server(command, port, folder, lambda: answers(f"http://127.0.0.1:{port}/health"))


def redis(folder: Path) -> Server:
    """Redis, in memory alone. Not started yet."""
    folder.mkdir()
    port = free_port()
    command = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]

    def is_up() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return Server(command, port, folder, is_up)
