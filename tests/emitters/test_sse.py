"""The live page of a run: a process of its own over the run's folder, and map.json at the end."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest

import fedsight
from collector.harness import until
from fedsight.emitters import GeoEmitter, SSEEmitter
from fedsight.errors import UsageError

TRAINING = """
import os, sys, threading
import fedsight
from fedsight.emitters.sse import SSEEmitter

def begin():
    global run
    run = fedsight.Run("live", runs_dir=sys.argv[1], emitters=[SSEEmitter(port=0)], verbose=False)

# In a thread that ends: the page must not end with it.
thread = threading.Thread(target=begin)
thread.start(); thread.join()
run.log_client_update("a", 0, local_accuracy=0.5)
while line := sys.stdin.readline().strip():
    exec(line)
    print("done", flush=True)
"""


class Training:
    """A process that trains with a live page."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "training.log"
        self._err = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(folder / "runs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._err,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        )

    def do(self, statement: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{statement}\n".encode())
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"done\n", self.log.read_text()

    @property
    def url(self) -> str:
        said = until(lambda: re.search(r"live page: (http://127.0.0.1:\d+)/runs/live", self.log.read_text()), "the URL")
        return str(said[1])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self._err.close()


@pytest.fixture
def training(tmp_path: Path):  # type: ignore[no-untyped-def]
    process = Training(tmp_path)
    yield process
    process.close()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).text == "ok"
    except httpx.TransportError:
        return False


def test_the_page_shows_the_run_while_it_goes_on(training: Training) -> None:
    url = training.url
    training.do("run.log_client_update('b', 0, local_accuracy=0.6)")

    def clients() -> set[str]:
        answer = httpx.get(f"{url}/runs/live/events", trust_env=False, timeout=10)
        events = answer.json() if answer.status_code == 200 else []  # 404 until it is indexed
        return {client["client_id"] for event in events for client in event.get("clients", [])}

    until(lambda: clients() == {"a", "b"}, "both updates")


@pytest.mark.parametrize("how", ["kill -9", "it ends"])
def test_the_page_ends_with_the_training_by_whatever_means(training: Training, how: str) -> None:
    url = training.url
    training.do("run.finish()")
    assert answers(url)  # it stays as long as the process
    if how == "kill -9":
        training.process.send_signal(signal.SIGKILL)
    else:
        assert training.process.stdin is not None
        training.process.stdin.close()
    training.process.wait(20)
    until(lambda: not answers(url), "the page is gone")


def test_a_run_that_is_over_has_its_map_beside_the_journal(tmp_path: Path) -> None:
    with fedsight.Run("r", runs_dir=tmp_path, emitters=[SSEEmitter(serve_map=False)], verbose=False) as run:
        run.log_client_update("a", 0, lat=48.1, lng=11.6)
        run.log_round(0, global_accuracy=0.5)
        assert not (tmp_path / "r.map.json").exists()  # never while the training goes on
    told = json.loads((tmp_path / "r.map.json").read_bytes())
    assert told["finished_at"] is not None
    assert told["rounds"][0]["clients"] == [
        {"client_id": "a", "round": 0, "lat": 48.1, "lng": 11.6, "status": "active"}
    ]


def test_a_run_that_is_gone_on_with_gets_its_map_anew(tmp_path: Path) -> None:
    emitter = SSEEmitter(serve_map=False)
    for number, resume in ((0, False), (1, True)):
        with fedsight.Run("exp", runs_dir=tmp_path, resume=resume, emitters=[emitter], verbose=False) as run:
            run.log_client_update("a", number)
        rounds = json.loads((tmp_path / "exp.map.json").read_bytes())["rounds"]
        assert [round_["round"] for round_ in rounds] == list(range(number + 1))


def test_map_path_says_where_else(tmp_path: Path) -> None:
    target = tmp_path / "maps" / "mine.json"
    emitter = SSEEmitter(serve_map=False, map_path=target)
    fedsight.Run("r", runs_dir=tmp_path, emitters=[emitter], verbose=False).finish()
    assert json.loads(target.read_bytes())["run_id"] == "r"
    assert not (tmp_path / "r.map.json").exists()


def test_an_html_page_of_hivewatchs_user_is_not_overwritten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = tmp_path / "my_map.html"
    page.write_text("<h1>mine</h1>")
    emitter = SSEEmitter(serve_map=False, map_path=str(page))
    fedsight.Run("r", runs_dir=tmp_path, emitters=[emitter], verbose=False).finish()
    assert page.read_text() == "<h1>mine</h1>"
    assert "is not used" in caplog.text
    assert (tmp_path / "r.map.json").exists()


def test_a_port_that_is_taken_is_one_warning_and_the_run_is_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        emitter = SSEEmitter(port=port)
        with fedsight.Run("r", runs_dir=tmp_path, emitters=[emitter], verbose=False) as run:
            until(lambda: emitter.state().last_error, "the fault")
            run.log_client_update("a", 0)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert f"port {port} is taken" in warnings[0]
    assert "The run is recorded all the same" in warnings[0]
    journal = (tmp_path / "r.jsonl").read_text()
    assert '"client_update"' in journal
    assert '"component":"emitter sse","event":"failing"' in journal
    assert (tmp_path / "r.map.json").exists()


def test_without_the_collectors_packages_the_run_is_recorded(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['litestar'] = None\n"
        "import fedsight; from fedsight.emitters import SSEEmitter\n"
        "with fedsight.Run('r', runs_dir=sys.argv[1], emitters=[SSEEmitter(port=0)], verbose=False) as run:\n"
        "    run.log_client_update('a', 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no live page") == 1
    assert "pip install 'fedsight[collector]'" in done.stderr
    assert "client_update" in (tmp_path / "r.jsonl").read_text()


def test_two_runs_in_one_folder_share_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    first, second = SSEEmitter(port=port), SSEEmitter(port=port)
    fedsight.Run("one", runs_dir=tmp_path / "runs", emitters=[first], verbose=False).finish()
    fedsight.Run("two", runs_dir=tmp_path / "runs", emitters=[second], verbose=False).finish()
    assert first.page is second.page
    assert first.page is not None
    try:
        url = first.page.wait_until_up()

        def runs() -> set[str]:
            with urllib.request.urlopen(f"{url}/runs") as answer:
                return {run["run_id"] for run in json.load(answer)}

        until(lambda: runs() == {"one", "two"}, "both runs")
    finally:
        first.page.stop()


def test_a_runs_dir_that_is_not_the_runs_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    emitter = SSEEmitter(serve_map=False, runs_dir=tmp_path / "elsewhere")
    fedsight.Run("r", runs_dir=tmp_path, emitters=[emitter], verbose=False).finish()
    assert "Give runs_dir to fedsight.init()" in caplog.text
    assert not (tmp_path / "elsewhere").exists()


def test_a_port_that_can_be_none_is_refused_at_once() -> None:
    for port in (-1, 65536, "7070", True):
        with pytest.raises(UsageError, match="port must be a whole number"):
            SSEEmitter(port=port)  # type: ignore[arg-type]


def test_it_has_hivewatchs_names() -> None:
    assert GeoEmitter is SSEEmitter
    assert (SSEEmitter().port, SSEEmitter().host) == (7070, "127.0.0.1")
