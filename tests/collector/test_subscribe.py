"""Subscriptions over `/ws/metrics`, and the same over server-sent events."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from collector.harness import Collector, a_round, header, lines, run_start, until
from fedsight.collector.subscribing import MAX_ITEMS
from fedsight.events import Log, Policy, Sample, SourceState, Topology

TEXTS_STREAMS = ["fl_training", "network_performance", "policy_events"]
"""What the FLOPY-NET text's browser client subscribes to."""


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One for the tests that ship nothing."""
    with Collector(tmp_path_factory.mktemp("shared")) as running:
        yield running


class Reader:
    """One WebSocket: what it is told, in order."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.told: list[dict[str, Any]] = []

    def say(self, **request: Any) -> None:
        self._connection.send(json.dumps(request))

    def say_raw(self, text: str | bytes) -> None:
        self._connection.send(text)

    def next(self, *types: str, where: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The next message of these types, within 20 s; those before it are in `told`."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            message: dict[str, Any] = json.loads(self._connection.recv(timeout=max(0.0, end - time.monotonic())))
            self.told.append(message)
            if message["type"] in types and where(message):
                return message
        raise AssertionError(f"no {types} among {[m['type'] for m in self.told]}")

    def types(self) -> set[str]:
        return {message["type"] for message in self.told}


@contextmanager
def opened(collector: Collector, query: str = "", **options: Any) -> Iterator[Reader]:
    """A reader's connection."""
    with connect(f"{collector.url.replace('http', 'ws')}/ws/metrics{query}", proxy=None, **options) as connection:
        yield Reader(connection)


def ship_run(collector: Collector, run_id: str = "r1", journal: str = "j1", rounds: int = 1) -> None:
    body = header(journal, run_id=run_id) + run_start(run_id)
    body += b"".join(a_round(number, "a", "b", accuracy=0.25) for number in range(rounds))
    assert collector.post(journal, 0, body).status_code == 200


def ship_source(collector: Collector, *events: Any, journal: str = "s1", at: int = 0) -> int:
    body = (header(journal, "source", run_id=None) if at == 0 else b"") + lines(*events)
    answer = collector.post(journal, at, body)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["offset"])


def test_the_texts_client_gets_the_texts_messages(collector: Collector) -> None:
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=TEXTS_STREAMS)
        ack = reader.next("ack", "error")
        assert (ack["type"], ack["action"], ack["streams"]) == ("ack", "subscribe", TEXTS_STREAMS)
        ship_run(collector)
        update = reader.next("fl_round_update", where=lambda m: m["metrics"]["state"] == "closed")
        assert update["run_id"] == update["metrics"]["experiment_id"] == "r1"
        metrics = update["metrics"]
        assert (metrics["round"], metrics["global_accuracy"], metrics["participants"]) == (0, 0.25, 2)
        assert "global_loss" not in metrics  # nobody told it
        ship_source(
            collector,
            Policy(ts=5.0, type="decision", source="pe", id="d1", result="denied"),
            Log(ts=6.0, component="source lab", event="link_down", message="l1", level="warning", extra={"link": "l1"}),
        )
        event = reader.next("policy_event")["event"]
        assert (event["type"], event["id"], event["result"]) == ("decision", "d1", "denied")
        if "network_alert" not in reader.types():
            reader.next("network_alert")
        (alert,) = [m["alert"] for m in reader.told if m["type"] == "network_alert"]
        assert (alert["type"], alert["severity"], alert["source"], alert["link"]) == ("link_down", "high", "lab", "l1")
        assert reader.types() <= {
            "heartbeat",
            "ack",
            "fl_round_update",
            "client_update",
            "policy_event",
            "network_alert",
        }


def test_the_address_can_name_the_streams(collector: Collector) -> None:
    with opened(collector, "?streams=fl_training,policy_events&run_id=r1") as reader:
        ack = reader.next("ack", "rows", "heartbeat")
        assert (ack["type"], ack["streams"], ack["run_id"]) == ("ack", ["fl_training", "policy_events"], "r1")
        ship_run(collector)
        assert reader.next("client_update")["update"]["client_id"] in ("a", "b")
        assert "rows" not in reader.types()


def test_who_never_subscribes_gets_rows(collector: Collector) -> None:
    with opened(collector, "?run_id=r1") as reader:
        ship_run(collector)
        assert set(reader.next("rows", where=lambda m: "rounds" in m)) >= {"runs", "rounds", "clients"}
        # And no more of them once it does.
        reader.say(action="subscribe", streams=["policy_events"])
        reader.next("ack")
        ship_run(collector, "r2", "j2")
        ship_source(collector, Policy(ts=5.0, type="decision", id="d1"))
        before = len(reader.told)
        reader.next("policy_event")
        assert {m["type"] for m in reader.told[before:]} <= {"policy_event", "heartbeat"}


def test_samples_states_and_system_events(collector: Collector) -> None:
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=["samples", "network_performance", "system_events"], id=7)
        assert reader.next("ack")["id"] == 7
        ship_source(
            collector,
            Topology(ts=1.0, source="lab", devices=[{"id": "d1"}]),
            Sample(ts=2.0, node="d1/1", metrics={"rx_bps": 5.0, "tx_bps": 6.0}),
            SourceState(ts=3.0, source="lab", type="onos", state="up", cursor={"secret": 1}),
            SourceState(ts=3.5, source="lab", type="onos", state="up", cursor={"secret": 2}),
            Log(ts=4.0, component="source lab", event="started", message="hello"),
        )
        collector.post(
            "m1", 0, header("m1", "monitor", "r9", "c1") + lines(Sample(ts=1.0, node="edge", metrics={"cpu_pct": 1.0}))
        )
        wanted = {"d1/1", "edge"}
        while wanted:
            wanted.discard(reader.next("sample")["sample"]["node"])
        reader.say(action="subscribe", streams=["alerts"])
        reader.next("ack")  # by now all of a batch is told
        told = {message["type"]: message for message in reader.told}
        (edge,) = [m for m in reader.told if m["type"] == "sample" and m["sample"]["node"] == "edge"]
        ports = [m["sample"] for m in reader.told if m["type"] == "sample" and m["sample"]["node"] == "d1/1"]
        assert ports == [
            {"node": "d1/1", "ts": 2.0, "metrics": {"rx_bps": 5.0, "tx_bps": 6.0}}
        ]  # once, though in two streams
        assert (edge["run_id"], edge["sample"]["client_id"]) == ("r9", "c1")
        assert told["topology"]["topology"]["devices"] == [{"id": "d1"}]
        (state,) = [m["source"] for m in reader.told if m["type"] == "source_state"]
        assert state == {"ts": 3.0, "source": "lab", "type": "onos", "state": "up"}
        assert "hello" in [m["event"]["message"] for m in reader.told if m["type"] == "system_event"]


def test_unsubscribing_ends_it(collector: Collector) -> None:
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=["fl_training", "policy_events"])
        reader.next("ack")
        reader.say(action="unsubscribe", streams=["fl_training"])
        assert reader.next("ack")["streams"] == ["policy_events"]
        ship_run(collector)
        collector.settled()
        at = ship_source(collector, Policy(ts=5.0, type="decision", id="d1"))
        reader.next("policy_event")
        assert not reader.types() & {"fl_round_update", "client_update"}
        reader.say(action="unsubscribe")
        assert reader.next("ack")["streams"] == []
        ship_source(collector, Policy(ts=6.0, type="decision", id="d2"), at=at)
        before = len(reader.told)
        reader.next("heartbeat")
        assert {m["type"] for m in reader.told[before:]} == {"heartbeat"}


def test_one_run_is_told_and_not_the_other(collector: Collector) -> None:
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=["fl_training", "policy_events"], run_id="r2")
        assert reader.next("ack")["run_id"] == "r2"
        ship_run(collector, "r1", "j1")
        ship_run(collector, "r2", "j2")
        ship_source(collector, Policy(ts=5.0, type="decision", id="d1"))  # of no run: told all the same
        reader.next("fl_round_update")
        if "policy_event" not in reader.types():
            reader.next("policy_event")
        assert {m["run_id"] for m in reader.told if m["type"] == "fl_round_update"} == {"r2"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello", "JSON"),
        ('"subscribe"', "object"),
        ("{}", "action"),
        ('{"action":"dance","streams":["fl_training"]}', "dance"),
        ('{"action":"subscribe"}', "streams"),
        ('{"action":"subscribe","streams":["fl_trainin"]}', "fl_trainin"),
        ('{"action":"subscribe","streams":[1]}', "streams"),
        ('{"action":"subscribe","streams":["alerts"],"runid":"r1"}', "runid"),
        ("[" * 5000, "JSON"),
        (b"\xff\xfe", "JSON"),
    ],
)
def test_what_is_wrong_is_said_and_the_connection_stays(shared: Collector, text: str | bytes, says: str) -> None:
    with opened(shared) as reader:
        reader.say_raw(text)
        error = reader.next("error", "ack")
        assert error["type"] == "error"
        assert says in error["error"]["message"]
        reader.say(action="subscribe", streams=["alerts"])
        assert reader.next("ack")["streams"] == ["alerts"]


def test_a_reader_that_comes_back_misses_nothing(collector: Collector) -> None:
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=["policy_events"])
        reader.next("ack")
        at = ship_source(collector, *(Policy(ts=1.0, type="decision", id=str(n)) for n in range(5)))
        reader.next("policy_event", where=lambda m: m["event"]["id"] == "2")
        token = reader.told[-1]["as_of"]  # it goes away amid what was told at once
    ship_source(collector, *(Policy(ts=2.0, type="decision", id=str(n)) for n in range(5, 10)), at=at)
    collector.settled()
    with opened(collector) as again:
        again.say(action="subscribe", streams=["policy_events"], since=token)
        again.next("policy_event", where=lambda m: m["event"]["id"] == "9")
        ids = [int(m["event"]["id"]) for m in again.told if m["type"] == "policy_event"]
        assert set(range(3, 10)) <= set(ids)
        assert "reset" not in again.types()


def test_another_stores_token_is_told_so(collector: Collector) -> None:
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=["policy_events"], since="another-7")
        reader.next("ack")
        reader.next("reset")
        ship_source(collector, Policy(ts=1.0, type="decision", id="d1"))
        reader.next("policy_event")


def test_more_than_fits_is_counted_and_the_newest_is_told(collector: Collector) -> None:
    token = collector.get("/api/v1/status")["as_of"]
    ship_source(collector, *(Policy(ts=1.0, type="decision", id=str(n)) for n in range(MAX_ITEMS + 50)))
    collector.settled()
    with opened(collector) as reader:
        reader.say(action="subscribe", streams=["policy_events"], since=token)
        reader.next("policy_event", where=lambda m: m["event"]["id"] == str(MAX_ITEMS + 49))
        (skipped,) = [m for m in reader.told if m["type"] == "skipped"]
        assert (skipped["feed"], skipped["num_skipped"]) == ("policy", 50)
        ids = [m["event"]["id"] for m in reader.told if m["type"] == "policy_event"]
        assert ids == [str(n) for n in range(50, MAX_ITEMS + 50)]


def test_a_reader_that_does_not_read_holds_up_nobody(collector: Collector) -> None:
    parts = urlsplit(collector.url)
    stuck = []
    for _ in range(5):
        connection = socket.create_connection((parts.hostname, parts.port or 80))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.sendall(
            b"GET /ws/metrics?streams=policy_events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        stuck.append(connection)
    with opened(collector, "?streams=policy_events") as reader:
        at = 0
        for batch in range(10):
            told = (Policy(ts=1.0, type="decision", id=f"{batch}-{n}", reason="x" * 500) for n in range(500))
            at = ship_source(collector, *told, at=at)
        reader.next("policy_event", where=lambda m: m["event"]["id"] == "9-499")
        assert collector.http.get("/api/v1/runs").status_code == 200
    for connection in stuck:
        connection.close()


def test_a_quiet_subscription_beats(shared: Collector) -> None:
    with opened(shared, "?streams=alerts") as reader:
        reader.next("ack")
        assert reader.next("heartbeat")["as_of"]


def test_the_collectors_end_is_the_streams_end(collector: Collector) -> None:
    with opened(collector, "?streams=alerts") as reader:
        reader.next("ack")
        assert collector.stop() == 0
        with pytest.raises(ConnectionClosed):
            reader.next("nothing")


# ── server-sent events ────────────────────────────────────────────────────────────────────────


def sse(collector: Collector, **params: str) -> Iterator[dict[str, Any]]:
    with (
        httpx.Client(timeout=20, trust_env=False) as client,
        client.stream("GET", f"{collector.url}/api/v1/stream", params=params) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])


def test_server_sent_events_carry_the_same(collector: Collector) -> None:
    messages = sse(collector, streams="fl_training,policy_events")
    assert next(messages)["type"] == "heartbeat"
    ship_source(collector, Policy(ts=5.0, type="decision", id="d1"))
    message = next(m for m in messages if m["type"] != "heartbeat")
    assert (message["type"], message["event"]["id"]) == ("policy_event", "d1")
    messages.close()  # type: ignore[attr-defined]


def test_server_sent_events_of_a_stream_that_there_is_not(shared: Collector) -> None:
    answer = shared.http.get("/api/v1/stream", params={"streams": "weather"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "streams")


# ── access ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Collector]:
    environ = {"FEDSIGHT_OPEN_READS": "0", "FEDSIGHT_CORS_ORIGINS": "https://board.example:3000"}
    with Collector(tmp_path, environ=environ) as running:
        yield running


def test_elsewhere_a_browser_needs_a_ticket_or_its_cookie(guarded: Collector) -> None:
    bearer = {"authorization": f"Bearer {guarded.admin}"}
    with pytest.raises(InvalidStatus), opened(guarded, "?streams=alerts"):
        pass
    ticket = guarded.http.post("/api/v1/ticket", headers=bearer).json()["ticket"]
    with opened(guarded, f"?streams=alerts&ticket={ticket}") as reader:
        reader.next("ack")
    with pytest.raises(InvalidStatus), opened(guarded, f"?streams=alerts&ticket={ticket}"):
        pass
    with opened(guarded, "?streams=alerts", additional_headers=bearer) as reader:
        reader.next("ack")
    cookie = {"cookie": f"fedsight_token={guarded.admin}"}
    with opened(guarded, "?streams=alerts", additional_headers=cookie) as reader:
        reader.next("ack")
    producer = {"authorization": f"Bearer {guarded.token('producer')}"}
    with pytest.raises(InvalidStatus), opened(guarded, additional_headers=producer):
        pass


def test_a_page_that_the_settings_name_may_read_and_no_other(guarded: Collector) -> None:
    bearer = {"authorization": f"Bearer {guarded.admin}"}
    page = {**bearer, "origin": "https://board.example:3000"}
    answer = guarded.http.get("/api/v1/runs", headers=page)
    assert answer.headers["access-control-allow-origin"] == "https://board.example:3000"
    assert "access-control-allow-credentials" not in answer.headers
    asked = {"origin": "https://board.example:3000", "access-control-request-method": "GET"}
    preflight = guarded.http.options("/api/v1/runs", headers=asked)
    assert preflight.status_code == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for origin in ("https://evil.example", "null", "https://board.example:3000.evil.example"):
        answer = guarded.http.get("/api/v1/runs", headers={**bearer, "origin": origin})
        assert "access-control-allow-origin" not in answer.headers
        assert "origin" in answer.headers["vary"]
        asked = {"origin": origin, "access-control-request-method": "GET"}
        assert "access-control-allow-origin" not in guarded.http.options("/api/v1/runs", headers=asked).headers
    with opened(guarded, "?streams=alerts", additional_headers=bearer, origin="https://board.example:3000") as reader:
        reader.next("ack")


def test_by_default_no_page_of_another_origin_reads(shared: Collector) -> None:
    answer = shared.http.get("/api/v1/runs", headers={"origin": "https://board.example:3000"})
    assert "access-control-allow-origin" not in answer.headers
    until(lambda: shared.process.poll() is None, "it runs")
