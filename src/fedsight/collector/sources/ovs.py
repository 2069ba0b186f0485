"""Open vSwitch, asked directly: its database through `ovs-vsctl`, its bridges through `ovs-ofctl`. No controller is needed.

Formats: OVSDB's JSON (RFC 7047, 5.1: `["map", …]`, `["set", …]`, `["uuid", …]`) and `ovs-ofctl`'s text as of 3.1.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from fedsight.collector.sources.counters import count
from fedsight.collector.sources.network import COUNTERS, Network, NetworkConfig, Port, Seen, known
from fedsight.collector.sources.optional_parts import OptionalParts
from fedsight.collector.sources.source import Polled, SourceDown, Web
from fedsight.collector.sources.topology import Direction, View, device_id, port_no
from fedsight.collector.sources.traffic import Flow

MAX_OUTPUT_BYTES = 32 << 20
OPENFLOW = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
"""Offered to a bridge, which picks the newest that it speaks; 1.0 tells no durations."""


class OvsConfig(NetworkConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """url: of the database, "unix:/run/openvswitch/db.sock" or "tcp:<address>:6640".

    run_dir: where the bridges' sockets (`<bridge>.mgmt`) are; by default beside the database's. Without them (a database on
    another machine) there are no flows, and counters are the database's, which are taken every 5 s.
    """

    url: str = "unix:/run/openvswitch/db.sock"
    run_dir: str | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` naming the field, its value and what is allowed."""
        super().__post_init__()
        if not re.match(r"(unix|tcp|ssl):.", self.url):
            raise ValueError(f"url: {self.url!r} is no address of a database; unix:<socket> or tcp:<address>:<port>")


class _Table(msgspec.Struct):
    headings: list[str]
    data: list[list[Any]]

    def rows(self) -> list[dict[str, Any]]:
        return [{name: _plain(value) for name, value in zip(self.headings, row, strict=True)} for row in self.data]


def _plain(value: Any) -> Any:
    """An OVSDB value as Python has it: maps as dict, sets and lone values as they are, an empty set (unknown) as None."""
    if not isinstance(value, list) or len(value) != 2:
        return value
    kind, content = value
    if kind == "map":
        return dict(content)
    if kind == "set":
        return [_plain(one) for one in content] or None
    return content if kind == "uuid" else value


def _all(value: Any) -> list[Any]:
    """A column that holds any number: OVSDB writes one value without a set."""
    return [] if value is None else value if isinstance(value, list) else [value]


class OvsSource:
    """One Open vSwitch with all its bridges."""

    kind: ClassVar[str] = "ovs"

    def __init__(self, config: OvsConfig) -> None:
        self.config = config
        # `stats-update-interval` of the database; only matters where bridges can't be asked themselves.
        self._network = Network(config, refresh_sec=5.0)
        self._parts = OptionalParts(config.name)
        self._run_dir = _run_dir(config)

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Ask the database, then each bridge. Raises `SourceDown` where there is no database."""
        bridges = await self._list("Bridge", "name,datapath_id,datapath_type,ports")
        owners = await self._list("Port", "_uuid,interfaces")
        columns = "_uuid,name,ofport,link_state,admin_state,link_speed,type,options,external_ids,statistics"
        interfaces = {row["_uuid"]: row for row in await self._list("Interface", columns)}
        interfaces_of = {row["_uuid"]: _all(row["interfaces"]) for row in owners}
        ports: list[Port] = []
        flows: list[Flow] | None = None
        num_flows: dict[str, int] = {}
        devices: dict[str, dict[str, Any]] = {}
        for bridge in bridges:
            if bridge["datapath_id"] is None:  # just added: the switch has not made it yet
                continue
            device = device_id(bridge["datapath_id"])
            rows = [interfaces[i] for p in _all(bridge["ports"]) for i in interfaces_of.get(p, []) if i in interfaces]
            bridge_ports = {port.port: port for row in rows if (port := _port(device, row)) is not None}
            devices[device] = {"id": device, "name": bridge["name"], **known(datapath=bridge["datapath_type"])}
            if self._run_dir is not None:
                told = await self._parts.ask(f"port counters of {bridge['name']}", self._dump(bridge["name"], "ports"))
                devices[device]["up"] = told is not None
                for port in bridge_ports.values():
                    port.counters, port.duration_sec = {}, None
                for number, (counters, duration_sec) in parse_ports(told or "").items():
                    if number in bridge_ports:
                        bridge_ports[number].counters, bridge_ports[number].duration_sec = counters, duration_sec
                if self.config.flows and told is not None:
                    text = await self._parts.ask(f"flows of {bridge['name']}", self._dump(bridge["name"], "flows"))
                    if text is not None:
                        entries = parse_flows(device, text)
                        flows = [*(flows or []), *entries]
                        num_flows[device] = len(entries)
            ports += bridge_ports.values()
        ts, now_sec = time.time(), time.monotonic()
        view = View(devices=devices, directions=_patches(interfaces.values(), ports), hosts=_hosts(interfaces, ports))
        seen = Seen(view=view, ports=ports, flows=flows, num_flows=num_flows or None)
        return Polled(events=[*self._parts.news(ts), *self._network.tell(seen, ts, now_sec)])

    async def _list(self, table: str, columns: str) -> list[dict[str, Any]]:
        arguments = ("--no-wait", "--format=json", f"--columns={columns}", "list", table)
        text = await self._run("ovs-vsctl", f"--db={self.config.url}", *arguments)
        try:
            return msgspec.json.decode(text, type=_Table).rows()
        except (msgspec.MsgspecError, ValueError) as error:
            raise SourceDown(f"ovs-vsctl list {table}: {error}") from error

    async def _dump(self, bridge: str, what: str) -> str:
        socket = f"unix:{self._run_dir}/{bridge}.mgmt"
        return (await self._run("ovs-ofctl", "-O", OPENFLOW, f"dump-{what}", socket)).decode(errors="replace")

    async def _run(self, *command: str) -> bytes:
        return await run(command, self.config.timeout_sec)


def _run_dir(config: OvsConfig) -> str | None:
    if config.run_dir is not None:
        return config.run_dir
    return str(Path(config.url.removeprefix("unix:")).parent) if config.url.startswith("unix:") else None


async def run(command: tuple[str, ...], timeout_sec: float) -> bytes:
    """What a command prints. Never through a shell; killed when late, when too long, and when the poll is given up.

    Raises `SourceDown`: no such program, a failure (with its first line), too late, more than `MAX_OUTPUT_BYTES`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
    except OSError as error:
        raise SourceDown(f"{command[0]}: {error.strerror}; the package openvswitch-switch has it") from error
    try:
        output, complaint, code = await asyncio.wait_for(_ended(process, command[0]), timeout_sec)
    except asyncio.TimeoutError as error:
        raise SourceDown(f"{command[0]}: no answer within {timeout_sec:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        first = complaint.decode(errors="replace").strip().partition("\n")[0]
        raise SourceDown(f"{command[0]}: {first[:300] or f'failed with code {code}'}")
    return output


async def _ended(process: asyncio.subprocess.Process, program: str) -> tuple[bytes, bytes, int]:
    assert process.stdout is not None
    assert process.stderr is not None
    output, complaint = await asyncio.gather(_bounded(process.stdout, program), process.stderr.read(4096))
    return output, complaint, await process.wait()


async def _bounded(stream: asyncio.StreamReader, program: str) -> bytes:
    parts, size = [], 0
    while part := await stream.read(1 << 16):
        size += len(part)
        if size > MAX_OUTPUT_BYTES:
            raise SourceDown(f"{program}: its answer is longer than {MAX_OUTPUT_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def _port(device: str, row: dict[str, Any]) -> Port | None:
    if row["ofport"] is None or row["ofport"] == -1:  # not (or not yet) in the switch
        return None
    statistics = row["statistics"] or {}
    down = "down" in (row["link_state"], row["admin_state"])
    return Port(
        device,
        port_no(row["ofport"]),
        name=row["name"],
        up=None if row["link_state"] is None else not down,
        speed_bps=float(row["link_speed"]) if row["link_speed"] else None,
        counters={name: count(statistics.get(name)) for name in COUNTERS},
    )


def _patches(interfaces: Any, ports: list[Port]) -> list[Direction]:
    """Patch ports whose peer points back are a link; what runs over a wire only a controller's discovery could tell."""
    at = {port.name: port for port in ports}
    peer = {row["name"]: (row["options"] or {}).get("peer") for row in interfaces if row["type"] == "patch"}
    return [
        Direction((at[name].device, at[name].port), (at[other].device, at[other].port), at[name].up is not False)
        for name, other in peer.items()
        if other is not None and peer.get(other) == name and name in at and other in at
    ]


def _hosts(interfaces: dict[str, dict[str, Any]], ports: list[Port]) -> dict[str, dict[str, Any]]:
    """Hosts that whoever attached them has named (`external_ids:attached-mac`, as libvirt and OpenStack do)."""
    at = {port.name: port for port in ports}
    hosts = {}
    for row in interfaces.values():
        ids = row["external_ids"] or {}
        if "attached-mac" in ids and row["name"] in at:
            key = str(ids["attached-mac"]).lower()
            port = at[row["name"]]
            hosts[key] = {
                "id": key,
                "mac": key,
                "device": port.device,
                "port": port.port,
                **known(name=ids.get("iface-id")),
            }
    return hosts


# ── ovs-ofctl's text ──────────────────────────────────────────────────────────────────────────

_PORT_BEGINS = re.compile(r'^  port +("?[^":]+"?): (.*)$')
_NUMBER = re.compile(r"(\w+)=([^,\s]+)")
_OFCTL_NAMES = {"pkts": "packets", "bytes": "bytes", "drop": "dropped", "errs": "errors"}


def parse_ports(text: str) -> dict[str, tuple[dict[str, int | None], float | None]]:
    """`ovs-ofctl dump-ports`: counters and, from OpenFlow 1.1 on, the duration in seconds, by port. "?" is None."""
    found: dict[str, tuple[dict[str, int | None], float | None]] = {}
    current = None
    for line in text.splitlines():
        if (begins := _PORT_BEGINS.match(line)) is not None:
            current, line = port_no(begins[1].strip('"')), begins[2]
            found[current] = ({}, None)
        if current is None:
            continue
        words = line.strip()
        numbers = dict(_NUMBER.findall(words))
        counters, duration_sec = found[current]
        if words.startswith(("rx ", "tx ")):
            counters |= {f"{words[:2]}_{_OFCTL_NAMES[k]}": count(v) for k, v in numbers.items() if k in _OFCTL_NAMES}
        elif "duration" in numbers:
            duration_sec = _seconds(numbers["duration"])
        found[current] = counters, duration_sec
    return found


def parse_flows(device: str, text: str) -> list[Flow]:
    """`ovs-ofctl dump-flows`: the entries of one device."""
    return [_flow(device, line.strip()) for line in text.splitlines() if " actions=" in line]


_NOT_MATCH = {
    "cookie", "duration", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout", "priority", "table",
    "send_flow_rem", "check_overlap", "reset_counts", "importance",
}  # fmt: skip
_ETHERTYPES = {"arp": 0x0806, "rarp": 0x8035}


def _flow(device: str, line: str) -> Flow:
    head, _, actions = line.partition(" actions=")
    fields = dict(part.strip().partition("=")[::2] for part in head.split(","))
    match = {name: value for name, value in fields.items() if name not in _NOT_MATCH}
    flow = Flow(
        device,
        f"{fields.get('table', '0')}/{fields.get('priority', '')}/{fields.get('cookie', '')}/{sorted(match.items())}",
        # Not shown where it is OpenFlow's default.
        int(fields["priority"]) if "priority" in fields else 32768,
        count(fields.get("n_bytes")),
        age_sec=_seconds(fields.get("duration", "")),
        to_controller="CONTROLLER" in actions,
        ethertype=next((_ETHERTYPES[name] for name in match if name in _ETHERTYPES), None),
    )
    if "dl_type" in match:
        flow.ethertype = int(match["dl_type"], 0)
    for name, value in match.items():
        if name in ("dl_src", "dl_dst", "nw_src", "nw_dst", "ipv6_src", "ipv6_dst"):
            flow.addresses.append(value)
        elif name in ("tp_src", "tp_dst", "tcp_src", "tcp_dst", "udp_src", "udp_dst") and (port := count(value)):
            flow.ports.append(port)
    return flow


def _seconds(text: str) -> float | None:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return None
