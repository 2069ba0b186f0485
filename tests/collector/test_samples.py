"""Resources over HTTP: nodes, samples, and what a monitor adds to a client's updates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from collector.harness import Collector, Process, header, lines, run_start, until
from fedsight.events import ClientUpdate, RoundEnd, RoundStart, Sample
from fedsight.monitor import Monitor

CPU_TIME = "process.cpu.time{cpu.mode=user,process.pid=7}"


def readings(node: str, count: int = 4) -> bytes:
    """One every 5 s from 1000 s on: 10 %, 20 %, … of the CPU."""
    return lines(
        *(
            Sample(
                ts=1000.0 + 5 * i,
                node=node,
                metrics={
                    "cpu_pct": 10.0 * i,
                    "ram_mb": 100.0,
                    CPU_TIME: math.inf,
                    **({"interval_sec": 5.0} if i else {}),
                },
            )
            for i in range(count)
        )
    )


def a_round_of(client_id: str) -> bytes:
    return lines(
        RoundStart(ts=1000.0, round=0, selected=[client_id]),
        ClientUpdate(ts=1010.0, client_id=client_id, round=0, train_time_sec=5.0, local_loss=1.0),
        RoundEnd(ts=1012.0, round=0, global_loss=1.0),
    )


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A run with one client; its monitor, the server's, and one that belongs to no run."""
    with Collector(tmp_path_factory.mktemp("samples")) as running:
        running.post("j1", 0, header() + run_start() + a_round_of("a/1"))
        running.post("m1", 0, header("m1", "monitor", client_id="a/1") + readings("edge"))
        running.post("m2", 0, header("m2", "monitor") + readings("server-host", 2))
        running.post("m3", 0, header("m3", "monitor", run_id=None) + readings("alone", 3))
        running.settled()
        yield running


def test_nodes_that_have_samples(collector: Collector) -> None:
    found = collector.get("/api/v1/nodes")["columns"]
    assert found["node"] == ["edge", "alone", "server-host"]
    assert found["run_id"] == ["r1", None, "r1"]
    assert found["client_id"] == ["a/1", None, None]
    assert found["cpu_pct"] == [30.0, 20.0, 10.0]
    assert found["power_w"] == [None, None, None]
    assert found["metrics"][0][CPU_TIME] == "Infinity"
    few = collector.get("/api/v1/nodes", run_id="r1", client_id="a/1", fields="last_ts,num_samples")["columns"]
    assert few == {"node": ["edge"], "last_ts": [1015.0], "num_samples": [4]}


def test_samples_of_a_clients_monitor(collector: Collector) -> None:
    metric = f"cpu_pct, {CPU_TIME},cpu_pct"
    found = collector.get("/api/v1/runs/r1/samples", client_id="a/1", metric=metric, to=1005.0)["columns"]
    assert found == {"ts": [1000.0, 1005.0], "cpu_pct": [0.0, 10.0], CPU_TIME: ["Infinity", "Infinity"]}


def test_samples_of_the_server_and_of_a_node_alone(collector: Collector) -> None:
    assert collector.get("/api/v1/runs/r1/samples", metric="cpu_pct")["columns"]["cpu_pct"] == [0.0, 10.0]
    assert collector.get("/api/v1/samples", node="alone", metric="cpu_pct")["columns"]["cpu_pct"] == [0.0, 10.0, 20.0]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/runs/r1/samples?metric=gpu_util_pct", "metric"),
        ("/api/v1/runs/r1/samples?client_id=b&metric=cpu_pct", "client_id"),
        ("/api/v1/samples?node=edge&metric=cpu_pct", "node"),
        ("/api/v1/nodes?fields=x", "fields"),
        ("/api/v1/nodes?cursor=x", "cursor"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(collector: Collector, path: str, field: str) -> None:
    answer = collector.http.get(path)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_no_such_run(collector: Collector) -> None:
    assert collector.http.get("/api/v1/runs/none/samples?metric=cpu_pct").status_code == 404


def test_updates_and_clients_say_what_was_measured(collector: Collector) -> None:
    updates = collector.get("/api/v1/runs/r1/updates")["columns"]
    clients = collector.get("/api/v1/runs/r1/clients")["columns"]
    client = collector.get(f"/api/v1/runs/r1/clients/{quote('a/1', safe='')}")["client"]
    for cpu_pct, measured in (
        (updates["cpu_pct"][0], updates["measured"][0]),
        (clients["cpu_pct"][0], clients["measured"][0]),
        (client["cpu_pct"], client["measured"]),
    ):
        assert (cpu_pct, measured) == (20.0, ["cpu_pct", "ram_mb"])
    assert updates["energy_j"] == [None]


def test_a_real_monitor_beside_a_run_is_seen_by_fedsight_view(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "r1.jsonl").write_bytes(header() + run_start())
    path = runs / "r1.a.monitor.jsonl"
    with Monitor(interval=0.1, journal=path, run_id="r1", client_id="a", node="here"):
        sum(i * i for i in range(300_000))
    view = Process("view", str(runs), "--port", "0", cwd=tmp_path)
    try:
        with httpx.Client(base_url=view.url, trust_env=False) as http:

            def node() -> dict[str, Any] | None:
                found = http.get("/api/v1/nodes").json()["columns"]
                return {name: values[0] for name, values in found.items()} if found["node"] else None

            seen = until(node, "the monitor's node")
        assert (seen["node"], seen["run_id"], seen["client_id"]) == ("here", "r1", "a")
        assert seen["cpu_pct"] > 0
        assert seen["ram_mb"] > 1
    finally:
        view.stop()
