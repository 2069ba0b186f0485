"""The live stream: nothing missed, nothing twice needed, a slow reader in nobody's way."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from collector.harness import Collector, a_round, header, run_start, until


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path) as running:
        yield running


class Feed:
    """Messages of one stream as they come, read in a thread."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.ended = threading.Event()

    def rows(self) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == "rows"]

    def table(self, name: str, key: str) -> dict[Any, dict[str, Any]]:
        """The rows of a table as a page would hold them: the newest state of each."""
        held: dict[Any, dict[str, Any]] = {}
        for message in self.rows():
            columns = message.get(name, {}).get("columns", {})
            for values in zip(*columns.values(), strict=True):
                row = dict(zip(columns, values, strict=True))
                held[row[key]] = row
        return held


@contextmanager
def sse(collector: Collector, headers: dict[str, str] | None = None, **params: str) -> Iterator[Feed]:
    feed = Feed()
    with (
        httpx.Client(timeout=30, trust_env=False) as client,
        client.stream("GET", f"{collector.url}/api/v1/stream", params=params, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        def read() -> None:
            try:
                for line in answer.iter_lines():
                    if line.startswith("id: "):
                        feed.ids.append(line[4:])
                    elif line.startswith("data: "):
                        feed.messages.append(json.loads(line[6:]))
            except httpx.HTTPError:
                pass
            feed.ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield feed
        if not feed.ended.is_set():
            answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        thread.join(10)


@contextmanager
def websocket(collector: Collector, query: str = "") -> Iterator[Feed]:
    feed = Feed()
    with connect(f"{collector.url.replace('http', 'ws')}/ws/metrics?{query}", proxy=None) as connection:

        def read() -> None:
            feed.messages.extend(json.loads(text) for text in connection)
            feed.ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield feed
        connection.close()
        thread.join(10)


def as_of(collector: Collector) -> str:
    return str(collector.get("/api/v1/status")["as_of"])


def ship(collector: Collector, rounds: range, at: int = 0, run_id: str = "r1", journal: str = "j1") -> int:
    """Post a run round by round; returns the offset."""
    body = header(journal, run_id=run_id) + run_start(run_id) if at == 0 else b""
    for number in rounds:
        body += a_round(number, "a", "b", accuracy=number / 100)
        answer = collector.post(journal, at, body)
        assert answer.status_code == 200, answer.text
        at, body = answer.json()["offset"], b""
    return at


def test_sse_and_websocket_tell_the_same_news(collector: Collector) -> None:
    since = as_of(collector)
    with (
        sse(collector, run_id="r1", since=since) as events,
        websocket(collector, f"run_id=r1&since={since}") as socket_,
    ):
        ship(collector, range(8))
        for feed in (events, socket_):
            until(lambda f=feed: len(f.table("rounds", "round")) == 8, "all rounds are told")
            until(lambda f=feed: f.table("rounds", "round")[7]["state"] == "closed", "the last one closed")
            assert set(feed.table("clients", "client_id")) == {"a", "b"}
            assert set(feed.table("runs", "run_id")) == {"r1"}
        collector.settled()
        until(lambda: events.rows()[-1]["as_of"] == socket_.rows()[-1]["as_of"], "both are as far")
        assert events.table("rounds", "round") == socket_.table("rounds", "round")
        assert events.ids == [m["as_of"] for m in events.messages]


def test_what_is_told_is_what_the_api_answers(collector: Collector) -> None:
    with sse(collector, run_id="r1", since=as_of(collector)) as feed:
        ship(collector, range(5))
        until(lambda: feed.table("rounds", "round").get(4, {}).get("state") == "closed", "the last round closed")
        collector.settled()

        def same() -> bool:
            columns = collector.get("/api/v1/runs/r1/rounds")["columns"]
            rows = [dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)]
            return {r["round"]: r for r in rows} == feed.table("rounds", "round")

        until(same, "the stream and the API say the same")


def test_a_reader_that_comes_back_misses_nothing(collector: Collector) -> None:
    at = ship(collector, range(3))
    collector.settled()
    with sse(collector, run_id="r1", since=as_of(collector)) as before:
        at = ship(collector, range(3, 5), at)
        until(lambda: 4 in before.table("rounds", "round"), "round 4")
    token = before.ids[-1]
    ship(collector, range(5, 9), at)
    collector.settled()
    with sse(collector, {"last-event-id": token}, run_id="r1", since="ignored-1") as after:
        until(lambda: 8 in after.table("rounds", "round"), "round 8")
        rounds = set(after.table("rounds", "round"))
        assert {5, 6, 7, 8} <= rounds
        assert not {0, 1, 2} & rounds


def test_without_a_run_only_runs_are_told(collector: Collector) -> None:
    with sse(collector, since=as_of(collector)) as feed:
        ship(collector, range(2))
        until(feed.rows, "news")
        assert set(feed.rows()[0]) == {"type", "as_of", "runs"}


def test_another_run_is_no_news_but_for_its_row(collector: Collector) -> None:
    ship(collector, range(1))
    collector.settled()
    with sse(collector, run_id="r1", since=as_of(collector)) as feed:
        ship(collector, range(2), run_id="r2", journal="j2")
        until(lambda: "r2" in feed.table("runs", "run_id"), "the other run's row")
        assert feed.table("rounds", "round") == {}


@pytest.mark.parametrize("since", ["another-7", "nonsense", "", "{epoch}-999999"])
def test_what_can_not_be_resumed_from_is_told_to_fetch_again(collector: Collector, since: str) -> None:
    epoch, _, _ = as_of(collector).rpartition("-")
    since = since.format(epoch=epoch) or "-"
    with sse(collector, since=since) as feed, websocket(collector, f"since={quote(since)}") as socket_:
        for stream in (feed, socket_):
            until(lambda s=stream: s.messages, "a message")
            assert stream.messages[0]["type"] == "reset"
            assert stream.messages[0]["as_of"].startswith(epoch)


def test_a_quiet_stream_beats(collector: Collector) -> None:
    with sse(collector, since=as_of(collector)) as feed:
        until(lambda: feed.messages, "a heartbeat", 15)
        assert feed.messages[0]["type"] == "heartbeat"


def test_news_come_about_four_times_a_second_at_most(collector: Collector) -> None:
    with sse(collector, run_id="r1", since=as_of(collector)) as feed:
        began = time.monotonic()
        at = 0
        number = 0
        while time.monotonic() - began < 2.5:
            at = ship(collector, range(number, number + 1), at)
            number += 1
        until(lambda: number - 1 in feed.table("rounds", "round"), "the last round")
        took = time.monotonic() - began
        assert len(feed.rows()) <= took * 4 + 2


def test_a_reader_that_does_not_read_holds_up_nobody(collector: Collector) -> None:
    parts = urlsplit(collector.url)
    stuck = []
    for _ in range(5):
        connection = socket.create_connection((parts.hostname, parts.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.sendall(b"GET /api/v1/stream?run_id=r1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stuck.append(connection)
    with sse(collector, run_id="r1", since=as_of(collector)) as feed:
        at = 0
        for number in range(30):
            at = ship(collector, range(number, number + 1), at)
        until(lambda: 29 in feed.table("rounds", "round"), "the last round")
    for connection in stuck:
        connection.close()


def test_a_page_of_another_origin_gets_no_websocket(collector: Collector) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{collector.url.replace('http', 'ws')}/ws/metrics", origin="http://evil.example", proxy=None),  # type: ignore[arg-type]
    ):
        pass
    assert refused.value.response.status_code == 403
