"""ONOS (1.x, 2.x) over its REST API, `/onos/v1/…`. Shapes are those of its codecs, which differ from its own API page."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, ClassVar, TypeVar

import msgspec

from fedsight.collector.sources.counters import count, seconds
from fedsight.collector.sources.network import Network, NetworkConfig, Port, Seen, known
from fedsight.collector.sources.optional_parts import OptionalParts
from fedsight.collector.sources.source import Polled, SourceDown, Web, checked_rows
from fedsight.collector.sources.topology import Direction, View, device_id, port_no
from fedsight.collector.sources.traffic import Flow

T = TypeVar("T")


class OnosConfig(NetworkConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """url: of the controller, "http://127.0.0.1:8181" (with or without "/onos/v1").

    window_sec: ONOS gives whole seconds, so that a rate over 5 s could be 20 % off. refresh_sec: ONOS's own
    `portStatsPollFrequency`; matters for switches without a clock (OpenFlow 1.0).
    """

    window_sec: float = 20.0
    refresh_sec: float = 5.0


# ── ONOS's answers; what is not read is not named ────────────────────────────────────────────


class _Device(msgspec.Struct):
    id: str
    available: bool = True
    type: str | None = None
    mfr: str | None = None
    hw: str | None = None
    sw: str | None = None
    annotations: dict[str, Any] = {}


class _PortFacts(msgspec.Struct, rename="camel"):
    element: str
    port: str | int
    is_enabled: bool | None = None
    port_speed: float | None = None
    annotations: dict[str, Any] = {}


class _End(msgspec.Struct):
    device: str | None = None
    port: str | int | None = None


class _Link(msgspec.Struct):
    src: _End
    dst: _End
    state: str = "ACTIVE"


class _Location(msgspec.Struct, rename="camel"):
    element_id: str
    port: str | int


class _Host(msgspec.Struct, rename="camel"):
    mac: str
    vlan: str | int | None = None
    ip_addresses: list[str] = []
    locations: list[_Location] = []


class _PortCounters(msgspec.Struct, rename="camel"):
    port: str | int
    bytes_received: Any = None
    bytes_sent: Any = None
    packets_received: Any = None
    packets_sent: Any = None
    packets_rx_errors: Any = None
    packets_tx_errors: Any = None
    packets_rx_dropped: Any = None
    packets_tx_dropped: Any = None
    duration_sec: Any = None


class _DevicePorts(msgspec.Struct):
    device: str
    ports: list[_PortCounters] = []


class _Selector(msgspec.Struct):
    criteria: list[dict[str, Any]] = []


class _Treatment(msgspec.Struct):
    instructions: list[dict[str, Any]] = []


class _Flow(msgspec.Struct, rename="camel"):
    id: str | int
    device_id: str
    priority: int = 0
    state: str = "ADDED"
    life: float | None = None
    bytes: Any = None
    selector: _Selector = msgspec.field(default_factory=_Selector)
    treatment: _Treatment = msgspec.field(default_factory=_Treatment)


class _ActiveEntries(msgspec.Struct, rename="camel"):
    device: str
    active_entries: Any = None


class OnosSource:
    """One ONOS controller."""

    kind: ClassVar[str] = "onos"

    def __init__(self, config: OnosConfig) -> None:
        self.config = config
        self._network = Network(config, refresh_sec=config.refresh_sec)
        self._parts = OptionalParts(config.name)

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Ask for the devices, then for all the rest at once. Raises `SourceDown` where there are no devices to be had."""
        devices = await self._list(web, "devices", "devices", _Device)
        ask = self._parts.ask
        flows_part = (
            ask("flows", self._list(web, "flows", "flows", _Flow))
            if self.config.flows
            else ask("flow counts", self._list(web, "statistics/flows/activeentries", "statistics", _ActiveEntries))
        )
        facts, links, hosts, counters, flows = await asyncio.gather(
            ask("port facts", self._list(web, "devices/ports", "ports", _PortFacts)),
            ask("links", self._list(web, "links", "links", _Link)),
            ask("hosts", self._list(web, "hosts", "hosts", _Host)),
            ask("port counters", self._list(web, "statistics/ports", "statistics", _DevicePorts)),
            flows_part,
        )
        ts, now_sec = time.time(), time.monotonic()
        # A device that is not available stays in the list, its counters as they last were.
        available = {device_id(device.id) for device in devices if device.available}
        seen = Seen(
            view=View(
                devices={device_id(d.id): _device_facts(d) for d in devices},
                directions=None if links is None else _directions(links),
                hosts=None if hosts is None else dict(map(_host_facts, hosts)),
            ),
            ports=[port for port in _ports(facts or [], counters or []) if port.device in available],
        )
        if self.config.flows and flows is not None:
            entries = [f for f in flows if isinstance(f, _Flow) and f.state not in ("REMOVED", "FAILED")]
            seen.flows = [flow for flow in map(_flow, entries) if flow.device in available]
            seen.num_flows = dict.fromkeys(available, 0) | Counter(flow.device for flow in seen.flows)
        elif flows is not None:
            numbers = {device_id(f.device): count(f.active_entries) for f in flows if isinstance(f, _ActiveEntries)}
            seen.num_flows = {d: number for d, number in numbers.items() if number is not None and d in available}
        return Polled(events=[*self._parts.news(ts), *self._network.tell(seen, ts, now_sec)])

    async def _list(self, web: Web, path: str, key: str, of: type[T]) -> list[T]:
        answer = await web.json(self._url(path))
        if not isinstance(answer, dict) or key not in answer:
            raise SourceDown(f"/onos/v1/{path}: the answer has no {key!r}")
        try:
            # Not strict: numbers come as text from some versions.
            rows: list[T] = msgspec.convert(answer[key], list[of], strict=False)  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise SourceDown(f"/onos/v1/{path}: {error}") from error
        return checked_rows(rows, f"/onos/v1/{path}")

    def _url(self, path: str) -> str:
        base = self.config.url.rstrip("/")
        return f"{base if base.endswith('/onos/v1') else f'{base}/onos/v1'}/{path}"


def _device_facts(device: _Device) -> dict[str, Any]:
    return {
        "id": device_id(device.id),
        "up": device.available,
        **known(
            type=device.type,
            manufacturer=device.mfr,
            hardware=device.hw,
            software=device.sw,
            address=device.annotations.get("managementAddress"),
            name=device.annotations.get("datapathDescription"),
        ),
    }


def _directions(links: list[_Link]) -> list[Direction]:
    """Links between devices; an end that is a host is the host's affair."""
    return [
        Direction(
            (device_id(link.src.device), port_no(link.src.port)),
            (device_id(link.dst.device), port_no(link.dst.port)),
            link.state == "ACTIVE",
        )
        for link in links
        if link.src.device is not None and link.dst.device is not None
    ]


def _host_facts(host: _Host) -> tuple[str, dict[str, Any]]:
    vlan = known(vlan=host.vlan)
    vlan = {} if str(vlan.get("vlan")) == "-1" else vlan  # how older versions write none
    key = host.mac.lower() + (f"/{vlan['vlan']}" if vlan else "")
    facts = {"id": key, "mac": host.mac.lower(), **vlan, **known(addresses=sorted(host.ip_addresses))}
    if host.locations:
        facts |= {"device": device_id(host.locations[0].element_id), "port": port_no(host.locations[0].port)}
    return key, facts


def _ports(facts: list[_PortFacts], counters: list[_DevicePorts]) -> list[Port]:
    ports = {
        (device_id(fact.element), port_no(fact.port)): Port(
            device_id(fact.element),
            port_no(fact.port),
            name=fact.annotations.get("portName"),
            up=fact.is_enabled,
            speed_bps=fact.port_speed * 1e6 if fact.port_speed else None,
        )
        for fact in facts
    }
    for device in counters:
        for told in checked_rows(device.ports, f"/onos/v1/statistics/ports of {device.device}"):
            key = device_id(device.device), port_no(told.port)
            port = ports.setdefault(key, Port(*key))
            port.duration_sec = seconds(told.duration_sec)
            port.counters = {
                "rx_bytes": count(told.bytes_received),
                "tx_bytes": count(told.bytes_sent),
                "rx_packets": count(told.packets_received),
                "tx_packets": count(told.packets_sent),
                "rx_errors": count(told.packets_rx_errors),
                "tx_errors": count(told.packets_tx_errors),
                "rx_dropped": count(told.packets_rx_dropped),
                "tx_dropped": count(told.packets_tx_dropped),
            }
    return list(ports.values())


def _flow(entry: _Flow) -> Flow:
    flow = Flow(device_id(entry.device_id), str(entry.id), entry.priority, count(entry.bytes), age_sec=entry.life)
    flow.to_controller = any(
        i.get("type") == "OUTPUT" and str(i.get("port")).upper() == "CONTROLLER" for i in entry.treatment.instructions
    )
    for criterion in entry.selector.criteria:
        flow.addresses += [str(criterion[name]) for name in ("ip", "mac") if criterion.get(name)]
        flow.ports += [
            port for name in ("tcpPort", "udpPort") if (port := count(criterion.get(name))) is not None and port > 0
        ]
        if criterion.get("type") == "ETH_TYPE":
            flow.ethertype = _ethertype(criterion.get("ethType"))
    return flow


def _ethertype(text: Any) -> int | None:
    try:
        return int(str(text), 0)
    except ValueError:
        return None  # older versions print names for some ("ipv4"), none of which is control's
