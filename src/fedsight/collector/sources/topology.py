"""What a network looks like: one way to name devices and ports, links joined from their directions, and what changed.

Devices are named as ONOS does: "of:" and the datapath id in 16 hex digits. A port is "<device>/<port>".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from fedsight.events import Event, Log, Topology

Key = tuple[str, str]

_PORT_IN_TEXT = re.compile(r"\((\d+)\)$")  # ONOS on P4 switches: "[eth1](1)"
_LOCAL = {"local", "65534", "4294967294"}  # OpenFlow 1.0's and 1.3's OFPP_LOCAL


def device_id(value: Any) -> str:
    """One name for a datapath id: from an integer, decimal text, 16 hex digits, "0x1", "of:…" or colons between bytes.

    Text of exactly 16 hex digits is hexadecimal, as everybody writes it; other digits are decimal. What is no datapath id
    (an ONOS device of another protocol, a name) is kept as it is. Raises `ValueError` where there is nothing.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return f"of:{value:016x}"
    if not isinstance(value, str) or not value:
        raise ValueError(f"datapath id: {value!r} is neither a number nor a text")
    text = value.strip().lower()
    digits = text.removeprefix("of:").replace(":", "") if text.startswith("of:") or text.count(":") == 7 else text
    if re.fullmatch(r"[0-9a-f]{16}", digits):
        return f"of:{digits}"
    if re.fullmatch(r"0x[0-9a-f]{1,16}", digits):
        return f"of:{int(digits, 16):016x}"
    if re.fullmatch(r"[0-9]{1,20}", digits) and int(digits) < 2**64:
        return f"of:{int(digits):016x}"
    return value


def port_no(value: Any) -> str:
    """One name for a port: "11" from 11, "11", "0000000b" (8 hex digits), "[eth1](11)"; "local" for the switch's own."""
    text = str(value).strip()
    if (found := _PORT_IN_TEXT.search(text)) is not None:
        text = found[1]
    if re.fullmatch(r"[0-9a-fA-F]{8}", text):
        text = str(int(text, 16))
    return "local" if text.lower() in _LOCAL else text


def port_id(device: str, port: str) -> str:
    """The node name of a port's samples."""
    return f"{device}/{port}"


class Direction(msgspec.Struct, frozen=True):
    """One direction of a link, as controllers tell them: from port to port, each (device, port)."""

    src: Key
    dst: Key
    up: bool = True


class View(msgspec.Struct):
    """The network as one poll saw it. None is what the source could not see, which differs from none there.

    devices, hosts: by id, with stable facts alone (no time stamps). `up` of a device: whether the controller reaches it.
    """

    devices: dict[str, dict[str, Any]]
    directions: list[Direction] | None = None
    hosts: dict[str, dict[str, Any]] | None = None


def join(directions: Iterable[Direction]) -> dict[str, dict[str, Any]]:
    """Links by id, their two directions as one. A link is up while no direction is told to be down.

    `src` is the end whose name comes first. `one_way`: only one direction was told.
    """
    links: dict[str, dict[str, Any]] = {}
    for direction in directions:
        src, dst = sorted((direction.src, direction.dst))
        key = f"{port_id(*src)}-{port_id(*dst)}"
        is_back = direction.src != src
        link = links.setdefault(
            key,
            {
                "id": key,
                "src": {"device": src[0], "port": src[1]},
                "dst": {"device": dst[0], "port": dst[1]},
                "up": True,
                "ways": set(),
            },
        )
        link["up"] = link["up"] and direction.up
        link["ways"].add(is_back)
    for link in links.values():
        if len(link.pop("ways")) == 1:
            link["one_way"] = True
    return links


class Watch:
    """Remembers a network and tells what changed. What a controller no longer lists is down, and forgotten after a while.

    source: its name, for the events. forget_sec: how long what has gone is still shown as down.
    """

    def __init__(self, source: str, forget_sec: float) -> None:
        self._source = source
        self._forget_sec = forget_sec
        self._told: tuple[Any, ...] | None = None
        self._devices: dict[str, dict[str, Any]] = {}
        self._links: dict[str, dict[str, Any]] = {}
        self._hosts: dict[str, dict[str, Any]] = {}
        self._gone_at: dict[str, float] = {}

    @property
    def devices(self) -> dict[str, dict[str, Any]]:
        """All that are known, each with `up`."""
        return self._devices

    @property
    def links(self) -> dict[str, dict[str, Any]]:
        """All that are known, each with `up`."""
        return self._links

    def take(self, view: View, ts: float, now_sec: float) -> list[Event]:
        """What this view tells anew: a log line for each device and link that changed state, a topology if anything did."""
        is_first = self._told is None
        devices = self._with_gone(self._devices, view.devices, now_sec)
        links = self._links
        if view.directions is not None:
            links = self._with_gone(self._links, join(view.directions), now_sec)
        events: list[Event] = []
        if not is_first:
            events += self._changes("device", self._devices, devices, ts)
            events += self._changes("link", self._links, links, ts)
        self._devices, self._links = devices, links
        if view.hosts is not None:
            self._hosts = view.hosts
        now = (_in_order(devices), _in_order(links), _in_order(self._hosts))
        if now != self._told:
            self._told = now
            events.append(Topology(ts=ts, source=self._source, devices=now[0], links=now[1], hosts=now[2]))
        return events

    def _with_gone(
        self, before: dict[str, dict[str, Any]], seen: dict[str, dict[str, Any]], now_sec: float
    ) -> dict[str, dict[str, Any]]:
        known = {key: {**thing, "up": thing.get("up", True)} for key, thing in seen.items()}
        for key in seen:
            self._gone_at.pop(key, None)
        for key, thing in before.items():
            if key not in known and now_sec - self._gone_at.setdefault(key, now_sec) < self._forget_sec:
                known[key] = {**thing, "up": False}
        for key in before.keys() - known.keys():
            self._gone_at.pop(key, None)
        return known

    def _changes(
        self, what: str, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]], ts: float
    ) -> list[Event]:
        events: list[Event] = []
        for key, thing in after.items():
            was_up = before[key]["up"] if key in before else None
            if was_up == thing["up"]:
                continue
            event, level = (f"{what}_up", "info") if thing["up"] else (f"{what}_down", "warning")
            if was_up is None:
                event, level = f"{what}_added", "info"
            message = f"{what} {key} is {'up' if thing['up'] else 'down'}" + (
                ", seen for the first time" if was_up is None else ""
            )
            events.append(
                Log(
                    ts=ts,
                    component=f"source {self._source}",
                    event=event,
                    message=message,
                    level="warning" if level == "warning" else "info",
                    extra={what: key},
                )
            )
        events += [
            Log(
                ts=ts,
                component=f"source {self._source}",
                event=f"{what}_forgotten",
                message=f"{what} {key} has been gone for {self._forget_sec:g} s and is no longer shown",
                extra={what: key},
            )
            for key in before.keys() - after.keys()
        ]
        return events


def _in_order(things: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [things[key] for key in sorted(things)]
