"""`MapServer`: HiveWatch's name for the page over a folder of runs."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

import fedsight
from collector.harness import until
from fedsight.errors import FedsightError
from fedsight.map import MapServer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_serves_a_folder_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with fedsight.Run("r", runs_dir=tmp_path / "runs", verbose=False) as run:
        run.log_client_update("a", 0)
    port = free_port()
    server = MapServer(port=port, runs_dir=tmp_path / "runs", run_id="r", watch=True, poll_interval=0.1)
    server.start()
    try:
        assert server.url == f"http://127.0.0.1:{port}/runs/r"
        listed = until(lambda: httpx.get(f"http://127.0.0.1:{port}/runs", trust_env=False).json(), "the run")
        assert listed[0]["run_id"] == "r"
    finally:
        server.stop()
    assert server.url is None
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = MapServer(port=taken.getsockname()[1], runs_dir=tmp_path)
        with pytest.raises(FedsightError, match="is taken on 127"):
            server.start()


def test_it_reads_a_journals_events_in_hivewatchs_shapes(tmp_path: Path) -> None:
    with fedsight.Run("r", runs_dir=tmp_path, verbose=False) as run:
        run.round_start(0)
        run.log_client_update("a", 0)
        run.log_round(0, global_accuracy=0.5)
    kinds = [event["event_type"] for event in MapServer(runs_dir=tmp_path).read_events(tmp_path / "r.jsonl")]
    assert kinds == ["init", "client_update", "round_end", "finished"]
