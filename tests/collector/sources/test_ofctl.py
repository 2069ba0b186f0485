"""Ryu and os-ken, replayed as captured from os-ken 1.4.1 over Open vSwitch 3.1."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from collector.sources.replay import FIXTURES, Replay, logged, metrics, nodes, poll, replaying, topologies, topology
from fedsight.collector.sources.ofctl import OfctlConfig, OfctlSource
from fedsight.collector.sources.source import SourceDown

S1 = "of:0000000000000001"
S2 = "of:0000000000000002"


@pytest.fixture
def controller() -> Iterator[Replay]:
    """Switches 1 and 2, with links and hosts."""
    with replaying() as replay:
        replay.answer("/stats/switches", [1, 2])
        for what in ("desc", "portdesc"):
            told = json.loads((FIXTURES / f"osken/{what}_1.json").read_text())["1"]
            for dpid in ("1", "2"):
                replay.answer(f"/stats/{what}/{dpid}", {dpid: told})
        for dpid in ("1", "2"):
            replay.answer_file(f"/stats/port/{dpid}", f"osken/port_{dpid}.json")
            replay.answer_file(f"/stats/flow/{dpid}", f"osken/flow_{dpid}.json")
        links = json.loads((FIXTURES / "osken/topology_links.json").read_text())
        replay.answer("/v1.0/topology/links", [link for link in links if "0000000000000003" not in str(link)])
        replay.answer_file("/v1.0/topology/hosts", "osken/topology_hosts.json")
        yield replay


def source(controller: Replay, **options: object) -> OfctlSource:
    return OfctlSource(OfctlConfig(name="sdn", url=controller.url, **options))  # type: ignore[arg-type]


def test_the_two_directions_of_a_link_are_one_link_between_named_ports(controller: Replay) -> None:
    seen = topology(poll(source(controller)))
    assert [device["id"] for device in seen.devices] == [S1, S2]
    assert seen.devices[0]["software"] == "3.1.0"
    assert seen.links == [
        {
            "id": f"{S1}/11-{S2}/11",
            "src": {"device": S1, "port": "11"},
            "dst": {"device": S2, "port": "11"},
            "up": True,
        }
    ]
    assert {"id": "02:00:00:00:00:01", "mac": "02:00:00:00:00:01", "device": S1, "port": "1"}.items() <= seen.hosts[
        0
    ].items()
    assert "::" not in seen.hosts[0]["addresses"]


def test_switches_are_asked_for_in_decimal(controller: Replay) -> None:
    poll(source(controller))
    assert "/stats/port/1" in controller.asked


def test_counters_that_a_patch_port_does_not_keep_are_absent(controller: Replay) -> None:
    patch = metrics(poll(source(controller)), f"{S1}/11")
    assert patch["network.io{direction=receive}"] == 2662
    assert "rx_errors" not in patch
    assert "rx_dropped" not in patch
    assert "speed_bps" not in patch


def test_rates_come_from_the_second_poll_on_by_the_switchs_own_clock(controller: Replay) -> None:
    asked = source(controller)
    controller.answer_file("/stats/port/1", "osken/port_1_1_before.json")
    first = metrics(poll(asked), f"{S1}/1")
    assert "rx_bps" not in first
    controller.answer_file("/stats/port/1", "osken/port_1_1_after.json")
    events = poll(asked)
    port = metrics(events, f"{S1}/1")
    assert port["rx_bps"] / 1e6 == pytest.approx(20.76, abs=0.01)
    assert port["utilization"] == pytest.approx(20.76e6 / 10e9, rel=0.01)
    assert port["interval_sec"] == pytest.approx(5.072)
    assert port["rx_errors_per_sec"] == 0
    assert metrics(events, "sdn")["peak_bandwidth_mbps"] == pytest.approx(20.76, abs=0.01)


def test_a_reset_gives_no_rate(controller: Replay) -> None:
    asked = source(controller)
    controller.answer_file("/stats/port/1", "osken/port_1_1_after.json")
    poll(asked)
    controller.answer_file("/stats/port/1", "osken/port_1_1_before.json")
    assert "rx_bps" not in metrics(poll(asked), f"{S1}/1")


def test_the_whole_is_counted_and_nothing_is_invented(controller: Replay) -> None:
    whole = metrics(poll(source(controller)), "sdn")
    assert whole["devices"] == 2
    assert whole["links"] == 1
    assert whole["hosts"] == 3
    assert whole["flows"] == 6 + 8
    assert (
        not {"average_latency_ms", "packet_loss_rate", "flow_table_utilization", "peak_bandwidth_mbps"} & whole.keys()
    )
    assert not [name for name in whole if "traffic" in name]


def test_flow_table_use_is_told_where_the_size_is_known(controller: Replay) -> None:
    events = poll(source(controller, flow_table_max=100))
    assert metrics(events, S1)["flow_table_utilization"] == 0.06
    assert metrics(events, "sdn")["flow_table_utilization"] == 14 / 200


def test_flows_are_classed_by_priority(controller: Replay) -> None:
    whole = metrics(poll(source(controller, high_priority_from=60000, medium_priority_from=1)), "sdn")
    assert whole["high_priority_flows"] == 2
    assert whole["low_priority_flows"] == 2
    assert whole["medium_priority_flows"] == 10


def test_traffic_is_split_by_the_bytes_that_flows_counted_since_the_last_poll(controller: Replay) -> None:
    asked = source(controller, fl_addresses=("02:00:00:00:00:03",))
    before = json.loads((FIXTURES / "osken/flow_1.json").read_text())
    assert "fl_traffic_percentage" not in metrics(poll(asked), "sdn")
    for flow in before["1"]:
        if "02:00:00:00:00:03" in flow["match"].values():
            flow["byte_count"] += 150
        elif flow["actions"] == ["OUTPUT:CONTROLLER"]:
            flow["byte_count"] += 100
        else:
            flow["byte_count"] += 250
    controller.answer("/stats/flow/1", before)
    whole = metrics(poll(asked), "sdn")
    # Two flows of host 3, two to the controller, two between the others.
    assert whole["fl_traffic_percentage"] == pytest.approx(30)
    assert whole["control_traffic_percentage"] == pytest.approx(20)
    assert whole["background_traffic_percentage"] == pytest.approx(50)


def test_a_topology_is_told_once_until_it_changes(controller: Replay) -> None:
    asked = source(controller)
    assert len(topologies(poll(asked))) == 1
    assert topologies(poll(asked)) == []


def test_a_link_that_is_no_longer_listed_is_down_and_comes_back(controller: Replay) -> None:
    asked = source(controller)
    links = controller.answers["/v1.0/topology/links"]
    poll(asked)
    controller.answer("/v1.0/topology/links", [])
    events = poll(asked)
    assert logged(events) == ["link_down"]
    assert [link["up"] for link in topology(events).links] == [False]
    assert metrics(events, "sdn")["links"] == 0
    assert metrics(events, "sdn")["links_down"] == 1
    controller.answers["/v1.0/topology/links"] = links
    events = poll(asked)
    assert logged(events) == ["link_up"]
    assert [link["up"] for link in topology(events).links] == [True]


def test_a_port_that_goes_down_takes_its_link_with_it(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    told = json.loads(controller.answers["/stats/portdesc/1"])
    told["1"][0]["state"] = 1
    controller.answer("/stats/portdesc/1", told)
    events = poll(asked)
    assert sorted(logged(events)) == ["link_down", "port_down"]
    assert metrics(events, f"{S1}/11")["up"] == 0


def test_a_port_that_went_down_while_it_could_not_be_asked_for_is_told_later(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    told = json.loads(controller.answers.pop("/stats/portdesc/1"))
    assert logged(poll(asked)) == ["part_unknown"]
    told["1"][1]["state"] = 1
    controller.answer("/stats/portdesc/1", told)
    assert sorted(logged(poll(asked))) == ["part_known", "port_down"]


def test_a_switch_that_has_gone_is_down_and_comes_back(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    controller.answer("/stats/switches", [1])
    events = poll(asked)
    assert logged(events) == ["device_down"]
    assert metrics(events, S2) == {"up": 0}
    assert not [node for node in nodes(events) if node.startswith(f"{S2}/")]
    assert metrics(events, "sdn")["devices"] == 1
    controller.answer("/stats/switches", [1, 2])
    assert logged(poll(asked)) == ["device_up"]


def test_without_rest_topology_links_are_unknown_and_that_is_said_once(controller: Replay) -> None:
    del controller.answers["/v1.0/topology/links"], controller.answers["/v1.0/topology/hosts"]
    asked = source(controller)
    events = poll(asked)
    assert logged(events) == ["part_unknown", "part_unknown"]
    assert not {"links", "hosts"} & metrics(events, "sdn").keys()
    assert logged(poll(asked)) == []


def test_links_that_could_not_be_asked_for_are_not_down(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    del controller.answers["/v1.0/topology/links"]
    events = poll(asked)
    assert logged(events) == ["part_unknown"]
    assert topologies(events) == []


def test_a_switch_that_does_not_answer_costs_only_itself(controller: Replay) -> None:
    asked = source(controller)
    for what in ("desc", "port", "portdesc", "flow"):
        del controller.answers[f"/stats/{what}/2"]
    events = poll(asked)
    assert f"{S1}/1" in nodes(events)
    assert metrics(events, "sdn")["flows"] == 6


@pytest.mark.parametrize("answer", ["", "<html>", {"a": 1}, ["one"], [None]])
def test_a_list_of_switches_that_is_none_is_reported(controller: Replay, answer: object) -> None:
    controller.answer("/stats/switches", answer)
    with pytest.raises(SourceDown):
        poll(source(controller))


def test_without_flows_only_their_number_is_asked_for(controller: Replay) -> None:
    controller.answer("/stats/switches", [1])
    controller.answer_file("/stats/aggregateflow/1", "osken/aggregateflow_1.json")
    whole = metrics(poll(source(controller, flows=False)), "sdn")
    assert whole["flows"] == 6
    assert "high_priority_flows" not in whole
    assert "/stats/flow/1" not in controller.asked


def test_a_limit_that_can_not_be_meant_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="fl_addresses: 'here'"):
        OfctlConfig(name="sdn", url="http://x", fl_addresses=("here",))
    with pytest.raises(ValueError, match="control_ports: 70000"):
        OfctlConfig(name="sdn", url="http://x", control_ports=(70000,))
