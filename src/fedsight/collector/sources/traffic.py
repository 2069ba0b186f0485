"""Whose traffic it is, and of what class: flow entries sorted by configurable matches and priorities.

Flow counters count a packet once in every table and switch that it passes, so what is given is each kind's share of
all flow bytes, not an amount that a wire carried.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

import msgspec

Kind = Literal["fl", "control", "background"]

_CONTROL_ETHERTYPES = {0x0806, 0x88CC, 0x8942}  # ARP, LLDP, ONOS's own discovery


class Flow(msgspec.Struct):
    """One flow entry. `id` stays the same between polls; counters are None where the switch has none.

    addresses: IP and MAC addresses of the match. ports: its TCP and UDP ports. age_sec: since it was installed.
    """

    device: str
    id: str
    priority: int
    bytes: int | None
    age_sec: float | None = None
    addresses: list[str] = []
    ports: list[int] = []
    ethertype: int | None = None
    to_controller: bool = False


class Matches(msgspec.Struct, frozen=True):
    """What makes traffic one kind: a port, or an address in one of the networks, at either end."""

    ports: frozenset[int]
    macs: frozenset[str]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @classmethod
    def of(cls, ports: Iterable[int], addresses: Iterable[str], field: str) -> Matches:
        """Raises `ValueError` naming the field and the address that is neither an IP address, a network nor a MAC address."""
        macs, networks = set(), []
        for address in addresses:
            if is_mac(address):
                macs.add(address.lower())
                continue
            try:
                networks.append(ipaddress.ip_network(address, strict=False))
            except ValueError as error:
                raise ValueError(
                    f"{field}: {address!r} is no IP address, network (10.0.0.0/24) or MAC address"
                ) from error
        return cls(frozenset(ports), frozenset(macs), tuple(networks))

    def __bool__(self) -> bool:
        """Whether anything is configured."""
        return bool(self.ports or self.macs or self.networks)

    def match(self, flow: Flow) -> bool:
        """Whether a flow entry's match names one of these. An entry for a wider network than configured does not."""
        if self.ports.intersection(flow.ports):
            return True
        return any(self._has(address) for address in flow.addresses)

    def _has(self, address: str) -> bool:
        if is_mac(address):
            return address.lower() in self.macs
        try:
            network = ipaddress.ip_network(address, strict=False)
        except ValueError:
            return False
        # Same version on both sides, which the type of a union can't say.
        return any(network.version == known.version and network.subnet_of(known) for known in self.networks)  # type: ignore[arg-type]


def is_mac(text: str) -> bool:
    """Whether a text is six bytes in hex with colons."""
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and set(part.lower()) <= set("0123456789abcdef") for part in parts)


class TrafficSplit:
    """Shares of the traffic between two polls: FL's, control's, and the rest."""

    def __init__(self, fl: Matches, control: Matches) -> None:
        self._fl = fl
        self._control = control
        self._bytes: dict[tuple[str, str], tuple[int, float | None]] = {}
        self._at_sec: float | None = None

    def kind(self, flow: Flow) -> Kind:
        """FL's matches win, then control's: configured ones, entries that send to the controller, ARP and LLDP."""
        if self._fl.match(flow):
            return "fl"
        if self._control.match(flow) or flow.to_controller or flow.ethertype in _CONTROL_ETHERTYPES:
            return "control"
        return "background"

    def take(self, flows: list[Flow], now_sec: float) -> dict[str, float]:
        """Percentages of the bytes since the last poll. Empty at first, where nothing moved, or where FL was not configured."""
        before, self._bytes = self._bytes, {}
        elapsed, self._at_sec = (None if self._at_sec is None else now_sec - self._at_sec), now_sec
        moved: dict[Kind, int] = {"fl": 0, "control": 0, "background": 0}
        for flow in flows:
            if flow.bytes is None:
                continue
            key = flow.device, flow.id
            self._bytes[key] = flow.bytes, flow.age_sec
            moved[self.kind(flow)] += _new_bytes(flow, before.get(key), elapsed)
        total = sum(moved.values())
        if not self._fl or elapsed is None or total == 0:
            return {}
        return {f"{kind}_traffic_percentage": 100 * amount / total for kind, amount in moved.items()}


def _new_bytes(flow: Flow, before: tuple[int, float | None] | None, elapsed_sec: float | None) -> int:
    """What an entry counted since the last poll. One that was installed since has counted all of it since."""
    now = flow.bytes or 0
    if before is None:
        is_new = elapsed_sec is not None and flow.age_sec is not None and flow.age_sec <= elapsed_sec + 1
        return now if is_new else 0
    count, age_sec = before
    is_again = now < count or (flow.age_sec is not None and age_sec is not None and flow.age_sec < age_sec)
    return now if is_again else now - count


def priority_classes(flows: list[Flow], high_from: int, medium_from: int) -> dict[str, float]:
    """How many entries are of each class. high_from, medium_from: the lowest OpenFlow priority of it."""
    counts = {"high_priority_flows": 0, "medium_priority_flows": 0, "low_priority_flows": 0}
    for flow in flows:
        name = "high" if flow.priority >= high_from else "medium" if flow.priority >= medium_from else "low"
        counts[f"{name}_priority_flows"] += 1
    return dict(counts)
