"""Whatever network and collector do: at the end the store equals the journal."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from collector_process import BadNetwork, CollectorProcess, free_port, wait_until

import fedsight
from fedsight import Run, UsageError
from fedsight.emitters import CollectorEmitter
from fedsight.emitters.collector import sync
from fedsight.errors import ShippingError
from fedsight.events import ClientUpdate
from recorded import of_type


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    process = CollectorProcess(tmp_path / "data")
    process.start()
    yield process
    process.stop()


def record(run: Run, rounds: int, clients: int = 20, first: int = 0) -> None:
    for number in range(first, first + rounds):
        run.round_start(number)
        for client in range(clients):
            run.log_client_update(f"c{client:03d}", number, local_loss=number + client / 1000, padding="x" * 100)
        run.log_round(number, global_loss=float(number))


def clients_of(collector: CollectorProcess) -> list[str]:
    """Who told updates of the run "exp", as far as the store knows."""
    page = collector.get("/api/v1/runs/exp/updates?fields=local_loss")
    return sorted(page["columns"]["client_id"]) if page else []


def run_shipping(script: str, folder: Path, collector: CollectorProcess) -> None:
    """Run `script` in a process of its own; its arguments are the folder, the collector's URL and a token."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(folder), collector.url, collector.token],
        check=True,
        timeout=60,
    )


def assert_store_equals_journal(collector: CollectorProcess, path: Path) -> None:
    updates = of_type(path, ClientUpdate)
    run_id = path.stem
    wait_until(lambda: path.stat().st_size in collector.stored_bytes(run_id).values())
    assert path.read_bytes() in collector.copies()
    table = collector.columns(f"/api/v1/runs/{run_id}/updates?fields=local_loss")
    stored = list(zip(table["round"], table["client_id"], table["local_loss"], strict=True))
    assert stored == [(update.round, update.client_id, update.local_loss) for update in updates]
    (run,) = [row for row in zip(*collector.columns("/api/v1/runs").values(), strict=True) if row[0] == run_id]
    assert len(updates) in run
    assert collector.get("/api/v1/status")["num_dead_letters"] == 0


def test_a_run_is_shipped_while_it_goes_on_and_is_complete_at_its_end(
    tmp_path: Path, collector: CollectorProcess
) -> None:
    run = Run("exp", runs_dir=tmp_path, emitters=[CollectorEmitter(collector.url, collector.token)], verbose=False)
    record(run, 3)
    wait_until(lambda: run.path.stat().st_size in collector.stored_bytes("exp").values())
    record(run, 3, first=3)
    run.finish()
    assert_store_equals_journal(collector, run.path)
    assert collector.get("/api/v1/runs/exp")["run"]["state"] == "finished"


def test_events_that_come_one_by_one_go_out_together(tmp_path: Path, collector: CollectorProcess) -> None:
    with Run(
        "exp", runs_dir=tmp_path, emitters=[CollectorEmitter(collector.url, collector.token)], verbose=False
    ) as run:
        for step in range(60):
            run.log_metric("loss", 1 / (step + 1), step=step)
            time.sleep(0.02)
    with urllib.request.urlopen(f"{collector.url}/metrics") as answer:
        told = re.findall(rb'^fedsight_api_requests_total\{.*method="POST".*\} (\S+)$', answer.read(), re.MULTILINE)
    assert 0 < sum(map(float, told)) < 20


def test_the_environment_names_the_collector(
    tmp_path: Path, collector: CollectorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSIGHT_COLLECTOR", collector.url)
    monkeypatch.setenv("FEDSIGHT_TOKEN", collector.token)
    with Run("exp", runs_dir=tmp_path, verbose=False) as run:
        record(run, 1)
    with fedsight.join("exp", "c001", runs_dir=tmp_path) as site:
        site.log_metric("loss", 0.5, step=1)
    assert_store_equals_journal(collector, run.path)
    wait_until(lambda: len(collector.stored_bytes("exp")) == 2)
    curve = "/api/v1/runs/exp/series?scope=step&metric=loss&client_id=c001"
    steps = wait_until(lambda: collector.get(curve))["columns"]
    assert (steps["step"], steps["value"]) == ([1], [0.5])


def test_a_bad_network_loses_and_doubles_nothing(tmp_path: Path, collector: CollectorProcess) -> None:
    chance = random.Random(3)
    fates = ["pass"] * 8 + ["slow", "500", "429", "cut", "lost", "lost"]
    seen: set[str] = set()

    def choose(_: int) -> str:
        fate = chance.choice(fates)
        seen.add(fate)
        return fate

    with BadNetwork(collector.port, choose) as network:
        emitter = CollectorEmitter(network.url, collector.token, timeout_sec=10)
        run = Run("exp", runs_dir=tmp_path, emitters=[emitter], verbose=False)
        number = 0
        while network.requests < 50:
            record(run, 1, first=number)
            number += 1
            before = network.requests
            wait_until(lambda before=before: network.requests > before)
        run.finish(timeout_sec=60)
    assert seen == set(fates)
    assert_store_equals_journal(collector, run.path)


@pytest.mark.slow
def test_a_collector_that_is_killed_again_and_again_ends_up_with_everything(
    tmp_path: Path, collector: CollectorProcess
) -> None:
    run = Run("exp", runs_dir=tmp_path, emitters=[CollectorEmitter(collector.url, collector.token)], verbose=False)
    enough = threading.Event()
    rounds = 0

    def train() -> None:
        nonlocal rounds
        while not enough.wait(0.002):
            record(run, 1, first=rounds)
            rounds += 1

    training = threading.Thread(target=train)
    training.start()
    for _ in range(5):
        before = sum(collector.stored_bytes("exp").values())
        wait_until(lambda before=before: sum(collector.stored_bytes("exp").values()) > before)
        collector.kill()
        collector.start()
    enough.set()
    training.join()
    run.finish(timeout_sec=60)
    assert rounds > 5
    assert_store_equals_journal(collector, run.path)


def test_a_collector_that_is_not_there_delays_nothing_and_sync_delivers_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collector = CollectorProcess(tmp_path / "data")
    run = Run("exp", runs_dir=tmp_path, emitters=[CollectorEmitter(collector.url, collector.token)], verbose=False)
    record(run, 2)
    run.finish(timeout_sec=0.3)
    assert f"fedsight sync {run.path} --url {collector.url}" in caplog.text
    assert caplog.text.count("can't take events now") == 1

    collector.start()
    delivery = subprocess.run(
        [sys.executable, "-m", "fedsight", "sync", str(run.path), "--url", collector.url, "--token", collector.token],
        capture_output=True,
        text=True,
        check=False,
    )
    assert delivery.returncode == 0, delivery.stdout + delivery.stderr
    assert_store_equals_journal(collector, run.path)
    collector.stop()


KILLED_TRAINING = """
import os, signal, sys
import fedsight
from fedsight.emitters import CollectorEmitter
fedsight.init(run_id="exp", runs_dir=sys.argv[1], emitters=[CollectorEmitter(sys.argv[2], sys.argv[3])], verbose=False)
for round in range(50):
    for client in range(20):
        fedsight.log_client_update(f"c{client:03d}", round, local_loss=round + client / 1000)
    fedsight.log_round(round)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sync_finishes_what_a_killed_training_could_not_ship_and_ends_its_run(
    tmp_path: Path, collector: CollectorProcess
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_TRAINING, str(tmp_path), collector.url, collector.token], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    path = tmp_path / "exp.jsonl"
    with path.open("ab") as file:
        file.write(b'{"kind":"client_upd')
    (result,) = sync([path], collector.url, collector.token)
    assert result.error is None
    assert result.offset == path.stat().st_size
    assert_store_equals_journal(collector, path)
    assert collector.get("/api/v1/runs/exp")["run"]["state"] == "killed"
    (again,) = sync([path], collector.url, collector.token)
    assert (again.sent_bytes, again.error) == (0, None)


def test_a_journal_that_was_cut_behind_the_collectors_back_is_sent_as_a_new_one(
    tmp_path: Path, collector: CollectorProcess
) -> None:
    run = Run("exp", runs_dir=tmp_path, verbose=False)
    record(run, 2)
    backup = run.path.read_bytes()
    record(run, 2, first=2)
    run.finish()
    assert sync([run.path], collector.url, collector.token)[0].error is None
    run.path.write_bytes(backup)  # the disk came back from a backup
    resumed = Run("exp", runs_dir=tmp_path, resume=True, verbose=False)
    record(resumed, 5, first=10)
    resumed.finish()
    (result,) = sync([run.path], collector.url, collector.token)
    assert result.error is None
    assert result.offset == run.path.stat().st_size
    assert len(wait_until(lambda: len(found := collector.stored_bytes("exp")) == 2 and found)) == 2
    table = collector.columns("/api/v1/runs/exp/updates?fields=local_loss")
    assert sorted(set(table["round"])) == [0, 1, 2, 3, *range(10, 15)]
    assert len(table["round"]) == 20 * 9
    (again,) = sync([run.path], collector.url, collector.token)
    assert (again.sent_bytes, again.error) == (0, None)


def test_a_rolled_journal_arrives_as_one_stream(tmp_path: Path, collector: CollectorProcess) -> None:
    from fedsight.journal import JournalWriter

    source = Run("exp", runs_dir=tmp_path / "whole", verbose=False)
    record(source, 5)
    source.finish()
    lines = source.path.read_bytes().splitlines(keepends=True)[1:]
    rolled = tmp_path / "rolled" / "exp.jsonl"
    writer = JournalWriter(rolled, role="server", run_id="exp", roll_bytes=5000)
    for line in lines:
        writer.append(line)
    writer.close()
    assert len(list(rolled.parent.iterdir())) > 3
    (result,) = sync([rolled.parent], collector.url, collector.token)
    assert result.error is None
    wait_until(lambda: result.offset in collector.stored_bytes("exp").values())
    assert b"".join(path.read_bytes() for path in sorted(rolled.parent.glob("*.jsonl"))) in collector.copies()
    assert len(collector.columns("/api/v1/runs/exp/updates?fields=local_loss")["round"]) == 100


def test_a_wrong_token_is_said_once_and_harms_no_training(
    tmp_path: Path, collector: CollectorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run("exp", runs_dir=tmp_path, emitters=[CollectorEmitter(collector.url, "hush-hush")], verbose=False)
    record(run, 2)
    run.finish(timeout_sec=5)
    assert "HTTP 401" in caplog.text
    assert "FEDSIGHT_TOKEN" in caplog.text
    assert caplog.text.count("is no longer shipped") == 1
    assert "hush-hush" not in caplog.text
    assert len(of_type(run.path, ClientUpdate)) == 40


def test_a_forked_child_ships_its_own_journal(tmp_path: Path, collector: CollectorProcess) -> None:
    script = (
        "import os, sys, time\nimport fedsight\nfrom fedsight.emitters import CollectorEmitter\n"
        "run = fedsight.init(run_id='exp', runs_dir=sys.argv[1], verbose=False,"
        " emitters=[CollectorEmitter(sys.argv[2], sys.argv[3])])\n"
        "child = os.fork()\n"
        "for n in range(10):\n    run.log_client_update('child' if child == 0 else 'parent', n, local_loss=n)\n"
        "if child == 0:\n"
        "    while not run.emitters[0].pending().startswith('0 bytes'):\n        time.sleep(0.02)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\nrun.finish()\n"
    )
    run_shipping(script, tmp_path, collector)
    wait_until(lambda: len(collector.stored_bytes("exp")) == 2)
    wait_until(lambda: len(collector.columns("/api/v1/runs/exp/updates?fields=local_loss")["round"]) == 20)


@pytest.mark.parametrize("url", ["127.0.0.1:8083", "ftp://x", "http://", "http://x:port", ""])
def test_a_url_that_cannot_be_meant_is_refused_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSIGHT_COLLECTOR", raising=False)
    with pytest.raises(UsageError, match="url"):
        CollectorEmitter(url)


def test_a_child_that_forks_and_ends_at_once_is_delivered_by_its_parent(
    tmp_path: Path, collector: CollectorProcess
) -> None:
    script = (
        "import os, sys\nimport fedsight\nfrom fedsight.emitters import CollectorEmitter\n"
        "run = fedsight.init(run_id='exp', runs_dir=sys.argv[1], verbose=False,"
        " emitters=[CollectorEmitter(sys.argv[2], sys.argv[3])])\n"
        "if os.fork() == 0:\n    run.log_client_update('child', 0, local_loss=1)\n    os._exit(0)\n"
        "os.wait()\nrun.finish()\n"
    )
    run_shipping(script, tmp_path, collector)
    wait_until(lambda: clients_of(collector) == ["child"])


def test_a_process_of_multiprocessing_delivers_what_it_recorded(tmp_path: Path, collector: CollectorProcess) -> None:
    script = (
        "import multiprocessing, sys\nimport fedsight\nfrom fedsight.emitters import CollectorEmitter\n"
        "run = fedsight.init(run_id='exp', runs_dir=sys.argv[1], verbose=False,"
        " emitters=[CollectorEmitter(sys.argv[2], sys.argv[3])])\n"
        "child = multiprocessing.get_context('fork').Process(target=run.log_client_update, args=('child', 0))\n"
        "child.start()\nchild.join()\nimport os\nos._exit(0)\n"
    )
    run_shipping(script, tmp_path, collector)
    wait_until(lambda: clients_of(collector) == ["child"])


def test_sites_that_share_an_emitter_end_one_by_one(tmp_path: Path, collector: CollectorProcess) -> None:
    emitter = CollectorEmitter(collector.url, collector.token)
    first, second = (fedsight.join("exp", name, runs_dir=tmp_path, emitters=[emitter]) for name in ("a", "b"))
    first.log_client_update(round=0, local_loss=1.0)
    first.finish(timeout_sec=20)
    second.log_client_update(round=0, local_loss=2.0)
    second.finish(timeout_sec=20)
    wait_until(lambda: clients_of(collector) == ["a", "b"])


def test_what_is_no_collector_is_said_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        emitter = CollectorEmitter(f"http://127.0.0.1:{server.server_address[1]}", "x")
        began_sec = time.monotonic()
        Run("exp", runs_dir=tmp_path, emitters=[emitter], verbose=False).finish(timeout_sec=60)
        took_sec = time.monotonic() - began_sec
        server.shutdown()
        serving.join()
    assert "is no Fedsight collector" in caplog.text
    assert took_sec < 30, "it waited for what can't come"


class Lying(BaseHTTPRequestHandler):
    """Something that answers whatever `said` is, and counts how often it is asked."""

    said: dict[str, bytes]
    num_asked: int

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        type(self).num_asked += 1
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(self.said[self.command])

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("told", "taken", "error"),
    [
        (b'{"offset":0}', b'{"offset":1}', "at another offset each time"),
        (b'{"offset":7,"last_line":"x"}', b"", "holds other lines of it under all"),
        (b'{"offset":-5}', b"", "is no Fedsight collector"),
        (b" " * (1 << 27), b"", "is no Fedsight collector"),
    ],
    ids=["takes nothing", "has other lines of everything", "negative", "without end"],
)
def test_a_collector_that_lies_is_found_out_and_not_pestered(
    tmp_path: Path, told: bytes, taken: bytes, error: str
) -> None:
    class Liar(Lying):
        said: ClassVar = {"GET": told, "POST": taken}
        num_asked = 0

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        emitter = CollectorEmitter(f"http://127.0.0.1:{server.server_address[1]}", "x")
        tracemalloc.start()
        run = Run("exp", runs_dir=tmp_path, emitters=[emitter], verbose=False)
        wait_until(lambda: error in str(emitter.state().last_error))
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        run.finish(timeout_sec=0)
        server.shutdown()
        serving.join()
    assert Liar.num_asked < 110
    assert most_bytes < 64 << 20


def test_a_wrong_address_in_the_environment_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FEDSIGHT_COLLECTOR", "127.0.0.1:8083")
    Run("exp", runs_dir=tmp_path, verbose=False).finish()
    assert "FEDSIGHT_COLLECTOR: url must be like http://" in caplog.text


def test_sync_reports_each_file(tmp_path: Path, collector: CollectorProcess) -> None:
    Run("good", runs_dir=tmp_path / "runs", verbose=False).finish()
    (tmp_path / "runs" / "other.jsonl").write_text('{"event_type": "init"}\n')
    results = {result.path.name: result.error for result in sync([tmp_path / "runs"], collector.url, collector.token)}
    assert results["good.jsonl"] is None
    assert "is no journal" in str(results["other.jsonl"])
    shutil.rmtree(tmp_path / "runs")


def test_a_connection_that_lay_idle_and_was_closed_is_no_outage(
    tmp_path: Path, collector: CollectorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    # Every second request finds its kept connection closed by the other end.
    with BadNetwork(collector.port, lambda n: "cut" if n % 2 else "pass") as network:
        run = Run("exp", runs_dir=tmp_path, emitters=[CollectorEmitter(network.url, collector.token)], verbose=False)
        for number in range(5):
            record(run, 1, first=number)
            wait_until(lambda: run.path.stat().st_size in collector.stored_bytes("exp").values())
        run.finish()
    assert "can't take events" not in caplog.text
    assert_store_equals_journal(collector, run.path)


def test_sync_says_at_once_when_nothing_can_come_of_it(tmp_path: Path, collector: CollectorProcess) -> None:
    Run("exp", runs_dir=tmp_path / "runs", verbose=False).finish()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no journals in"):
        sync([tmp_path / "empty"], collector.url, collector.token)
    with pytest.raises(ShippingError, match="can't be reached"):
        sync([tmp_path / "runs"], f"http://127.0.0.1:{free_port()}", collector.token)
    with pytest.raises(ShippingError, match="knows no such token"):
        sync([tmp_path / "runs"], collector.url, "hush-hush")


def test_waiting_for_a_collector_draws_nothing_from_the_trainings_random_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = CollectorEmitter(f"http://127.0.0.1:{free_port()}", "x")
    random.seed(42)
    state = random.getstate()
    run = Run("exp", runs_dir=tmp_path, emitters=[emitter], verbose=False)
    wait_until(lambda: "can't take events now" in caplog.text)
    run.finish(timeout_sec=1.0)
    assert random.getstate() == state
