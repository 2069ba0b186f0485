"""ONOS, replayed: live answers of 1.x and 2.x where there are any."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from collector.sources.replay import FIXTURES, Replay, logged, metrics, nodes, poll, replaying, topology
from fedsight.collector.sources.onos import OnosConfig, OnosSource
from fedsight.collector.sources.source import SourceDown

S3 = "of:0000000000000003"


@pytest.fixture
def controller() -> Iterator[Replay]:
    with replaying() as replay:
        device = json.loads((FIXTURES / "onos/devices.onos2x.live.json").read_text())["devices"][0]
        replay.answer("/onos/v1/devices", {"devices": [device, {**device, "id": S3, "chassisId": "3"}]})
        replay.answer_file("/onos/v1/devices/ports", "onos/device_ports.onos2x.live.json")
        replay.answer_file("/onos/v1/links", "onos/links.onos1x.live.json")
        replay.answer_file("/onos/v1/hosts", "onos/hosts.onos2x.live.json")
        replay.answer_file("/onos/v1/statistics/ports", "onos/statistics_ports.rewrapped.json")
        replay.answer_file("/onos/v1/flows", "onos/flows.onos2x.live.json")
        yield replay


def source(controller: Replay, **options: object) -> OnosSource:
    return OnosSource(OnosConfig(name="onos", url=controller.url, **options))  # type: ignore[arg-type]


def port_statistics(**changed: int) -> dict[str, object]:
    told = json.loads((FIXTURES / "onos/statistics_ports.rewrapped.json").read_text())
    told["statistics"][0]["ports"][0].update(changed)
    return dict(told)


def test_devices_links_hosts_and_flows_are_counted(controller: Replay) -> None:
    events = poll(source(controller))
    whole = metrics(events, "onos")
    assert whole == {
        "devices": 2,
        "devices_down": 0,
        "links": 2,
        "links_down": 0,
        "hosts": 1,
        "flows": 1,
        "high_priority_flows": 1,
        "medium_priority_flows": 0,
        "low_priority_flows": 0,
    }
    assert logged(events) == []


def test_four_directions_are_two_links_and_text_ports_are_the_number_ports(controller: Replay) -> None:
    links = topology(poll(source(controller))).links
    assert [link["id"] for link in links] == [
        "of:0000000000000001/1-of:0000000000000002/1",
        "of:0000000000000001/4-of:000000000000000d/1",
    ]
    assert f"{S3}/1" in nodes(poll(source(controller)))


def test_hosts_say_where_they_are(controller: Replay) -> None:
    (host,) = topology(poll(source(controller))).hosts
    assert host == {
        "id": "00:00:00:00:00:02",
        "mac": "00:00:00:00:00:02",
        "addresses": ["10.0.0.2"],
        "device": "of:0000000000000002",
        "port": "2",
    }


def test_hosts_of_onos_1_are_read_too(controller: Replay) -> None:
    controller.answer_file("/onos/v1/hosts", "onos/hosts.onos1x.live.json")
    assert len(topology(poll(source(controller))).hosts) == 2


def test_an_unsupported_counter_is_absent_not_minus_one(controller: Replay) -> None:
    controller.answer("/onos/v1/devices", {"devices": [{"id": "of:0000cc37ab772c80", "available": True}]})
    controller.answer_file("/onos/v1/statistics/ports", "onos/statistics_ports.unsupported_counter.rewrapped.json")
    port = metrics(poll(source(controller)), "of:0000cc37ab772c80/5")
    assert port["rx_errors"] == 0
    assert "tx_errors" not in port


def test_a_rate_takes_the_devices_whole_seconds(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    controller.answer("/onos/v1/statistics/ports", port_statistics(bytesReceived=457680 + 25_000_000, durationSec=5107))
    events = poll(asked)
    assert metrics(events, f"{S3}/1")["rx_bps"] == 20e6
    assert metrics(events, "onos")["peak_bandwidth_mbps"] == 20


def test_asked_again_before_onos_itself_asked_gives_no_rate(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    assert "rx_bps" not in metrics(poll(asked), f"{S3}/1")


def test_a_switch_that_reconnected_counts_anew_and_gives_no_rate(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    controller.answer("/onos/v1/statistics/ports", port_statistics(bytesReceived=10**12, durationSec=3))
    assert "rx_bps" not in metrics(poll(asked), f"{S3}/1")


def test_a_device_that_is_not_available_is_down_and_its_old_counters_are_not_told(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    controller.answer("/onos/v1/devices", {"devices": [{"id": S3, "available": False}]})
    events = poll(asked)
    assert sorted(logged(events)) == ["device_down", "device_down"]
    assert metrics(events, S3) == {"up": 0}
    assert f"{S3}/1" not in nodes(events)


def test_an_inactive_link_is_down(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    links = json.loads((FIXTURES / "onos/links.onos1x.live.json").read_text())["links"]
    controller.answer("/onos/v1/links", {"links": [{**link, "state": "INACTIVE"} for link in links[:2]] + links[2:]})
    events = poll(asked)
    assert logged(events) == ["link_down"]
    assert metrics(events, "onos")["links"] == 1


def test_the_time_stamps_of_devices_are_no_change_of_topology(controller: Replay) -> None:
    asked = source(controller)
    poll(asked)
    told = json.loads(controller.answers["/onos/v1/devices"])
    told["devices"][0] |= {"lastUpdate": "1791413299999", "humanReadableLastUpdate": "connected 2h0m ago"}
    controller.answer("/onos/v1/devices", told)
    events = poll(asked)
    assert {event.__struct_config__.tag for event in events} == {"sample"}


def test_matches_of_flows_split_the_traffic(controller: Replay) -> None:
    def flow(number: int, sent: int, criteria: list[dict[str, object]]) -> dict[str, object]:
        return {
            "id": str(number),
            "deviceId": S3,
            "priority": 10,
            "bytes": sent,
            "life": 100,
            "state": "ADDED",
            "selector": {"criteria": criteria},
            "treatment": {"instructions": [{"type": "OUTPUT", "port": "1"}]},
        }

    learning = [{"type": "TCP_DST", "tcpPort": 9092}]
    other = [{"type": "IPV4_DST", "ip": "192.0.2.1/32"}]
    site = [{"type": "IPV4_SRC", "ip": "10.0.0.7/32"}]
    asked = source(controller, fl_ports=(9092,), control_addresses=("10.0.0.0/24",))
    controller.answer("/onos/v1/flows", {"flows": [flow(1, 0, learning), flow(2, 0, other), flow(3, 0, site)]})
    poll(asked)
    controller.answer("/onos/v1/flows", {"flows": [flow(1, 700, learning), flow(2, 200, other), flow(3, 100, site)]})
    whole = metrics(poll(asked), "onos")
    assert whole["fl_traffic_percentage"] == pytest.approx(70)
    assert whole["control_traffic_percentage"] == pytest.approx(10)
    assert whole["background_traffic_percentage"] == pytest.approx(20)


def test_only_the_number_of_flows_where_flows_are_not_wanted(controller: Replay) -> None:
    controller.answer("/onos/v1/statistics/flows/activeentries", {"statistics": [{"device": S3, "activeEntries": 12}]})
    events = poll(source(controller, flows=False, flow_table_max=48))
    assert metrics(events, S3) == {"up": 1, "flows": 12, "flow_table_utilization": 0.25}
    assert "/onos/v1/flows" not in controller.asked


@pytest.mark.parametrize("answer", ["<html>401</html>", [], {"devices": 3}, {"devices": [{"id": 1}]}, {"code": 404}])
def test_devices_that_are_none_are_reported(controller: Replay, answer: object) -> None:
    controller.answer("/onos/v1/devices", answer)
    with pytest.raises(SourceDown):
        poll(source(controller))


def test_a_part_of_the_wrong_shape_is_unknown_and_said_once(controller: Replay) -> None:
    controller.answer("/onos/v1/hosts", {"hosts": "many"})
    asked = source(controller)
    events = poll(asked)
    assert logged(events) == ["part_unknown"]
    assert "hosts" not in metrics(events, "onos")
    controller.answer("/onos/v1/hosts", {"hosts": []})
    events = poll(asked)
    assert logged(events) == ["part_known"]
    assert metrics(events, "onos")["hosts"] == 0


def test_the_path_may_stand_in_the_url(controller: Replay) -> None:
    poll(OnosSource(OnosConfig(name="onos", url=f"{controller.url}/onos/v1/")))
    assert "/onos/v1/devices" in controller.asked
