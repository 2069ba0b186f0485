"""The network sources on real networks: Open vSwitch under os-ken, Open vSwitch alone, Open vSwitch under Faucet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import pytest

from collector.harness import until
from collector.sources.real_network import (
    FAUCET,
    OSKEN,
    OSKEN_MANAGER,
    RealNetwork,
    free_port,
    real_network,
    venv,
    within_polls,
)
from collector.sources.replay import logged, metrics, nodes, poll, topology
from fedsight.collector.sources.ofctl import OfctlConfig, OfctlSource
from fedsight.collector.sources.openmetrics import PrometheusConfig, PrometheusSource
from fedsight.collector.sources.ovs import OvsConfig, OvsSource
from fedsight.collector.sources.source import Source, SourceDown
from fedsight.events import Event

# The first run makes two virtual environments.
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(400)]

S1, S2, S3, S4 = (f"of:{number:016x}" for number in (1, 2, 3, 4))

RECEIVED = "network.io{direction=receive}"


class Line:
    """Three switches in a line, a host on each, under os-ken."""

    def __init__(self, network: RealNetwork) -> None:
        self.network = network
        openflow, rest = free_port(), free_port()
        self.controller = f"tcp:127.0.0.1:{openflow}"
        self.url = f"http://127.0.0.1:{rest}"
        apps = ("simple_switch_13", "ofctl_rest", "rest_topology")
        manager = network.folder / "manager.py"
        manager.write_text(OSKEN_MANAGER)
        network.start(
            str(venv("osken-1.4.1", OSKEN) / "python"), str(manager), "--ofp-listen-host", "127.0.0.1",
            "--ofp-tcp-listen-port", str(openflow), "--wsapi-host", "127.0.0.1", "--wsapi-port", str(rest),
            "--observe-links", *(f"os_ken.app.{app}" for app in apps),
        )  # fmt: skip
        for number in (1, 2, 3):
            network.add_bridge(number, self.controller)
            network.add_host(number, bridge=number, port=1)
        network.connect_bridges(1, 2, (11, 11))
        network.connect_bridges(2, 3, (12, 11))

    def ofctl(self, **options: object) -> OfctlSource:
        return OfctlSource(OfctlConfig(name="sdn", url=self.url, **options))  # type: ignore[arg-type]

    def ovs(self, **options: object) -> OvsSource:
        return OvsSource(OvsConfig(name="ovs", url=self.network.db, **options))  # type: ignore[arg-type]


def try_poll(source: Source) -> list[Event]:
    """A poll while the other side may still be starting: no events where it can't answer yet."""
    try:
        return poll(source)
    except SourceDown:
        return []


@pytest.fixture(scope="module")
def network() -> Iterator[RealNetwork]:
    with real_network() as network:
        yield network


@pytest.fixture(scope="module")
def line(network: RealNetwork) -> Line:
    line = Line(network)
    source = line.ofctl()

    def is_whole() -> bool:
        events = try_poll(source)
        whole = metrics(events, "sdn") if events else {}
        time.sleep(0.3)
        return whole.get("devices") == 3 and whole.get("links") == 2

    until(is_whole, "three switches and two links", 40)
    for number in (1, 2):
        network.in_host(number, "ping", "-c", "2", "-W", "5", "10.77.0.3")
    return line


def test_20_mbit_are_20_mbit_to_the_controller_and_to_open_vswitch(line: Line) -> None:
    traffic = line.network.traffic(sender=1, receiver=3, mbps=20, seconds=9)
    sources: list[Source] = [line.ofctl(window_sec=4), line.ovs(window_sec=4)]
    sent = lambda: metrics(poll(line.ovs()), f"{S1}/1")[RECEIVED] > 1_000_000  # noqa: E731
    until(sent, "the traffic to flow")
    found: dict[int, float] = {}

    def measured() -> bool:
        for source in sources:
            events = poll(source)
            port = metrics(events, f"{S1}/1")
            if not traffic.is_over and port.get("interval_sec", 0) >= 4:
                found[id(source)] = metrics(events, source.config.name)["peak_bandwidth_mbps"]
                assert port["rx_bps"] / 1e6 == pytest.approx(found[id(source)], rel=0.05)
                assert metrics(events, f"{S3}/1")["tx_bps"] == pytest.approx(port["rx_bps"], rel=0.05)
        return len(found) == 2 or traffic.is_over

    until(measured, "a rate over four seconds")
    truth = traffic.mbps_on_wire()
    assert truth == pytest.approx(20 * 1442 / 1400, rel=0.02)
    assert list(found.values()) == [pytest.approx(truth, rel=0.05)] * 2
    assert list(found.values()) == [pytest.approx(20, rel=0.05)] * 2


def test_hosts_ports_and_what_a_patch_port_can_not_count(line: Line) -> None:
    events = poll(line.ofctl())
    hosts = {host["mac"]: host for host in topology(events).hosts}
    assert hosts["02:00:00:00:00:03"]["device"] == S3
    assert metrics(events, f"{S1}/1")["speed_bps"] == 10e9
    assert "rx_errors" not in metrics(events, f"{S1}/11")
    assert metrics(events, "sdn")["flows"] > 6


def test_a_link_cut_and_restored_is_seen_within_two_polls(line: Line) -> None:
    ofctl, ovs = line.ofctl(), line.ovs()
    poll(ofctl)
    poll(ovs)
    line.network.cut_bridges(1, 2)

    def logged_by_both(event: str) -> None:
        told: set[str] = set()

        def both() -> bool:
            for source in (ofctl, ovs):
                events = poll(source)
                if event in logged(events):
                    told.add(source.config.name)
                    ups = {link["id"]: link["up"] for link in topology(events).links}
                    assert ups[f"{S1}/11-{S2}/11"] is (event == "link_up")
            return len(told) == 2

        within_polls(both, bool)

    logged_by_both("link_down")
    line.network.connect_bridges(1, 2, (11, 11))
    logged_by_both("link_up")


def test_a_switch_gone_and_back_is_seen_within_two_polls(line: Line) -> None:
    source = line.ofctl()
    poll(source)
    line.network.vsctl("del-controller", line.network.bridge(3))
    events = within_polls(lambda: poll(source), lambda events: "device_down" in logged(events) and events)
    assert metrics(events, S3) == {"up": 0}
    line.network.vsctl("set-controller", line.network.bridge(3), line.controller)
    events = within_polls(lambda: poll(source), lambda events: "device_up" in logged(events) and events)
    assert f"{S3}/1" in nodes(events)
    assert "rx_bps" not in metrics(events, f"{S3}/1")


def test_a_ping_through_the_switches_is_measured_and_what_does_not_answer_is_lost(line: Line) -> None:
    # A namespace has a range of its own for who may open ping sockets.
    script = """
import asyncio, json
from pathlib import Path
from fedsight.collector.sources.reach import ReachConfig, ReachSource
Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")
source = ReachSource(ReachConfig(name="reach", targets=("icmp://10.77.0.3", "icmp://10.77.0.99", "icmp://[::1]", "icmp://10.99.0.1"), tries=3))
events = asyncio.run(source.poll(None, None)).events
print(json.dumps({event.node: event.metrics for event in events if hasattr(event, "node")}))
"""
    told = json.loads(line.network.in_host(1, sys.executable, "-c", script))
    assert told["icmp://10.77.0.3"]["packet_loss_rate"] == 0
    assert 0 < told["icmp://10.77.0.3"]["latency_min_ms"] <= told["icmp://10.77.0.3"]["latency_ms"]
    assert told["icmp://10.77.0.99"] == {"tries": 3, "packet_loss_rate": 1}
    # Nobody is there, and no way leads there.
    assert told["icmp://10.99.0.1"] == {"tries": 3, "packet_loss_rate": 1}
    assert told["icmp://[::1]"]["packet_loss_rate"] == 0
    answered = [told[node]["latency_ms"] for node in ("icmp://10.77.0.3", "icmp://[::1]")]
    assert told["reach"]["average_latency_ms"] == pytest.approx(sum(answered) / 2)
    assert told["reach"]["packet_loss_rate"] == 0.5


# ── Faucet ────────────────────────────────────────────────────────────────────────────────────

FAUCET_YAML = """
vlans: {office: {vid: 100}}
dps:
  sw1:
    dp_id: 0x4
    hardware: Open vSwitch
    interfaces:
      1: {name: h1, native_vlan: office}
      2: {name: h2, native_vlan: office}
"""
GAUGE_YAML = """
faucet_configs: [FOLDER/faucet.yaml]
watchers:
  port_stats: {dps: [sw1], type: port_stats, interval: 1, db: prometheus}
  port_state: {dps: [sw1], type: port_state, interval: 1, db: prometheus}
  flow_table: {dps: [sw1], type: flow_table, interval: 1, db: prometheus}
dbs:
  prometheus: {type: prometheus, prometheus_addr: 127.0.0.1, prometheus_port: PORT}
"""


class Office:
    """One switch with two hosts under Faucet and Gauge."""

    def __init__(self, network: RealNetwork) -> None:
        self.network = network
        programs = venv("faucet-1.10.12", FAUCET)
        openflow, gauge_openflow, metrics_port, gauge_port = (free_port() for _ in range(4))
        self.faucet_url, self.gauge_url = (f"http://127.0.0.1:{port}" for port in (metrics_port, gauge_port))
        folder = network.folder
        (folder / "faucet.yaml").write_text(FAUCET_YAML)
        (folder / "gauge.yaml").write_text(GAUGE_YAML.replace("FOLDER", str(folder)).replace("PORT", str(gauge_port)))
        environ = {
            "PATH": f"{programs}:{network.environ['PATH']}",
            "FAUCET_CONFIG": str(folder / "faucet.yaml"),
            "GAUGE_CONFIG": str(folder / "gauge.yaml"),
            "FAUCET_LOG": str(folder / "faucet.log"),
            "GAUGE_LOG": str(folder / "gauge.log"),
            "FAUCET_EXCEPTION_LOG": str(folder / "faucet_exception.log"),
            "GAUGE_EXCEPTION_LOG": str(folder / "gauge_exception.log"),
            "FAUCET_PROMETHEUS_PORT": str(metrics_port),
            "FAUCET_PROMETHEUS_ADDR": "127.0.0.1",
        }
        for program, port in (("faucet", openflow), ("gauge", gauge_openflow)):
            arguments = ("--ryu-ofp-listen-host=127.0.0.1", f"--ryu-ofp-tcp-listen-port={port}")
            network.start(str(programs / program), *arguments, environ=environ)
        self.controllers = [f"tcp:127.0.0.1:{port}" for port in (openflow, gauge_openflow)]
        network.add_bridge(4, *self.controllers)
        for port, host in ((1, 4), (2, 5)):
            network.add_host(host, bridge=4, port=port)

    def gauge(self, **options: object) -> PrometheusSource:
        config = PrometheusConfig(name="gauge", url=self.gauge_url, refresh_sec=1.2, **options)  # type: ignore[arg-type]
        return PrometheusSource(config)

    def faucet(self) -> PrometheusSource:
        return PrometheusSource(PrometheusConfig(name="faucet", url=self.faucet_url))


@pytest.fixture(scope="module")
def office(network: RealNetwork) -> Office:
    office = Office(network)

    def is_whole() -> bool:
        time.sleep(0.3)
        told = [try_poll(source) for source in (office.faucet(), office.gauge())]
        # Gauge knows of a port before it has its counters.
        return all(f"{S4}/h2" in nodes(events) for events in told) and RECEIVED in metrics(told[1], f"{S4}/h1")

    until(is_whole, "Faucet and Gauge to know the switch", 40)
    network.in_host(4, "ping", "-c", "2", "-W", "5", "10.77.0.5")
    return office


def test_20_mbit_are_20_mbit_to_gauge_whose_counters_say_they_are_gauges(office: Office) -> None:
    traffic = office.network.traffic(sender=4, receiver=5, mbps=20, seconds=14)
    source = office.gauge(window_sec=8)
    sent = lambda: metrics(poll(office.gauge()), f"{S4}/h1")[RECEIVED] > 1_000_000  # noqa: E731
    until(sent, "the traffic to flow")
    found: list[float] = []

    def measured() -> bool:
        port = metrics(poll(source), f"{S4}/h1")
        if not traffic.is_over and port.get("interval_sec", 0) >= 8:
            found.append(port["rx_bps"] / 1e6)
        time.sleep(0.1)
        return bool(found) or traffic.is_over

    until(measured, "a rate over eight seconds")
    assert found == [pytest.approx(traffic.mbps_on_wire(), rel=0.05)]
    assert found == [pytest.approx(20, rel=0.05)]


def test_faucet_tells_of_hosts_and_gauge_of_flows(office: Office) -> None:
    hosts = {host["mac"]: host for host in topology(poll(office.faucet())).hosts}
    assert hosts["02:00:00:00:00:04"]["port"] == "1"
    whole = metrics(poll(office.gauge()), "gauge")
    assert whole["flows"] > 10
    assert whole["devices"] == 1


def test_a_port_down_and_up_is_seen_within_two_polls(office: Office) -> None:
    faucet, gauge = office.faucet(), office.gauge()
    poll(faucet)
    poll(gauge)
    link = office.network.outside(5)
    for state in ("down", "up"):
        office.network.run("ip", "link", "set", link, state)
        told: set[str] = set()

        def both(event: str = f"port_{state}", told: set[str] = told) -> bool:
            told |= {source.config.name for source in (faucet, gauge) if event in logged(poll(source))}
            return len(told) == 2

        within_polls(both, bool)


def test_a_switch_gone_and_back_is_seen_by_faucet_within_two_polls(office: Office) -> None:
    faucet = office.faucet()
    poll(faucet)
    office.network.vsctl("del-controller", office.network.bridge(4))
    events = within_polls(lambda: poll(faucet), lambda events: "device_down" in logged(events) and events)
    assert metrics(events, S4) == {"up": 0}
    assert f"{S4}/h1" not in nodes(events)
    office.network.vsctl("set-controller", office.network.bridge(4), *office.controllers)
    within_polls(lambda: poll(faucet), lambda events: "device_up" in logged(events))
