"""Health: of the collector itself, and of what it leans on."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.databases import free_port, influxdb, redis
from collector.harness import Collector, a_run, until
from fedsight.collector.api.health import PROBES
from fedsight.collector.settings import serve_settings
from fedsight.events import JournalHeader

# Litestar 2.25 deprecates ways of declaring parameters that older versions know alone.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Deprecated '(query|header)' parameter:DeprecationWarning",
    "ignore::litestar.exceptions.LitestarDeprecationWarning",
)

JSON = {"accept": "application/json"}


def health(collector: Collector) -> dict[str, Any]:
    answer = collector.http.get("/health", headers=JSON)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_collector_that_is_well_says_so(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        told = health(collector)
        assert collector.http.get("/health/live").json() == {"status": "live"}
        assert collector.http.get("/health/ready").json() == {"status": "ready"}
    assert told["status"] == "healthy"
    assert told["components"] == {"store": {"status": "healthy"}, "indexer": {"status": "healthy"}}


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/html,application/xhtml+xml,*/*;q=0.8"])
def test_who_does_not_ask_for_json_gets_the_word_ok(tmp_path: Path, accept: str) -> None:
    with Collector(tmp_path) as collector:
        answer = collector.http.get("/health", headers={"accept": accept})
    assert (answer.text, answer.headers["content-type"].partition(";")[0]) == ("ok", "text/plain")


def test_redis_and_influxdb_are_named_with_their_error_while_they_are_away_and_well_again_after(tmp_path: Path) -> None:
    cache, database = redis(tmp_path / "redis"), influxdb(tmp_path / "influxdb")
    environ = {
        "REDIS_URL": f"redis://:hunter2@127.0.0.1:{cache.port}",
        "INFLUXDB_URL": f"http://me:hunter2@127.0.0.1:{database.port}",
    }
    cache.command += ["--requirepass", "hunter2"]
    with Collector(tmp_path / "collector", environ=environ) as collector:
        collector.post("j1", 0, a_run())

        def statuses() -> tuple[str, ...]:
            told = health(collector)
            assert "hunter2" not in str(told)
            return (told["status"], *(told["components"][name]["status"] for name in ("redis", "influxdb")))

        until(lambda: statuses() == ("degraded", "unhealthy", "unhealthy"), "both are missed")
        told = health(collector)["components"]
        assert "connect" in told["redis"]["error"].lower()
        assert "connect" in told["influxdb"]["error"].lower()
        assert collector.http.get("/health/ready").status_code == 200  # it does without them
        with cache:
            database.start()
            until(lambda: statuses() == ("healthy", "healthy", "healthy"), "both are back")
            database.stop(signal.SIGKILL)
            until(lambda: statuses() == ("degraded", "healthy", "unhealthy"), "one is missed again")
        assert "hunter2" not in collector.output


def test_a_source_that_is_down_degrades_and_is_named(tmp_path: Path) -> None:
    with Collector(tmp_path, environ={"FL_SERVER_URL": f"http://127.0.0.1:{free_port()}"}) as collector:

        def fl_server() -> Any:
            told = health(collector)
            down = [c for c in told["components"].values() if c["status"] == "unhealthy"]
            return down if told["status"] == "degraded" else None

        [component] = until(fl_server, "the source is missed")
    assert component["error"]


@asynccontextmanager
async def a_collector(folder: Path) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """A collector in this process: to break its parts."""
    from fedsight.collector.app import create_app  # warns when it is imported

    app = create_app(serve_settings(folder, environ={}))
    app.parts.start()
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield app, client
    finally:
        app.parts.hub.close()
        await asyncio.to_thread(app.parts.stop)


async def once(client: httpx.AsyncClient, path: str, status_code: int) -> dict[str, Any]:
    """What is answered once the status is that."""
    end = time.monotonic() + 30
    while (answer := await client.get(path, headers=JSON)).status_code != status_code:
        assert time.monotonic() < end, answer.text
        await asyncio.sleep(0.02)
    told: dict[str, Any] = answer.json()
    return told


def test_a_journal_that_can_not_be_read_degrades_and_the_collector_is_not_ready(tmp_path: Path) -> None:
    async def scene() -> None:
        async with a_collector(tmp_path) as (app, client):
            assert (await once(client, "/health/ready", 200)) == {"status": "ready"}
            gone = JournalHeader(ts=1.0, version=1, journal="gone", role="server")
            app.parts.indexer.grown(tmp_path / "gone.jsonl", gone, 100, 1.0)
            assert (await once(client, "/health/ready", 503)) == {"status": "not ready"}
            told = await once(client, "/health", 200)
            assert told["status"] == "degraded"
            assert told["components"]["store"] == {"status": "healthy"}
            assert "gone.jsonl can't be read" in told["components"]["indexer"]["error"]
            assert (await once(client, "/health/live", 200)) == {"status": "live"}  # a restart would not help

    asyncio.run(scene())


def test_a_store_that_can_not_be_read_is_unhealthy(tmp_path: Path) -> None:
    async def scene() -> None:
        async with a_collector(tmp_path) as (app, client):
            app.parts.indexer.stop()
            app.parts.store.close()
            told = await once(client, "/health", 503)
            assert told["status"] == told["components"]["store"]["status"] == "unhealthy"
            assert told["components"]["store"]["error"]
            assert (await client.get("/health")).text == "unhealthy"
            await once(client, "/health/ready", 503)
            assert (await once(client, "/health/live", 503)) == {"status": "not live"}

    asyncio.run(scene())


def test_probes_are_open_to_everybody_health_is_not(tmp_path: Path) -> None:
    with Collector(tmp_path, "--host", "0.0.0.0") as collector:
        for path in PROBES:
            assert httpx.get(collector.url + path, trust_env=False).status_code == 200
        assert httpx.get(f"{collector.url}/health", trust_env=False).status_code == 401
        viewer = {"authorization": f"Bearer {collector.token('viewer')}"}
        assert httpx.get(f"{collector.url}/health", headers=viewer, trust_env=False).text == "ok"
