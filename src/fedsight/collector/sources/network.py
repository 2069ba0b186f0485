"""From what any network source saw to what it tells: samples of ports, devices and the whole, topology and its changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from fedsight.collector.sources.counters import RateMeter
from fedsight.collector.sources.source import SourceConfig
from fedsight.collector.sources.topology import View, Watch, port_id
from fedsight.collector.sources.traffic import Flow, Matches, TrafficSplit, priority_classes
from fedsight.events import Event, Log, Sample

COUNTERS = {
    "rx_bytes": "network.io{direction=receive}",
    "tx_bytes": "network.io{direction=transmit}",
    "rx_packets": "network.packets{direction=receive}",
    "tx_packets": "network.packets{direction=transmit}",
    "rx_errors": "rx_errors",
    "tx_errors": "tx_errors",
    "rx_dropped": "rx_dropped",
    "tx_dropped": "tx_dropped",
}
"""A port's counters, by the name they have here, and the key of their sample."""

_RATES = {
    "rx_bytes": ("rx_bps", 8),
    "tx_bytes": ("tx_bps", 8),
    "rx_packets": ("rx_packets_per_sec", 1),
    "tx_packets": ("tx_packets_per_sec", 1),
    "rx_errors": ("rx_errors_per_sec", 1),
    "tx_errors": ("tx_errors_per_sec", 1),
    "rx_dropped": ("rx_dropped_per_sec", 1),
    "tx_dropped": ("tx_dropped_per_sec", 1),
}


class NetworkConfig(SourceConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the sources that watch a network share.

    fl_ports, fl_addresses, control_ports, control_addresses: whose traffic it is (ports of TCP and UDP; IP addresses,
    networks, MAC addresses). high_priority_from, medium_priority_from: the lowest OpenFlow priority of a class.
    flow_table_max: entries that a device can hold, where known. window_sec: rates are taken over at least this long.
    counter_bits: 32 for devices whose counters are that narrow. flows: whether flow entries are read at all.
    forget_sec: how long a link or device that has gone is shown as down.
    """

    fl_ports: tuple[int, ...] = ()
    fl_addresses: tuple[str, ...] = ()
    control_ports: tuple[int, ...] = ()
    control_addresses: tuple[str, ...] = ()
    high_priority_from: int = 40000
    medium_priority_from: int = 100
    flow_table_max: int | None = None
    window_sec: float = 0.0
    counter_bits: int = 64
    flows: bool = True
    forget_sec: float = 3600.0

    def __post_init__(self) -> None:
        """Raises `ValueError` naming the field, its value and what is allowed."""
        for field in ("fl_ports", "control_ports"):
            for port in getattr(self, field):
                if not 0 < port < 65536:
                    raise ValueError(f"{field}: {port} is no port; 1 to 65535")
        Matches.of((), self.fl_addresses, "fl_addresses")
        Matches.of((), self.control_addresses, "control_addresses")
        if self.medium_priority_from > self.high_priority_from:
            raise ValueError(
                f"medium_priority_from: {self.medium_priority_from} is above high_priority_from, {self.high_priority_from}"
            )
        if self.flow_table_max is not None and self.flow_table_max < 1:
            raise ValueError(f"flow_table_max: {self.flow_table_max}; 1 or more, or left out where unknown")
        if self.counter_bits not in (32, 64):
            raise ValueError(f"counter_bits: {self.counter_bits}; 32 or 64")
        if self.window_sec < 0 or self.forget_sec < 0:
            raise ValueError(f"window_sec, forget_sec: {self.window_sec:g}, {self.forget_sec:g}; 0 or more")


class Port(msgspec.Struct):
    """A port as one poll saw it. Unknown is None; a counter is one of `COUNTERS`.

    duration_sec: how long the device has counted, by its own clock. narrow: counters that are known to have 32 bits.
    """

    device: str
    port: str
    counters: dict[str, int | None] = {}
    duration_sec: float | None = None
    name: str | None = None
    up: bool | None = None
    speed_bps: float | None = None
    narrow: frozenset[str] = frozenset()


class Seen(msgspec.Struct):
    """One poll of a network. None is what the source could not see.

    num_flows: entries in each device's tables, where only their number is known.
    """

    view: View
    ports: list[Port] = []
    flows: list[Flow] | None = None
    num_flows: dict[str, int] | None = None


class Network:
    """What a network source remembers between polls, and what it tells of each.

    refresh_sec: how often the devices' counters are taken, where the source has no clock of theirs.
    """

    def __init__(self, config: NetworkConfig, refresh_sec: float = 0.0) -> None:
        self._config = config
        self._watch = Watch(config.name, config.forget_sec)
        self._meter = RateMeter(config.window_sec, refresh_sec, config.counter_bits == 32)
        self._port_up: dict[tuple[str, str], bool] = {}
        self._traffic = TrafficSplit(
            Matches.of(config.fl_ports, config.fl_addresses, "fl_addresses"),
            Matches.of(config.control_ports, config.control_addresses, "control_addresses"),
        )

    def tell(self, seen: Seen, ts: float, now_sec: float) -> list[Event]:
        """Events of one poll. ts: UTC epoch seconds, now_sec: the monotonic clock, both of the moment of the answers."""
        events = self._watch.take(seen.view, ts, now_sec)
        whole: dict[str, float] = {"devices": sum(1 for device in self._watch.devices.values() if device["up"])}
        if seen.view.directions is not None:
            whole["links"] = sum(1 for link in self._watch.links.values() if link["up"])
            whole["links_down"] = len(self._watch.links) - whole["links"]
        whole["devices_down"] = len(self._watch.devices) - whole["devices"]
        if seen.view.hosts is not None:
            whole["hosts"] = len(seen.view.hosts)
        events += self._port_changes(seen.ports, ts)
        wire_bps: list[float] = []
        virtual_bps: list[float] = []
        for port in seen.ports:
            metrics = self._port_metrics(port, now_sec)
            rates = [metrics[name] for name in ("rx_bps", "tx_bps") if name in metrics]
            (wire_bps if port.speed_bps else virtual_bps).extend(rates)
            if metrics:
                events.append(Sample(ts=ts, node=port_id(port.device, port.port), metrics=metrics))
        self._meter.keep_only({port_id(port.device, port.port) for port in seen.ports})
        # Patch ports have no speed; their counters are made from flows by the switch and come in bursts, up to a second late.
        if wire_bps or virtual_bps:
            whole["peak_bandwidth_mbps"] = max(wire_bps or virtual_bps) / 1e6
        counts = _flows_by_device(seen)
        for device, known in self._watch.devices.items():
            metrics = {"up": 1.0 if known["up"] else 0.0, **self._table_metrics(counts.get(device), 1)}
            events.append(Sample(ts=ts, node=device, metrics=metrics))
        if counts:
            whole |= self._table_metrics(sum(counts.values()), len(counts))
        if seen.flows is not None:
            whole |= priority_classes(seen.flows, self._config.high_priority_from, self._config.medium_priority_from)
            whole |= self._traffic.take(seen.flows, now_sec)
        events.append(Sample(ts=ts, node=self._config.name, metrics=whole))
        return events

    def _port_changes(self, ports: list[Port], ts: float) -> list[Event]:
        # A port that could not be asked for this time keeps its state, as long as its device is known.
        before = {key: up for key, up in self._port_up.items() if key[0] in self._watch.devices}
        self._port_up = before | {(port.device, port.port): port.up for port in ports if port.up is not None}
        return [
            Log(
                ts=ts,
                component=f"source {self._config.name}",
                event="port_up" if up else "port_down",
                message=f"port {port_id(*key)} is {'up' if up else 'down'}",
                level="info" if up else "warning",
                extra={"port": port_id(*key)},
            )
            for key, up in self._port_up.items()
            if before.get(key, up) != up
        ]

    def _port_metrics(self, port: Port, now_sec: float) -> dict[str, float]:
        metrics: dict[str, float] = {
            key: value for name, key in COUNTERS.items() if (value := port.counters.get(name)) is not None
        }
        if port.up is not None:
            metrics["up"] = 1.0 if port.up else 0.0
        if port.speed_bps:
            metrics["speed_bps"] = port.speed_bps
        rates = self._meter.take(
            port_id(port.device, port.port), port.counters, now_sec, port.duration_sec, port.narrow
        )
        if rates is None:
            return metrics
        for name, (key, factor) in _RATES.items():
            if name in rates.per_sec:
                metrics[key] = rates.per_sec[name] * factor
        if rates.per_sec:
            metrics["interval_sec"] = rates.interval_sec
        busiest = [metrics[name] for name in ("rx_bps", "tx_bps") if name in metrics]
        if port.speed_bps and busiest:
            # Each direction has the port's full speed.
            metrics["utilization"] = max(busiest) / port.speed_bps
        return metrics

    def _table_metrics(self, num_flows: int | None, num_devices: int) -> dict[str, float]:
        if num_flows is None:
            return {}
        metrics: dict[str, float] = {"flows": num_flows}
        if self._config.flow_table_max is not None:
            metrics["flow_table_utilization"] = num_flows / (self._config.flow_table_max * num_devices)
        return metrics


def _flows_by_device(seen: Seen) -> dict[str, int]:
    """Entries of each device that told of them; a device that was asked and has none is in `num_flows`."""
    counts = dict(seen.num_flows or {})
    if seen.flows is not None:
        for device, number in Counter(flow.device for flow in seen.flows).items():
            counts.setdefault(device, number)
    return counts


def known(**facts: Any) -> dict[str, Any]:
    """Facts of a device or host, without those that nobody told ("", "None" and "unknown" are how controllers say so)."""
    return {name: value for name, value in facts.items() if value not in (None, "", "None", "unknown", [])}
