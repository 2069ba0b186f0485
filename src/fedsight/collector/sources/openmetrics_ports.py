"""Series of Faucet, Gauge (1.10) and snmp_exporter (IF-MIB, RFC 2863) that speak of switches, ports and flows.

Gauge declares counters as gauges: what is a counter is settled here, not by the type line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedsight.collector.sources.counters import count
from fedsight.collector.sources.network import Port, Seen
from fedsight.collector.sources.topology import View, device_id, port_no
from fedsight.collector.sources.traffic import Flow

if TYPE_CHECKING:
    from fedsight.collector.sources.openmetrics import Series

_GAUGE_COUNTERS = {
    f"of_port_{direction}_{what}": f"{direction}_{what}"
    for direction in ("rx", "tx")
    for what in ("bytes", "packets", "errors", "dropped")
}
_SNMP_COUNTERS = {
    "ifHCInOctets": "rx_bytes",
    "ifHCOutOctets": "tx_bytes",
    "ifHCInUcastPkts": "rx_packets",
    "ifHCOutUcastPkts": "tx_packets",
    "ifInErrors": "rx_errors",
    "ifOutErrors": "tx_errors",
    "ifInDiscards": "rx_dropped",
    "ifOutDiscards": "tx_dropped",
}
_SNMP_NARROW = {
    "ifInOctets": "rx_bytes",
    "ifOutOctets": "tx_bytes",
    "ifInUcastPkts": "rx_packets",
    "ifOutUcastPkts": "tx_packets",
}
"""The 32-bit counters, for devices that have no wider ones."""

_SNMP_NARROW_ANYWAY = frozenset({"rx_errors", "tx_errors", "rx_dropped", "tx_dropped"})
"""IF-MIB has these as Counter32 alone."""

_STATES = {
    "dp_status", "port_status", "of_port_state", "of_port_curr_speed", "of_port_max_speed", "of_port_reason", "learned_l2_port", "of_dp_desc_stats",
    "ifOperStatus", "ifHighSpeed", "ifSpeed", "sysUpTime",
}  # fmt: skip
_FLOW_BYTES = "flow_byte_count_"
_FLOW_PACKETS = "flow_packet_count_"

Ports = dict[tuple[str, str], Port]


def is_mapped(name: str) -> bool:
    """Whether a series says something of a network, told by the samples of ports and devices already."""
    return (
        name in _STATES
        or name in _GAUGE_COUNTERS
        or name in _SNMP_COUNTERS
        or name in _SNMP_NARROW
        or name.startswith((_FLOW_BYTES, _FLOW_PACKETS))
    )


def nothing() -> Seen:
    """A target that has told of a network and now tells of none."""
    return Seen(view=View(devices={}))


def seen(series: list[Series], snmp_device: str, with_flows: bool) -> Seen | None:
    """The network that the series speak of; None where they speak of none. snmp_device: whose interfaces those of SNMP are."""
    devices: dict[str, dict[str, Any]] = {}
    hosts: dict[str, dict[str, Any]] = {}
    ports: Ports = {}
    flows: list[Flow] = []
    has_flows = has_hosts = False
    for one in series:
        if not is_mapped(one.name):
            continue
        if "dp_id" not in one.labels:
            if one.name.startswith("if"):
                _take_interface(one, snmp_device, ports)
            continue
        device = device_id(one.labels["dp_id"])
        facts = devices.setdefault(device, {"id": device})
        if one.labels.get("dp_name"):
            facts["name"] = one.labels["dp_name"]
        if one.name == "dp_status":
            facts["up"] = one.value == 1
        elif one.name == "learned_l2_port":
            has_hosts = True
            _take_host(one, device, hosts)
        elif one.name.startswith(_FLOW_BYTES):
            has_flows = True
            flows.append(_flow(one, device))
        elif "port" in one.labels:
            _take_port(one, device, ports)
    uptime_sec = [one.value / 100 for one in series if one.name == "sysUpTime" and one.value > 0]
    for port in ports.values():
        if port.device == snmp_device:
            devices.setdefault(snmp_device, {"id": snmp_device})
            port.duration_sec = uptime_sec[0] if uptime_sec else None
            # Without the device's clock a reset would look like a counter gone round.
            port.narrow = port.narrow if uptime_sec else frozenset()
    if not devices:
        return None
    down = {device for device, facts in devices.items() if facts.get("up") is False}
    return Seen(
        view=View(devices=devices, hosts=hosts if has_hosts else None),
        # Gauge goes on showing the last numbers of a switch that has gone.
        ports=[port for port in ports.values() if port.device not in down],
        flows=[flow for flow in flows if flow.device not in down] if has_flows and with_flows else None,
    )


def _take_port(one: Series, device: str, ports: Ports) -> None:
    """Faucet names ports by the name that its configuration gives them."""
    name = port_no(one.labels["port"])
    port = ports.setdefault((device, name), Port(device, name, name=one.labels.get("port_description") or None))
    if one.name in _GAUGE_COUNTERS:
        port.counters[_GAUGE_COUNTERS[one.name]] = count(one.value)
    elif one.name == "port_status":
        port.up = one.value == 1
    elif one.name == "of_port_state":
        state = count(one.value)
        port.up = None if state is None else not state & 1  # OFPPS_LINK_DOWN
    elif one.name == "of_port_curr_speed":
        port.speed_bps = one.value * 1000 or None  # kbit/s


def _take_host(one: Series, device: str, hosts: dict[str, dict[str, Any]]) -> None:
    mac = one.labels.get("eth_src", "").lower()
    if mac and one.value > 0:
        hosts[mac] = {"id": mac, "mac": mac, "device": device, "port": port_no(int(one.value))}
        if one.labels.get("vid"):
            hosts[mac]["vlan"] = one.labels["vid"]


def _take_interface(one: Series, device: str, ports: Ports) -> None:
    labels = one.labels
    name = next((labels[label] for label in ("ifName", "ifDescr", "ifIndex") if labels.get(label)), None)
    if name is None:
        return
    port = ports.setdefault((device, name), Port(device, name, name=labels.get("ifAlias") or None))
    port.narrow |= _SNMP_NARROW_ANYWAY
    if one.name in _SNMP_COUNTERS:
        counter = _SNMP_COUNTERS[one.name]
        port.counters[counter] = count(one.value)
        if counter not in _SNMP_NARROW_ANYWAY:
            port.narrow -= {counter}
    elif one.name in _SNMP_NARROW:
        counter = _SNMP_NARROW[one.name]
        if counter not in port.counters:
            port.counters[counter] = count(one.value)
            port.narrow |= {counter}
    elif one.name == "ifOperStatus":
        port.up = {1.0: True, 2.0: False}.get(one.value)
    elif one.name == "ifHighSpeed" and one.value > 0:
        port.speed_bps = one.value * 1e6
    elif one.name == "ifSpeed" and one.value > 0 and port.speed_bps is None and one.value < 2**32 - 1:
        port.speed_bps = one.value


def _flow(one: Series, device: str) -> Flow:
    labels = one.labels
    match = {name: value for name, value in sorted(labels.items()) if value and name not in ("dp_id", "dp_name")}
    return Flow(
        device,
        f"{one.name}{match}",
        count(labels.get("priority")) or 0,
        count(one.value),
        addresses=[
            labels[f"{kind}_{end}"]
            for kind in ("eth", "ipv4", "ipv6")
            for end in ("src", "dst")
            if labels.get(f"{kind}_{end}")
        ],
        ports=[
            port for kind in ("tcp", "udp") for end in ("src", "dst") if (port := count(labels.get(f"{kind}_{end}")))
        ],
        ethertype=count(labels.get("eth_type")),
    )
