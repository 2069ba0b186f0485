"""An active probe: how long the way to a target is, and how much gets lost on it. The only source of latency and loss.

A TCP target is connected to and closed again; an ICMP target is sent echo requests (RFC 792, RFC 4443) from an
unprivileged ping socket, which Linux allows to the groups in `net.ipv4.ping_group_range`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import struct
import time
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from fedsight.collector.sources.source import Polled, SourceConfig, SourceDown, Web
from fedsight.events import Event, Log, Sample

ECHO_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}


class ReachConfig(SourceConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """targets: "tcp://<host>:<port>" or "icmp://<host>". tries: for each target and poll, one after the other.

    try_timeout_sec: when a try counts as lost; by default all tries fit into `timeout_sec` together, a second
    each at most. url: one target more, for short.
    """

    url: str = ""
    targets: tuple[str, ...] = ()
    tries: int = 5
    try_timeout_sec: float | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` naming the field, its value and what is allowed."""
        if not self.all_targets:
            raise ValueError('targets: none; "tcp://<host>:<port>" or "icmp://<host>"')
        for text in self.all_targets:
            Target.of(text)
        if not 1 <= self.tries <= 100:
            raise ValueError(f"tries: {self.tries}; 1 to 100")
        if not 0 < self.tries * self.lost_after_sec <= self.timeout_sec:
            raise ValueError(
                f"try_timeout_sec: {self.tries} tries of {self.lost_after_sec:g} s don't fit into "
                f"timeout_sec, {self.timeout_sec:g}"
            )

    @property
    def lost_after_sec(self) -> float:
        """When a try counts as lost."""
        return min(1.0, 0.9 * self.timeout_sec / self.tries) if self.try_timeout_sec is None else self.try_timeout_sec

    @property
    def all_targets(self) -> tuple[str, ...]:
        """`url` and `targets` together."""
        return (*((self.url,) if self.url else ()), *self.targets)


class Target(msgspec.Struct, frozen=True):
    """Where to. `port` is None for ICMP. node: the name of its samples."""

    node: str
    host: str
    port: int | None

    @classmethod
    def of(cls, text: str) -> Target:
        """Raises `ValueError` naming the target that can't be meant."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"targets: {text!r}: {error}") from error
        if host and ((parts.scheme == "tcp" and port) or (parts.scheme == "icmp" and port is None)):
            return cls(text, host, port)
        raise ValueError(f'targets: {text!r} is neither "tcp://<host>:<port>" nor "icmp://<host>"')


class Outcome(msgspec.Struct):
    """All tries of one target. latencies_ms: of those that were answered; open: None for ICMP."""

    latencies_ms: list[float]
    tries: int
    open: bool | None = None


class ReachSource:
    """Some targets, all probed in each poll."""

    kind: ClassVar[str] = "reach"

    def __init__(self, config: ReachConfig) -> None:
        self.config = config
        self._targets = [Target.of(text) for text in config.all_targets]
        self._reached: dict[str, bool] = {}
        self._not_probed: dict[str, str] = {}

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Probe all targets at once. Raises `SourceDown` where not one could be probed (no such name, not allowed)."""
        answers = await asyncio.gather(*map(self._probe, self._targets), return_exceptions=True)
        ts = time.time()
        events: list[Event] = []
        latencies_ms: list[float] = []
        losses: list[float] = []
        faults: dict[str, str] = {}
        for target, answer in zip(self._targets, answers, strict=True):
            if isinstance(answer, OSError):
                faults[target.node] = answer.strerror or str(answer)
                continue
            if isinstance(answer, BaseException):
                raise answer
            metrics = _metrics(answer)
            events.append(Sample(ts=ts, node=target.node, metrics=metrics))
            losses.append(metrics["packet_loss_rate"])
            if "latency_ms" in metrics:
                latencies_ms.append(metrics["latency_ms"])
            events += self._news(target, bool(answer.latencies_ms), ts)
        events += [
            self._log(ts, "part_unknown", node, f"{node} could not be probed: {fault}", "warning")
            for node, fault in faults.items()
            if self._not_probed.get(node) != fault
        ]
        self._not_probed = faults
        if len(faults) == len(self._targets):
            raise SourceDown("; ".join(f"{node}: {fault}" for node, fault in faults.items()))
        whole: dict[str, float] = {"packet_loss_rate": statistics.fmean(losses)}
        if latencies_ms:
            whole["average_latency_ms"] = statistics.fmean(latencies_ms)
        events.append(Sample(ts=ts, node=self.config.name, metrics=whole))
        return Polled(events=events)

    async def _probe(self, target: Target) -> Outcome:
        """Raises `OSError` where the target can't even be tried."""
        # The name is looked up outside of what is measured.
        kind = socket.SOCK_STREAM if target.port is not None else socket.SOCK_DGRAM
        try:
            found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=kind)
        except UnicodeError as error:
            raise OSError(None, "this can be no host's name") from error
        family, _, _, _, address = found[0]
        if target.port is None:
            return await self._ping(socket.AddressFamily(family), address)
        outcome = Outcome([], self.config.tries, open=False)
        for _ in range(self.config.tries):
            took_ms, is_open = await connect(socket.AddressFamily(family), address, self.config.lost_after_sec)
            if took_ms is not None:
                outcome.latencies_ms.append(took_ms)
            outcome.open = outcome.open or is_open
        return outcome

    async def _ping(self, family: socket.AddressFamily, address: Any) -> Outcome:
        protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        try:
            endpoint = socket.socket(family, socket.SOCK_DGRAM, protocol)
        except PermissionError as error:
            raise PermissionError(
                error.errno,
                "ping sockets are not allowed here; net.ipv4.ping_group_range must hold a group of this process",
            ) from error
        with endpoint:
            endpoint.setblocking(False)
            try:
                endpoint.connect(address)
            except OSError:  # no way there at all: every try is lost
                return Outcome([], self.config.tries)
            answers = [
                await echo(endpoint, family, number, self.config.lost_after_sec) for number in range(self.config.tries)
            ]
        return Outcome([answer for answer in answers if answer is not None], self.config.tries)

    def _news(self, target: Target, reached: bool, ts: float) -> list[Event]:
        before = self._reached.get(target.node)
        self._reached[target.node] = reached
        if before == reached or (before is None and reached):
            return []
        if reached:
            return [self._log(ts, "target_reached", target.node, f"{target.node} answers again", "info")]
        return [self._log(ts, "target_lost", target.node, f"{target.node} answered none of the tries", "warning")]

    def _log(self, ts: float, event: str, node: str, message: str, level: str) -> Event:
        return Log(
            ts=ts,
            component=f"source {self.config.name}",
            event=event,
            message=message,
            level="warning" if level == "warning" else "info",
            extra={"target": node},
        )


def _metrics(outcome: Outcome) -> dict[str, float]:
    """Latency is the mean of the answered tries and absent without any; loss is the share without an answer."""
    metrics: dict[str, float] = {
        "tries": outcome.tries,
        "packet_loss_rate": 1 - len(outcome.latencies_ms) / outcome.tries,
    }
    if outcome.open is not None:
        metrics["open"] = 1.0 if outcome.open else 0.0
    if outcome.latencies_ms:
        metrics["latency_ms"] = statistics.fmean(outcome.latencies_ms)
        metrics["latency_min_ms"] = min(outcome.latencies_ms)
        metrics["latency_max_ms"] = max(outcome.latencies_ms)
    return metrics


async def connect(family: socket.AddressFamily, address: Any, timeout_sec: float) -> tuple[float | None, bool]:
    """Connect once: how long the answer took in ms, None without one, and whether somebody listens.

    A refusal is an answer: the way there and back was measured.
    """
    with socket.socket(family, socket.SOCK_STREAM) as endpoint:
        endpoint.setblocking(False)
        began = time.perf_counter()
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(endpoint, address), timeout_sec)
        except ConnectionRefusedError:
            return (time.perf_counter() - began) * 1000, False
        except (asyncio.TimeoutError, OSError):
            return None, False
        return (time.perf_counter() - began) * 1000, True


async def echo(endpoint: socket.socket, family: socket.AddressFamily, number: int, timeout_sec: float) -> float | None:
    """Send one echo request on a connected ping socket: how long the reply took in ms, None where none came."""
    loop = asyncio.get_running_loop()
    payload = os.urandom(16)
    # The kernel fills in the checksum and the identifier, and hands this socket the replies to its own alone.
    request = struct.pack("!BBHHH", ECHO_REQUEST[family], 0, 0, 0, number) + payload
    answered: asyncio.Future[float] = loop.create_future()

    def read() -> None:
        try:
            reply = endpoint.recv(2048)
        except OSError:  # an ICMP error about an earlier request, or nothing to read after all
            return
        if reply[:1] == bytes([ECHO_REPLY[family]]) and reply[8:] == payload and not answered.done():
            answered.set_result(time.perf_counter())

    loop.add_reader(endpoint, read)
    try:
        began = time.perf_counter()
        endpoint.send(request)
        return (await asyncio.wait_for(answered, timeout_sec) - began) * 1000
    except (asyncio.TimeoutError, OSError):
        return None
    finally:
        loop.remove_reader(endpoint)
