"""HiveWatch's routes: what its viewers and scripts ask for is answered, and nothing else is given away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.harness import Collector, Process, a_round, a_run, header, lines, run_end, run_start, until
from fedsight.events import Checkpoint, ClientEvent, ClientUpdate, Log, Metric, RoundEnd, RoundStart, ServerInfo
from fedsight.map import build_map_metadata_from_events

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path) as running:
        yield running


def a_full_run(run_id: str = "r1") -> bytes:
    """Everything that HiveWatch has a shape for, and some that it has none for."""
    return (
        header("full", run_id=run_id)
        + run_start(run_id)
        + lines(
            ServerInfo(ts=1.5, lat=48.1, city="Munich", metrics={"cores": 8}, extra={"org": "lab"}),
            RoundStart(ts=2.0, round=0, selected=["a", "b"]),
            ClientUpdate(ts=2.1, client_id="a", round=0, local_accuracy=0.5, gradient_norm=1.0, bytes_sent=1000.0),
            ClientUpdate(
                ts=2.2, client_id="b", round=0, local_loss=float("nan"), gradient_norm=3.0, metrics={"battery_pct": 80}
            ),
            Metric(ts=2.25, key="loss", value=1.0, step=1),
            ClientEvent(ts=2.3, client_id="b", event="dropout", round=0, reason="battery"),
            ClientEvent(ts=2.4, client_id="c", event="comm_failure", round=0, reason="timeout"),
            RoundEnd(ts=2.5, round=0, global_accuracy=0.5, round_duration_sec=0.5),
            Checkpoint(ts=2.6, path="m.pt", round=0),
            Checkpoint(ts=2.7, path="m.pt", round=0, sha256="ab"),
            Log(ts=2.8, component="x", event="y", message="z"),
            ClientUpdate(ts=2.9, client_id="a", round=None, local_accuracy=0.6),
        )
        + run_end()
    )


def test_a_run_is_told_in_hivewatchs_eight_shapes(collector: Collector) -> None:
    collector.post("full", 0, a_full_run())
    collector.settled()
    events = collector.get("/runs/r1/events")
    assert [event["event_type"] for event in events] == [
        "init", "server_metadata", "client_update", "client_update", "client_dropout", "comm_failure", "checkpoint",
        "round_end", "client_update", "finished",
    ]  # fmt: skip
    init, server, first, second, dropout, failure, checkpoint, end, without_round, finished = events
    assert {event["run_id"] for event in events} == {"r1"}
    assert init["started_at"] == "1970-01-01T00:00:01+00:00"
    assert server["server"] == {"lat": 48.1, "city": "Munich", "cores": 8, "org": "lab"}
    assert (first["round"], first["timestamp"]) == (0, "1970-01-01T00:00:02.100000+00:00")
    assert first["clients"] == [
        {
            "client_id": "a",
            "round": 0,
            "local_accuracy": 0.5,
            "gradient_norm": 1.0,
            "bytes_sent": 1000,
            "status": "active",
        }
    ]
    assert second["clients"][0]["local_loss"] == "NaN"
    assert second["clients"][0]["battery_pct"] == 80
    assert dropout["clients"] == [{"client_id": "b", "status": "dropped"}]
    assert (dropout["reason"], failure["client_id"], failure["reason"]) == ("battery", "c", "timeout")
    assert (checkpoint["path"], checkpoint["round"]) == ("m.pt", 0)
    assert end["round_metrics"]["global_accuracy"] == 0.5
    assert end["round_metrics"]["num_selected"] == 2
    assert end["clients"] == [*first["clients"], *second["clients"]]
    assert without_round["round"] is None
    assert finished["timestamp"] == "1970-01-01T00:16:40+00:00"


def test_the_metadata_is_what_its_events_add_up_to(collector: Collector) -> None:
    collector.post("full", 0, a_full_run())
    collector.settled()
    told = collector.get("/runs/r1/metadata")
    assert told == build_map_metadata_from_events(collector.get("/runs/r1/events"))
    (round_,) = told["rounds"]
    statuses = [(client["client_id"], client["status"]) for client in round_["clients"]]
    assert statuses == [("a", "active"), ("b", "dropped"), ("c", "failed")]
    assert round_["dispersion"] == round_["divergence"] == pytest.approx(2**0.5)


def test_the_list_of_runs(collector: Collector) -> None:
    collector.post("full", 0, a_full_run())
    collector.settled()
    assert collector.get("/runs") == [
        {
            "run_id": "r1", "algorithm": None, "started_at": "1970-01-01T00:00:01+00:00", "num_events": 13,
            "file": "r1.jsonl", "metadata_file": "r1.map.json", "has_metadata": True,
        }
    ]  # fmt: skip


def test_health_is_ok_in_words_and_in_json(collector: Collector) -> None:
    assert collector.http.get("/health").text == "ok"
    assert collector.http.get("/health", headers={"accept": "application/json"}).json()["status"] == "healthy"


def test_a_browser_that_opens_a_page_gets_the_dashboard(collector: Collector) -> None:
    collector.post("full", 0, a_full_run())
    collector.settled()
    for path in ("/runs", "/runs/r1", "/runs/r1/events", "/runs/r1/clients/a"):
        assert collector.http.get(path, headers=BROWSER).headers["content-type"].startswith("text/html"), path
    answer = collector.http.get("/runs", headers={"accept": "application/json, text/html;q=0.5"})
    assert answer.headers["content-type"] == "application/json"
    assert collector.http.get("/health", headers=BROWSER).text == "ok"


def test_ids_are_percent_decoded_and_paths_lead_nowhere_else(collector: Collector) -> None:
    collector.post("full", 0, a_full_run("a/b ä"))
    collector.settled()
    assert collector.get("/runs/a%2Fb%20%C3%A4/events")[0]["run_id"] == "a/b ä"
    for path in ("..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "%FF", "nothing"):
        answer = collector.http.get(f"/runs/{path}/events")
        assert answer.status_code in (400, 404), path
        assert answer.json()["error"]["field"] == "run_id"


def test_they_follow_the_apis_rules_of_access(tmp_path: Path) -> None:
    with Collector(tmp_path, environ={"FEDSIGHT_OPEN_READS": "0"}) as guarded:
        guarded.post("full", 0, a_full_run())
        viewer = {"authorization": f"Bearer {guarded.token('viewer')}"}
        until(lambda: guarded.http.get("/runs/r1/events", headers=viewer).status_code == 200, "the run")
        for path in ("/runs", "/runs/r1/metadata", "/runs/r1/events", "/stream", "/health"):
            assert guarded.http.get(path).status_code == 401, path
            producer = {"authorization": f"Bearer {guarded.token('producer')}"}
            assert guarded.http.get(path, headers=producer).status_code == 403, path
        answer = guarded.http.get("/runs", headers=viewer)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


# ── /stream ───────────────────────────────────────────────────────────────────────────────────


class Feed:
    """Events of `/stream` as they come, read in a thread."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: list[str] = []

    def kinds(self) -> list[str]:
        return [event["event_type"] for event in self.events]

    def map(self) -> dict[str, Any]:
        return build_map_metadata_from_events(self.events)


@contextmanager
def stream(server: Process, headers: dict[str, str] | None = None, **params: str) -> Iterator[Feed]:
    feed = Feed()
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        client.stream("GET", f"{server.url}/stream", params=params, headers=headers) as answer,
    ):
        assert answer.status_code == 200

        def read() -> None:
            try:
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "data":
                        feed.events.append(json.loads(value))
                    elif name == "id":
                        feed.ids.append(value)
            except (httpx.HTTPError, httpx.StreamError, OSError):
                pass  # it was closed below

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        yield feed
        server_side = answer.extensions["network_stream"].get_extra_info("socket")
        server_side.shutdown(2)
        thread.join(10)


def accuracies(told: dict[str, Any]) -> list[float | None]:
    return [round_["globalAcc"] for round_ in told["rounds"]]


def test_a_late_reader_hears_a_run_from_its_beginning_and_on(collector: Collector) -> None:
    body = header() + run_start() + a_round(0, "a", "b", accuracy=0.1) + a_round(1, "a", "b", accuracy=0.2)
    collector.post("j1", 0, body)
    collector.settled()
    with stream(collector) as feed:
        until(lambda: accuracies(feed.map()) == [0.1, 0.2], "what was before")
        assert feed.kinds()[:2] == ["connected", "init"]
        assert (feed.events[1]["run_id"], feed.events[1]["mode"]) == ("r1", "live")
        more = a_round(2, "a", "b", accuracy=0.3) + run_end()
        collector.post("j1", len(body), more)
        until(lambda: "finished" in feed.kinds(), "the end")
        until(lambda: accuracies(feed.map()) == [0.1, 0.2, 0.3], "the last round")
        clients = [[client["client_id"] for client in round_["clients"]] for round_ in feed.map()["rounds"]]
        assert clients == [["a", "b"]] * 3


def test_updates_are_told_before_their_round_ends(collector: Collector) -> None:
    body = header() + run_start() + lines(RoundStart(ts=1.0, round=0))
    collector.post("j1", 0, body)
    with stream(collector, run_id="r1") as feed:
        until(lambda: "init" in feed.kinds(), "the beginning")
        collector.post("j1", len(body), lines(ClientUpdate(ts=2.0, client_id="a", round=0, local_accuracy=0.7)))
        until(lambda: "client_update" in feed.kinds(), "the update")
        assert feed.map()["rounds"][0]["clients"][0]["local_accuracy"] == 0.7
        assert "round_end" not in feed.kinds()


def test_who_comes_back_hears_what_was_missed_and_no_more(collector: Collector) -> None:
    body = header() + run_start() + a_round(0, "a", accuracy=0.1)
    collector.post("j1", 0, body)
    collector.settled()
    with stream(collector, run_id="r1") as feed:
        until(lambda: "round_end" in feed.kinds() and feed.ids, "the first round")
        # Its roll-up may come a moment after it.
        until(lambda: feed.ids[-1] == collector.get("/api/v1/status")["as_of"], "all of it")
    collector.post("j1", len(body), a_round(1, "a", accuracy=0.2))
    with stream(collector, {"last-event-id": feed.ids[-1]}, run_id="r1") as again:
        until(lambda: "round_end" in again.kinds(), "the second round")
        assert again.kinds()[0] == "connected"
        assert "init" not in again.kinds()
        assert {event["round"] for event in again.events if "round" in event} == {1}


def test_a_token_of_another_store_begins_anew(collector: Collector) -> None:
    collector.post("j1", 0, a_run())
    collector.settled()
    with stream(collector, {"last-event-id": "gone-7"}, run_id="r1") as feed:
        until(lambda: len(feed.map()["rounds"]) == 3, "the whole run")
        assert feed.kinds()[:2] == ["connected", "init"]


def test_a_reader_who_is_there_before_any_run_hears_the_first_one(collector: Collector) -> None:
    with stream(collector) as feed:
        until(lambda: feed.kinds() == ["connected"], "the connection")
        collector.post("j1", 0, a_run())
        until(lambda: len(feed.map()["rounds"]) == 3, "the run")
        assert feed.map()["run_id"] == "r1"


def test_after_a_run_that_is_over_the_next_one_is_told(collector: Collector) -> None:
    collector.post("j1", 0, a_run())
    collector.settled()
    with stream(collector) as feed, stream(collector, run_id="r1") as stays:
        until(lambda: "finished" in feed.kinds() and "finished" in stays.kinds(), "the first run")
        collector.post("j2", 0, header("j2", run_id="r2") + run_start("r2", ts=2000.0) + a_round(0, "a"))
        until(lambda: feed.kinds().count("init") == 2, "the second run")
        until(lambda: any(e["event_type"] == "round_end" and e["run_id"] == "r2" for e in feed.events), "its round")
        assert {event.get("run_id", "r1") for event in stays.events} == {"r1"}


def test_two_runs_are_never_mixed(collector: Collector) -> None:
    collector.post("j1", 0, header() + run_start() + a_round(0, "a"))
    collector.post("j2", 0, header("j2", run_id="r2") + run_start("r2") + a_round(0, "b"))
    collector.settled()
    with stream(collector, run_id="r2") as feed:
        until(lambda: "round_end" in feed.kinds(), "the round")
        assert {event["run_id"] for event in feed.events[1:]} == {"r2"}
