"""Policy events and system events over HTTP: of all runs, filtered, paged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from collector.harness import Collector, header, lines, run_start
from fedsight.events import Log, Policy, SourceState


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A policy engine that told of seven decisions, a violation and a trust score; and systems that said things."""
    with Collector(tmp_path_factory.mktemp("policy")) as running:
        told = lines(
            *(
                Policy(ts=100.0 + n, type="decision", source="pe", id=str(n), component="fl", result="allowed")
                for n in range(7)
            ),
            Policy(ts=200.0, type="violation", source="pe", id="v1", policy_id="p1", action="send", result="denied"),
            Policy(ts=300.0, type="trust_score", source="pe", client_id="c1", trust_score=math.nan, metrics={"n": 3.0}),
            SourceState(ts=88.0, source="pe", type="policy", state="up", cursor={"id": 6}),
            SourceState(ts=89.0, source="pe", type="policy", state="up", cursor={"id": 7}),
            SourceState(ts=90.0, source="pe", type="policy", state="down", error="refused", cursor={"id": 7}),
            Log(ts=91.0, component="source pe", event="restarted", message="it restarted", level="warning"),
        )
        assert running.post("s1", 0, header("s1", "source", run_id=None) + told).status_code == 200
        running.post("j1", 0, header() + run_start() + lines(Policy(ts=400.0, type="decision", id="of-run")))
        running.settled()
        yield running


def policy(collector: Collector, **params: Any) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = collector.get("/api/v1/policy/events", **params)["columns"]
    return columns


def test_policy_events_newest_first_and_of_all_runs(collector: Collector) -> None:
    found = policy(collector)
    assert found["id"] == ["of-run", None, "v1", "6", "5", "4", "3", "2", "1", "0"]
    assert found["run_id"][:2] == ["r1", None]
    assert found["trust_score"][1] == "NaN"
    assert found["metrics"][1] == {"n": 3.0}
    assert found["client_id"][1] == "c1"


@pytest.mark.parametrize(
    ("params", "ids"),
    [
        ({"type": "violation"}, ["v1"]),
        ({"result": "denied"}, ["v1"]),
        ({"policy_id": "p1", "type": "decision"}, []),
        ({"client_id": "c1"}, [None]),
        ({"run_id": "r1"}, ["of-run"]),
        ({"source": "pe", "from": 105, "to": "1970-01-01T00:03:20Z"}, ["v1", "6", "5"]),
        ({"type": "'; DROP TABLE events; --"}, []),
    ],
)
def test_only_what_is_asked_for(collector: Collector, params: dict[str, Any], ids: list[str | None]) -> None:
    assert policy(collector, **params)["id"] == ids


def test_pages_neither_skip_nor_repeat(collector: Collector) -> None:
    seen, cursor = [], None
    while True:
        page = collector.get("/api/v1/policy/events", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += page["columns"]["id"]
        if not (cursor := page["next"]):
            break
    assert seen == policy(collector)["id"]


def test_what_systems_said_and_how_sources_do(collector: Collector) -> None:
    found = collector.get("/api/v1/system/events", to=95)["columns"]
    assert found["kind"] == ["log", "source_state", "source_state"]
    assert found["component"] == ["source pe", "pe", "pe"]
    assert found["event"] == ["restarted", "down", "up"]  # that it was still up is no news
    assert found["level"] == ["warning", "error", "info"]
    assert found["message"] == ["it restarted", "refused", None]
    assert found["ts"][2] == 88.0
    assert "cursor" not in str(found)


def test_system_events_of_one_kind_component_and_level(collector: Collector) -> None:
    for params in ({"kind": "log"}, {"component": "source pe"}, {"level": "warning"}, {"event": "restarted"}):
        assert collector.get("/api/v1/system/events", to=95, **params)["columns"]["event"] == ["restarted"]
    assert collector.get("/api/v1/system/events", source="pe")["columns"]["event"] == ["down", "up"]


@pytest.mark.parametrize("path", ["/api/v1/policy/events", "/api/v1/system/events", "/api/v1/runs/r1/events"])
def test_a_time_without_its_zone_is_refused(collector: Collector, path: str) -> None:
    answer = collector.http.get(path, params={"from": "1970-01-01T00:00:00"})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "from"
    assert "time zone" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 10_001}, {"cursor": "x"}, {"level": "loud"}, {"kind": "edit"}]
)
def test_what_is_wrong_is_named(collector: Collector, params: dict[str, Any]) -> None:
    answer = collector.http.get("/api/v1/system/events", params=params)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, next(iter(params)))
