"""`/metrics`: real Prometheus' own checker finds nothing to say against it, and its figures are true."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from collector.databases import free_port, influxdb, program, redis
from collector.harness import Collector, Process, a_round, a_run, header, run_start, until


def scrape(collector: Collector) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels."""
    text = collector.http.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(collector: Collector, name: str, **labels: str) -> float | None:
    return scrape(collector).get((name, tuple(sorted(labels.items()))))


def promtool(text: str) -> None:
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("is_new", [True, False])
def test_promtool_has_nothing_against_it(tmp_path: Path, is_new: bool) -> None:
    with Collector(tmp_path) as collector:
        if not is_new:
            collector.post("j1", 0, a_run(run_id='odd "run"\\\n, é'))
            collector.post("j2", 0, a_run("j2", "r2"))
            collector.get("/api/v1/runs")
            collector.http.get("/nothing", headers={"accept": "text/html"})
            collector.settled()
        collector.http.get("/metrics")
        promtool(collector.http.get("/metrics").text)


def test_with_everything_switched_on_too(tmp_path: Path) -> None:
    with redis(tmp_path / "redis") as cache, influxdb(tmp_path / "influxdb") as database:
        environ = {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(cache.port),
            "INFLUXDB_URL": f"http://127.0.0.1:{database.port}",
            "FL_SERVER_URL": f"http://127.0.0.1:{free_port()}",
            "COLLECTION_INTERVAL": "1",
        }
        with Collector(tmp_path / "collector", environ=environ) as collector:
            collector.post("j1", 0, a_run())
            until(lambda: value(collector, "fedsight_mirror_up") == 1.0, "the mirror is up")
            until(lambda: value(collector, "fedsight_redis_up") == 1.0, "Redis is up")

            def polls() -> float:
                return sum(
                    v for (name, _), v in scrape(collector).items() if name == "fedsight_source_poll_failures_total"
                )

            until(lambda: polls() >= 1, "the source was asked")
            until(lambda: (value(collector, "fedsight_mirror_points_total") or 0) > 0, "points are told")
            until(
                lambda: value(collector, "fedsight_follower_lag_bytes", follower="influxdb") == 0.0, "all is mirrored"
            )
            told = scrape(collector)
            promtool(collector.http.get("/metrics").text)
    names = {name for name, _ in told}
    assert {"fedsight_source_up", "fedsight_source_polls_total", "fedsight_source_poll_duration_seconds"} <= names
    assert [v for (name, _), v in told.items() if name == "fedsight_source_up"] == [0.0]


def test_the_newest_round_of_a_run_is_shown_in_the_emitters_names(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        body = header() + run_start() + a_round(0, "a", "b", accuracy=0.25) + a_round(1, "a", accuracy=0.75)
        collector.post("j1", 0, body)
        collector.settled()
        assert value(collector, "fedsight_round_number", run_id="r1") == 1.0
        assert value(collector, "fedsight_round_accuracy_ratio", run_id="r1") == 0.75
        assert value(collector, "fedsight_round_clients_completed", run_id="r1") == 1.0
        assert value(collector, "fedsight_round_loss", run_id="r1") is None  # not 0: nobody said
        assert value(collector, "fedsight_client_updates_total", run_id="r1") == 3.0
        assert value(collector, "fedsight_run_status", run_id="r1", status="running") == 1.0


def test_only_the_newest_runs_are_shown(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        for number in range(60):
            body = header(f"j{number}", run_id=f"r{number}") + run_start(f"r{number}", ts=1000.0 + number)
            collector.post(f"j{number}", 0, body)
        collector.settled()
        shown = {dict(labels)["run_id"] for name, labels in scrape(collector) if name == "fedsight_run_info"}
        assert value(collector, "fedsight_store_runs") == 60.0
    assert shown == {f"r{number}" for number in range(10, 60)}


def test_requests_are_counted_by_route_not_by_address(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.post("j1", 0, a_run())
        collector.post("j1", 5, b"x\n")
        collector.settled()
        for run_id in ("r1", "nothing", "a%2Fb"):
            collector.http.get(f"/api/v1/runs/{run_id}")
        collector.http.get("/api/v1/no/such/thing")
        collector.http.post("/api/v1/journals/j9?offset=0", content=b"x\n")
        collector.http.get("/some/page", headers={"accept": "text/html"})
        told = {
            (labels["route"], labels["code"]): number
            for (name, pairs), number in scrape(collector).items()
            if name == "fedsight_api_requests_total" and (labels := dict(pairs))
        }
    assert told["/api/v1/runs/{run_id}", "404"] == 2.0
    assert told["/api/v1/runs/{run_id}", "200"] == 1.0
    assert told["/api/v1/journals/{journal}", "200"] == 1.0
    assert told["/api/v1/journals/{journal}", "409"] == 1.0
    assert told["(unknown)", "404"] == 1.0
    assert told["(refused)", "401"] == 1.0
    assert told["(dashboard)", "200"] == 1.0


def test_open_streams_are_counted_and_forgotten(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        with (
            connect(collector.url.replace("http", "ws") + "/ws/metrics") as socket,
            collector.http.stream("GET", "/api/v1/stream") as stream,
        ):
            json.loads(socket.recv(timeout=10))
            lines = stream.iter_lines()
            next(lines)
            assert value(collector, "fedsight_connections", kind="websocket") == 1.0
            assert value(collector, "fedsight_connections", kind="event_stream") == 1.0
        until(lambda: value(collector, "fedsight_connections", kind="websocket") == 0.0, "the WebSocket is forgotten")
        until(lambda: value(collector, "fedsight_connections", kind="event_stream") == 0.0, "the stream is forgotten")


def test_the_process_and_the_store_are_told_of(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.post("j1", 0, a_run() + b"no event\n")
        collector.settled()
        told = {name: number for (name, _), number in scrape(collector).items()}
        assert value(collector, "fedsight_follower_lag_bytes", follower="index") == 0.0
        assert value(collector, "fedsight_follower_lag_seconds", follower="index") == 0.0
    assert told["process_resident_memory_bytes"] > 1e7
    assert told["process_cpu_seconds_total"] > 0
    assert told["fedsight_store_commits_total"] >= 1
    assert told["fedsight_store_up"] == 1.0
    assert told["fedsight_store_dead_letters"] == 1.0
    assert told["fedsight_index_queue_bytes"] == 0.0


def test_a_view_has_metrics_and_health_too(tmp_path: Path) -> None:
    (tmp_path / "j1.jsonl").write_bytes(a_run())
    view = Process("view", str(tmp_path), "--port", "0", cwd=tmp_path)
    try:

        def shown() -> str | None:
            text = httpx.get(f"{view.url}/metrics", trust_env=False).text
            return text if 'fedsight_round_number{run_id="r1"} 2.0' in text else None

        promtool(until(shown, "the run's figures"))
        assert httpx.get(f"{view.url}/health", trust_env=False).text == "ok"
    finally:
        view.stop()


def test_who_may_not_read_may_not_scrape(tmp_path: Path) -> None:
    with Collector(tmp_path, environ={"FEDSIGHT_OPEN_READS": "0"}) as collector:
        assert collector.http.get("/metrics").status_code == 401
        producer = {"authorization": f"Bearer {collector.token('producer')}"}
        assert collector.http.get("/metrics", headers=producer).status_code == 403
        viewer = {"authorization": f"Bearer {collector.token('viewer')}"}
        assert collector.http.get("/metrics", headers=viewer).status_code == 200


def test_who_asks_for_openmetrics_gets_it(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        answer = collector.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        plain = collector.http.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert plain.headers["content-type"].startswith("text/plain")
