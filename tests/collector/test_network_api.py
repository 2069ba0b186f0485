"""Networks over HTTP: what sources measured, and nothing that nobody did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.harness import Collector, header, lines
from fedsight.collector.producer import journal_id
from fedsight.events import Event, Sample, Topology

DEVICES = [{"id": "of:1", "up": True}, {"id": "of:2", "up": True}]
LINK = {"id": "l1", "src": {"device": "of:1", "port": "1"}, "dst": {"device": "of:2", "port": "1"}, "up": True}
HOST = {"id": "h1"}


def source_header(name: str) -> bytes:
    return header(journal_id("source", f"source {name}"), "source", run_id=None)


def tell(collector: Collector, name: str, *events: Event) -> None:
    answer = collector.post(journal_id("source", f"source {name}"), 0, source_header(name) + lines(*events))
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """Two sources that watch the same two switches; one of them sees links, hosts and flows as well."""
    now = time.time()
    whole = {"devices": 2.0, "links": 1.0, "hosts": 1.0, "flows": 9.0, "flow_table_utilization": 0.65}
    shares = {"fl_traffic_percentage": 70.0, "control_traffic_percentage": 20.0, "background_traffic_percentage": 10.0}
    classes = {"high_priority_flows": 2.0, "medium_priority_flows": 3.0, "low_priority_flows": 4.0}
    with Collector(tmp_path_factory.mktemp("network")) as running:
        tell(
            running,
            "lab",
            Topology(ts=now - 7300, source="lab", devices=DEVICES, links=[], hosts=[HOST]),
            Topology(ts=now - 7200, source="lab", devices=DEVICES, links=[LINK], hosts=[HOST]),
            # The collector was started anew: the same once more.
            Topology(ts=now - 30, source="lab", devices=DEVICES, links=[LINK], hosts=[HOST]),
            Sample(ts=now - 4000, node="lab", metrics={"peak_bandwidth_mbps": 900.0, "latency_ms": 500.0}),
            Sample(ts=now - 20, node="lab", metrics={**whole, "peak_bandwidth_mbps": 20.0, **shares}),
            Sample(ts=now - 10, node="lab", metrics={**whole, "peak_bandwidth_mbps": 10.0, **classes, "flows": 8.0}),
            Sample(ts=now - 10, node="of:1/1", metrics={"rx_bps": 1e7}),
        )
        tell(
            running,
            "switches",
            Topology(
                ts=now - 60,
                source="switches",
                devices=[DEVICES[0], {"id": "of:2", "up": False}, {"id": "of:3", "up": False}],
            ),
            Sample(ts=now - 15, node="a-server", metrics={"latency_ms": 20.0, "packet_loss_rate": 0.0}),
            Sample(ts=now - 5, node="a-server", metrics={"latency_ms": 30.0, "packet_loss_rate": 0.5}),
        )
        running.settled()
        yield running


def test_figures_of_the_last_hour(collector: Collector) -> None:
    found = collector.get("/api/v1/network/metrics")
    assert found["timeframe"] == "1h"
    assert found["performance"] == {
        "average_latency_ms": 25.0,
        "peak_bandwidth_mbps": 20.0,
        "packet_loss_rate": 0.25,
        "flow_table_utilization": 0.65,
    }
    assert found["traffic_analysis"]["fl_traffic_percentage"] == 70.0
    assert found["qos_metrics"] == {
        "high_priority_flows": 2,
        "medium_priority_flows": 3,
        "low_priority_flows": 4,
        "priority_violations": None,
    }


def test_what_two_sources_see_counts_once(collector: Collector) -> None:
    counts = collector.get("/api/v1/network/metrics")["topology"]
    assert {name: counts[name] for name in ("devices", "devices_down", "links", "links_down", "hosts")} == {
        "devices": 2,
        "devices_down": 1,
        "links": 1,
        "links_down": 0,
        "hosts": 1,
    }


def test_one_source_alone_and_null_where_it_measured_nothing(collector: Collector) -> None:
    found = collector.get("/api/v1/network/metrics", source="switches")
    assert found["performance"]["peak_bandwidth_mbps"] is None
    assert found["performance"]["average_latency_ms"] == 25.0
    assert set(found["traffic_analysis"].values()) == {None}
    assert set(found["qos_metrics"].values()) == {None}
    assert (found["topology"]["links"], found["topology"]["hosts"], found["topology"]["devices"]) == (None, None, 1)
    lab = collector.get("/api/v1/network/metrics", source="lab")
    assert lab["performance"]["average_latency_ms"] is None


def test_a_longer_time_frame_reaches_further_back(collector: Collector) -> None:
    found = collector.get("/api/v1/network/metrics", timeframe="2h")["performance"]
    assert found["peak_bandwidth_mbps"] == 900.0
    assert found["average_latency_ms"] == pytest.approx(550 / 3)


def test_telling_the_same_again_is_no_change(collector: Collector) -> None:
    (lab, switches) = collector.get("/api/v1/network/topology")["topologies"]
    assert (lab["source"], switches["source"]) == ("lab", "switches")
    assert lab["ts"] - lab["last_change"] == pytest.approx(7170)
    assert (lab["devices"], lab["links"], lab["hosts"]) == (DEVICES, [LINK], [HOST])


def test_the_topology_as_it_was(collector: Collector) -> None:
    found = collector.get("/api/v1/network/topology", at=time.time() - 7250)["topologies"]
    assert [(network["source"], network["links"]) for network in found] == [("lab", [])]
    assert collector.get("/api/v1/network/topology", at="2000-01-01T00:00:00Z")["topologies"] == []


def test_topologies_are_paged(collector: Collector) -> None:
    first = collector.get("/api/v1/network/topology", limit=1)
    assert [network["source"] for network in first["topologies"]] == ["lab"]
    second = collector.get("/api/v1/network/topology", limit=1, cursor=first["next"])
    assert ([network["source"] for network in second["topologies"]], second["next"]) == (["switches"], None)


def test_ports_over_time_are_samples_of_a_node(collector: Collector) -> None:
    assert collector.get("/api/v1/samples", node="of:1/1", metric="rx_bps")["columns"]["rx_bps"] == [1e7]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/api/v1/network/metrics", {"timeframe": "1 hour"}),
        ("/api/v1/network/topology", {"at": "2025-01-16T10:00:00"}),
        ("/api/v1/network/topology", {"cursor": "x"}),
    ],
)
def test_what_is_wrong_is_named(collector: Collector, path: str, params: dict[str, Any]) -> None:
    answer = collector.http.get(path, params=params)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, next(iter(params)))


def test_without_any_source_nothing_is_known(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        found = collector.get("/api/v1/network/metrics")
        for part in ("topology", "performance", "traffic_analysis", "qos_metrics"):
            assert set(found[part].values()) == {None}
        assert collector.get("/api/v1/network/topology")["topologies"] == []
