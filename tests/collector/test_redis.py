"""The cache and the fan-out with a real Redis: there, gone, and back."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from websockets.sync.client import ClientConnection, connect

from collector.databases import Server, redis
from collector.harness import Collector, a_round, header, lines, run_start, until
from fedsight.collector.cache import Cache
from fedsight.collector.fanout import Envelope, Others
from fedsight.collector.redis import RedisLink
from fedsight.collector.subscribing import Subscription
from fedsight.errors import UsageError
from fedsight.events import Sample


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with redis(tmp_path / "redis") as running:
        yield running


def url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def test_without_redis_the_cache_is_this_process() -> None:
    async def scene() -> None:
        cache = Cache()
        assert await cache.current("fl_server") is None
        await cache.put_current("fl_server", {"status": "training", "loss": None})
        await cache.put_aggregated("1h", {"average_latency_ms": 2.5})
        assert await cache.current("fl_server") == {"status": "training", "loss": None}
        assert await cache.aggregated("1h") == {"average_latency_ms": 2.5}

    asyncio.run(scene())


def test_keys_and_lifetimes_are_the_texts(server: Server) -> None:
    async def scene() -> None:
        link = RedisLink(url(server))
        await Cache(link).put_current("fl_server", {"status": "training"})
        await Cache(link).put_aggregated("1h", {"n": 1})
        assert await Cache(link).current("fl_server") == {"status": "training"}  # another's memory is empty
        await link.close()

    asyncio.run(scene())
    with redis_client.Redis(port=server.port) as look:
        assert json.loads(look.get("current:fl_server")) == {"status": "training"}
        assert 290 < look.ttl("current:fl_server") <= 300
        assert 50 < look.ttl("aggregated:1h") <= 60


def test_a_redis_that_is_gone_fails_nobody_and_is_used_again_when_it_is_back(server: Server) -> None:
    async def scene() -> None:
        link = RedisLink(url(server))
        cache = Cache(link)
        await cache.put_current("a", {"n": 1})
        assert link.state().is_up is True
        server.stop()
        assert await cache.current("a") == {"n": 1}  # from memory
        assert link.state().is_up is False
        assert "Error" in (link.state().last_error or "")
        server.start()
        for _ in range(200):
            await cache.put_current("a", {"n": 2})
            if link.state().is_up:
                break
            await asyncio.sleep(0.05)
        assert await Cache(link).current("a") == {"n": 2}
        await link.close()

    asyncio.run(scene())


def test_a_redis_that_hangs_is_away_until_it_answers_and_its_pongs_are_no_news(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsight.collector.redis.PING_SEC", 0.1)

    async def becomes(link: RedisLink, is_up: bool) -> None:
        while link.state().is_up is not is_up:
            await asyncio.sleep(0.02)

    async def scene() -> None:
        link, heard = RedisLink(url(server)), list[bytes]()
        listening = asyncio.create_task(link.listen("c", heard.append))
        await becomes(link, is_up=True)
        server.send(signal.SIGSTOP)
        try:
            await becomes(link, is_up=False)
            for _ in range(50):  # nothing of it answers: it is not back, whatever can be sent to it
                assert link.state().is_up is False
                await asyncio.sleep(0.02)
        finally:
            server.send(signal.SIGCONT)
        await becomes(link, is_up=True)
        while not await link.publish("c", [b"news"]) or not heard:
            await asyncio.sleep(0.02)
        listening.cancel()
        await link.close()
        assert set(heard) == {b"news"}

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_a_password_is_in_no_state_and_no_message(server: Server) -> None:
    async def scene() -> None:
        link = RedisLink(f"redis://:hunter2@127.0.0.1:{server.port}/0")
        assert await link.get("x") is None  # this Redis wants none, and says so
        assert "hunter2" not in repr(link.state())
        await link.close()

    asyncio.run(scene())


@pytest.mark.parametrize("wrong", ["hunter2", "rediss:hunter2", "http://hunter2", "redis://", "redis://h:hunter2"])
def test_an_address_that_can_not_be_meant_is_refused_at_the_start_and_not_repeated(wrong: str) -> None:
    with pytest.raises(UsageError, match="REDIS_URL") as refused:
        RedisLink(wrong)
    assert "hunter2" not in str(refused.value)


class Reader:
    """A browser's WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def subscribe(self, *streams: str, **more: Any) -> None:
        self.socket.send(json.dumps({"action": "subscribe", "streams": list(streams), **more}))
        self.next("subscribed", "ack")

    def next(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these types."""
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=30))
            assert message["type"] != "error", message
            if message["type"] in kinds:
                return message


def test_a_browser_on_one_collector_hears_what_another_stores_also_after_redis_was_away(
    server: Server, tmp_path: Path
) -> None:
    environ = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
    with (
        Collector(tmp_path / "one", environ=environ) as one,
        Collector(tmp_path / "two", environ=environ) as two,
        connect(two.url.replace("http", "ws") + "/ws/metrics") as socket,
        connect(one.url.replace("http", "ws") + "/ws/metrics") as own_socket,
    ):
        reader, own = Reader(socket), Reader(own_socket)
        reader.subscribe("fl_training", run_id="r1")
        own.subscribe("fl_training", run_id="r1")
        body = header() + run_start() + a_round(0, "a")
        assert one.post("j1", 0, body).status_code == 200
        told = reader.next("fl_round_update")
        assert (told["run_id"], told["metrics"]["round"], told["metrics"]["global_accuracy"]) == ("r1", 0, 0.5)
        assert told["collector"]
        assert "collector" not in own.next("fl_round_update")  # its own news come from its own store, once

        server.stop()
        offset = len(body)
        more = a_round(1, "a")
        assert one.post("j1", offset, more).status_code == 200  # works on
        assert own.next("fl_round_update")["metrics"]["round"] == 1
        server.start()
        number = 2
        offset += len(more)

        def hears() -> bool:
            nonlocal number, offset
            later = a_round(number, "a")
            assert one.post("j1", offset, later).status_code == 200
            number, offset = number + 1, offset + len(later)
            try:
                message = json.loads(socket.recv(timeout=0.5))
            except TimeoutError:
                return False
            return message["type"] == "fl_round_update"

        until(hears, "news are heard again")


def test_a_collector_keeps_the_state_of_the_training_in_redis(server: Server, tmp_path: Path) -> None:
    with (
        Collector(tmp_path, environ={"REDIS_URL": url(server)}) as collector,
        redis_client.Redis(port=server.port) as look,
    ):
        assert collector.post("j1", 0, header() + run_start() + a_round(3, "a")).status_code == 200
        state = json.loads(until(lambda: look.get("current:fl_server"), "the state is in Redis"))
    assert (state["status"], state["run_id"], state["current_round"]) == ("training", "r1", 3)


def test_a_collector_that_knows_no_training_tells_of_the_one_that_another_knows(server: Server, tmp_path: Path) -> None:
    environ = {"REDIS_URL": url(server)}
    with Collector(tmp_path / "one", environ=environ) as one, Collector(tmp_path / "two", environ=environ) as two:

        def told() -> Any:
            return two.get("/api/v1/status")["components"]["fl_server"]

        assert told()["status"] == "unknown"
        assert one.post("j1", 0, header() + run_start() + a_round(3, "a")).status_code == 200
        until(lambda: told()["status"] == "training", "the other's training")
        assert told() == one.get("/api/v1/status")["components"]["fl_server"]
        with redis_client.Redis(port=server.port) as look:
            look.set("current:fl_server", b'["nonsense"]')
        assert told()["status"] == "unknown"


def test_figures_of_the_network_are_kept_and_not_older_than_what_is_stored(server: Server, tmp_path: Path) -> None:
    def sample(ts: float, latency_ms: float) -> bytes:
        return lines(Sample(ts=ts, node="s1", metrics={"latency_ms": latency_ms}))

    with (
        Collector(tmp_path, environ={"REDIS_URL": url(server)}) as collector,
        redis_client.Redis(port=server.port) as look,
    ):

        def latency_ms() -> Any:
            answer = collector.get("/api/v1/network/metrics", timeframe="1h")
            kept = json.loads(look.get("aggregated:1h"))
            assert kept == answer
            return answer["performance"]["average_latency_ms"]

        assert latency_ms() is None
        body = header("net", role="source", run_id=None) + sample(time.time(), 10.0)
        collector.post("net", 0, body)
        until(lambda: latency_ms() == 10.0, "the figure")
        collector.post("net", len(body), sample(time.time(), 20.0))
        until(lambda: latency_ms() == 15.0, "the newer figure")


def envelope(number: int, feed: str = "rounds", run_id: str | None = "r1") -> Envelope:
    return Envelope("other", feed, {"type": "fl_round_update", "metrics": {"round": number}}, run_id)


def test_a_reader_hears_of_others_only_what_it_wants() -> None:
    others = Others()
    for told in (envelope(0), envelope(1, feed="policy"), envelope(2, run_id="r2"), envelope(3, run_id=None)):
        others.take(told)
    wanted = Subscription(0, ["fl_training"], "r1")
    told_of = [json.loads(body) for _, body in others.after(0, wanted, "e-5")]
    assert [message["metrics"]["round"] for message in told_of] == [0, 3]
    assert {message["as_of"] for message in told_of} == {"e-5"}
    assert others.after(0, Subscription(0), "e-5") == []


def test_a_reader_that_is_too_slow_is_told_how_much_it_missed() -> None:
    others = Others()
    for number in range(2_500):
        others.take(envelope(number))
    first, *rest = [json.loads(body) for _, body in others.after(100, Subscription(0, ["fl_training"]), "e-5")]
    assert (first["type"], first["num_skipped"]) == ("skipped", 400)
    assert len(rest) == 2_000
