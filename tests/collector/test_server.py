"""The process: where it listens, how it ends."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import connect

from collector.harness import Collector, Process, a_run, until


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="Linux alone tells the limits of another process")
def test_more_than_a_thousand_may_be_connected(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        collector = Collector(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with collector:
        assert collector.url
        limits = Path(f"/proc/{collector.process.pid}/limits").read_text()
    found = re.search(r"Max open files +(\d+)", limits)
    assert found is not None
    assert int(found[1]) == min(hard, 65_536)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_with_streams_open(tmp_path: Path, number: int) -> None:
    with Collector(tmp_path) as collector:
        parts = urlsplit(collector.url)
        collector.post("j1", 0, a_run())
        with (
            socket.create_connection((parts.hostname, parts.port)) as events,
            connect(f"ws://{parts.netloc}/ws/metrics", proxy=None) as messages,
        ):
            events.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in events.recv(100)
            messages.recv(10)
            began = time.monotonic()
            assert collector.stop(number) == 0
            # The promise is 2 s; the machine that tests this may be busy.
            assert time.monotonic() - began < 8
        assert "Traceback" not in collector.output
        assert "exceeded" not in collector.output, "it had to cancel streams"


def test_what_was_acknowledged_is_there_after_a_stop_right_behind_it(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        body = a_run(rounds=30)
        assert collector.post("j1", 0, body).status_code == 200
        collector.stop()
    with Collector(tmp_path) as again:
        again.settled()
        assert (again.data / "journals" / "j1.jsonl").read_bytes() == body
        assert again.get("/api/v1/runs/r1")["run"]["num_updates"] == 60


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = Process("serve", "--data", str(tmp_path / "data"), "--port", port, cwd=tmp_path)
        assert process.process.wait(30) == 1
        process.stop()
        assert f"port {port} is taken" in process.output
        assert "--port" in process.output
        assert "Traceback" not in process.output


def test_a_second_collector_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.get("/api/v1/status")
        second = Process("serve", "--data", str(collector.data), "--port", "0", cwd=tmp_path)
        assert second.process.wait(30) == 1
        second.stop()
        assert f"in use by fedsight serve (pid {collector.process.pid})" in second.output


def test_the_first_start_in_a_terminal_makes_a_producers_token_shows_it_once_and_keeps_only_its_hash(
    tmp_path: Path,
) -> None:
    terminal, end = pty.openpty()
    first = subprocess.Popen(
        [sys.executable, "-m", "fedsight", "serve", "--data", "data", "--port", "0"],
        cwd=tmp_path,
        stdout=end,
        stderr=end,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    os.close(end)
    output = b""
    try:
        while b"Ctrl+C" not in output:
            output += os.read(terminal, 4096)
    finally:
        first.terminate()
        first.wait(15)
        os.close(terminal)
    (token,) = set(re.findall(r"fs_[0-9a-f_]+", output.decode()))
    kept = b"".join(f.read_bytes() for f in (tmp_path / "data").rglob("*") if f.is_file())
    assert token.encode() not in kept
    with Collector(tmp_path) as again:
        assert again.post("j1", 0, a_run(), token=token).status_code == 200
        grant = again.tokens.find(token)
        assert grant is not None
        assert (grant.role, grant.run, grant.client) == ("producer", None, None)
        assert "fs_" not in again.output


def test_where_the_output_is_a_log_no_token_is_made_and_it_says_how_to_make_one(tmp_path: Path) -> None:
    first = Process("serve", "--data", "data", "--port", "0", cwd=tmp_path)
    try:
        until(lambda: "Ctrl+C" in first.output, "it runs")
        assert "fs_" not in first.output
        assert "fedsight token create --data data --role producer" in first.output
    finally:
        first.stop()
