"""Ryu 4.34 and os-ken 1.4.1: `ofctl_rest` (`/stats/…`) and, where it is loaded, `rest_topology` (`/v1.0/topology/…`)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, ClassVar, TypeVar

import msgspec

from fedsight.collector.sources.counters import count, seconds
from fedsight.collector.sources.network import COUNTERS, Network, NetworkConfig, Port, Seen, known
from fedsight.collector.sources.optional_parts import OptionalParts
from fedsight.collector.sources.source import Polled, SourceDown, Web, checked_rows
from fedsight.collector.sources.topology import Direction, View, device_id, port_no
from fedsight.collector.sources.traffic import Flow

T = TypeVar("T")

AT_ONCE = 4
"""Requests in flight: the controller asks its switches one by one behind them."""


MAX_SWITCHES = 5_000
"""Each is asked several questions in a poll: more could not be answered in time."""


class OfctlConfig(NetworkConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """url: of the controller's web API, "http://127.0.0.1:8080"."""


class _PortCounters(msgspec.Struct):
    port_no: str | int
    rx_bytes: Any = None
    tx_bytes: Any = None
    rx_packets: Any = None
    tx_packets: Any = None
    rx_errors: Any = None
    tx_errors: Any = None
    rx_dropped: Any = None
    tx_dropped: Any = None
    duration_sec: Any = None
    duration_nsec: Any = 0


class _PortFacts(msgspec.Struct):
    port_no: str | int
    name: str | None = None
    config: int | None = None
    state: int | None = None
    curr_speed: int | None = None


class _Flow(msgspec.Struct):
    priority: int = 0
    table_id: int = 0
    cookie: int = 0
    byte_count: Any = None
    duration_sec: Any = None
    duration_nsec: Any = 0
    actions: list[Any] = []
    instructions: list[Any] = []
    match: dict[str, Any] = {}


class _FlowCount(msgspec.Struct):
    flow_count: Any = None


class _Description(msgspec.Struct):
    mfr_desc: str | None = None
    hw_desc: str | None = None
    sw_desc: str | None = None
    dp_desc: str | None = None


class _TopologyPort(msgspec.Struct):
    dpid: str
    port_no: str


class _Link(msgspec.Struct):
    src: _TopologyPort
    dst: _TopologyPort


class _Host(msgspec.Struct):
    mac: str
    port: _TopologyPort
    ipv4: list[str] = []
    ipv6: list[str] = []


class _Switch(msgspec.Struct):
    """What one switch told."""

    ports: list[Port] = []
    flows: list[Flow] | None = None
    num_flows: int | None = None


class OfctlSource:
    """One Ryu or os-ken controller."""

    kind: ClassVar[str] = "ofctl"

    def __init__(self, config: OfctlConfig) -> None:
        self.config = config
        self._network = Network(config)
        self._parts = OptionalParts(config.name)
        self._described: dict[int, dict[str, Any]] = {}

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Ask the controller for its switches, then for each of them. Raises `SourceDown` where there is no list of switches."""
        dpids = await self._get(web, "/stats/switches", list[int])
        if len(dpids) > MAX_SWITCHES:
            raise SourceDown(f"/stats/switches: {len(dpids)} switches; {MAX_SWITCHES} are asked at most")
        at_once = asyncio.Semaphore(AT_ONCE)

        async def in_turn(dpid: int) -> _Switch:
            async with at_once:
                return await self._switch(web, dpid)

        links, hosts = await asyncio.gather(
            self._parts.ask("links", self._get(web, "/v1.0/topology/links", list[_Link])),
            self._parts.ask("hosts", self._get(web, "/v1.0/topology/hosts", list[_Host])),
        )
        switches = await asyncio.gather(*map(in_turn, dpids))
        ts, now_sec = time.time(), time.monotonic()
        self._described = {dpid: facts for dpid, facts in self._described.items() if dpid in dpids}
        ports = [port for switch in switches for port in switch.ports]
        seen = Seen(
            view=View(
                devices={device_id(d): {"id": device_id(d), **self._described.get(d, {})} for d in dpids},
                directions=None if links is None else _directions(links, ports),
                hosts=None if hosts is None else dict(map(_host_facts, hosts)),
            ),
            ports=ports,
            num_flows={
                device_id(dpid): switch.num_flows
                for dpid, switch in zip(dpids, switches, strict=True)
                if switch.num_flows is not None
            },
        )
        if self.config.flows and any(switch.flows is not None for switch in switches):
            seen.flows = [flow for switch in switches for flow in switch.flows or []]
        return Polled(events=[*self._parts.news(ts), *self._network.tell(seen, ts, now_sec)])

    async def _switch(self, web: Web, dpid: int) -> _Switch:
        """One question after the other, so that a switch is not asked everything at once."""
        device = device_id(dpid)
        if dpid not in self._described:
            told = await self._parts.ask(f"description of {device}", self._of(web, "desc", dpid, _Description))
            if told is not None:
                self._described[dpid] = known(
                    manufacturer=told.mfr_desc, hardware=told.hw_desc, software=told.sw_desc, name=told.dp_desc
                )
        facts = await self._parts.ask(f"port facts of {device}", self._of(web, "portdesc", dpid, list[_PortFacts]))
        counters = await self._parts.ask(f"port counters of {device}", self._of(web, "port", dpid, list[_PortCounters]))
        switch = _Switch(ports=_ports(device, facts or [], counters or []))
        if self.config.flows:
            entries = await self._parts.ask(f"flows of {device}", self._of(web, "flow", dpid, list[_Flow]))
            if entries is not None:
                switch.flows = [_flow(device, entry) for entry in entries]
                switch.num_flows = len(entries)
        else:
            totals = await self._parts.ask(
                f"flow count of {device}", self._of(web, "aggregateflow", dpid, list[_FlowCount])
            )
            switch.num_flows = count(totals[0].flow_count) if totals else None
        return switch

    async def _of(self, web: Web, what: str, dpid: int, of: type[T]) -> T:
        """`/stats/<what>/<dpid>`: one key, the datapath id in decimal (16 hex digits in the path would be refused)."""
        answer = await self._get(web, f"/stats/{what}/{dpid}", dict[str, of])  # type: ignore[valid-type]
        if len(answer) != 1:
            raise SourceDown(f"/stats/{what}/{dpid}: the answer speaks of {len(answer)} switches, not of one")
        return next(iter(answer.values()))

    async def _get(self, web: Web, path: str, of: type[T]) -> T:
        answer = await web.json(self.config.url.rstrip("/") + path)
        for rows in answer.values() if isinstance(answer, dict) else (answer,):
            if isinstance(rows, list):
                checked_rows(rows, path)
        try:
            return msgspec.convert(answer, of)
        except msgspec.ValidationError as error:
            raise SourceDown(f"{path}: {error}") from error


def _directions(links: list[_Link], ports: list[Port]) -> list[Direction]:
    """Links as the controller's discovery has them; one with an end that is down is down before discovery notices."""
    down = {(port.device, port.port) for port in ports if port.up is False}
    directions = []
    for link in links:
        src = device_id(link.src.dpid), port_no(link.src.port_no)
        dst = device_id(link.dst.dpid), port_no(link.dst.port_no)
        directions.append(Direction(src, dst, not down.intersection((src, dst))))
    return directions


def _host_facts(host: _Host) -> tuple[str, dict[str, Any]]:
    addresses = sorted(address for address in (*host.ipv4, *host.ipv6) if address not in ("::", "0.0.0.0"))
    key = host.mac.lower()
    return key, {
        "id": key,
        "mac": key,
        **known(addresses=addresses),
        "device": device_id(host.port.dpid),
        "port": port_no(host.port.port_no),
    }


def _ports(device: str, facts: list[_PortFacts], counters: list[_PortCounters]) -> list[Port]:
    ports: dict[str, Port] = {}
    for fact in facts:
        down = None if fact.config is None or fact.state is None else bool(fact.config & 1 or fact.state & 1)
        ports[port_no(fact.port_no)] = Port(
            device,
            port_no(fact.port_no),
            name=fact.name,
            up=None if down is None else not down,
            speed_bps=fact.curr_speed * 1000.0 if fact.curr_speed else None,  # kbit/s
        )
    for told in counters:
        port = ports.setdefault(port_no(told.port_no), Port(device, port_no(told.port_no)))
        port.counters = {name: count(getattr(told, name)) for name in COUNTERS}
        port.duration_sec = seconds(told.duration_sec, told.duration_nsec)
    return list(ports.values())


def _flow(device: str, entry: _Flow) -> Flow:
    """OpenFlow 1.0 and 1.3 name a match's fields in the old way (dl_src, nw_src, tp_src), later versions in the new."""
    match = entry.match
    actions = json.dumps([entry.actions, entry.instructions])
    flow = Flow(
        device,
        f"{entry.table_id}/{entry.priority}/{entry.cookie}/{json.dumps(match, sort_keys=True)}",
        entry.priority,
        count(entry.byte_count),
        age_sec=seconds(entry.duration_sec, entry.duration_nsec),
        to_controller="CONTROLLER" in actions,
        ethertype=count(match.get("dl_type", match.get("eth_type"))),
    )
    for name, value in match.items():
        base, _, end = name.rpartition("_")
        if end not in ("src", "dst"):
            continue
        if base in ("dl", "eth", "nw", "ipv4", "ipv6"):
            flow.addresses.append(str(value))
        elif base in ("tp", "tcp", "udp") and (port := count(value)):
            flow.ports.append(port)
    return flow
