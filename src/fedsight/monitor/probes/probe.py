"""What a probe is: a thing that measures one kind of resource of one process, or of its machine.

A metric's key in a sample is its OpenTelemetry name, with its attributes in braces where it has
any: `process.cpu.time{cpu.mode=user}`. What OpenTelemetry has no name for stands under `fedsight.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

import msgspec

from fedsight.errors import FedsightError

Instrument = Literal["counter", "gauge"]


class MetricInfo(msgspec.Struct, frozen=True):
    """One metric: its OpenTelemetry name, its unit (UCUM: "s", "By", "1", "W"), and what it says.

    counter: grows from 0 at the monitor's start. gauge: a value at an instant.
    """

    name: str
    unit: str
    instrument: Instrument
    description: str


class Target(msgspec.Struct, frozen=True):
    """Whom the monitor measures: a process and all its descendants, on this machine.

    excluded_pids: processes that are the monitor's own, and not the training's.
    """

    pid: int
    excluded_pids: frozenset[int] = frozenset()


class Unavailable(FedsightError):
    """The machine, or this user, can't measure it; the message says why and what would help."""


class Probe(Protocol):
    """Measures one thing. Constructed in the thread or process that reads it."""

    name: ClassVar[str]
    """As `fedsight probes` lists it: "cpu"."""

    metrics: ClassVar[tuple[MetricInfo, ...]]

    def __init__(self, target: Target) -> None:
        """Open what is read. Counters count from here. Raises `Unavailable`, or `ProcessLookupError` where the process is gone."""

    def read(self, values: dict[str, float]) -> None:
        """Put what is known now into `values`, by key. What can't be read at the moment is left out.

        Raises `ProcessLookupError` when the process is gone; `OSError` where reading failed.
        """

    def close(self) -> None:
        """Let go of files and libraries."""


def key(name: str, **attributes: str) -> str:
    """A metric's key: `key("process.cpu.time", cpu_mode="user")` is `process.cpu.time{cpu.mode=user}`."""
    if not attributes:
        return name
    return name + "{" + ",".join(f"{k.replace('_', '.')}={v}" for k, v in attributes.items()) + "}"


def split_key(full: str) -> tuple[str, Mapping[str, str]]:
    """The name and the attributes of a metric's key."""
    name, brace, rest = full.partition("{")
    if not brace:
        return name, {}
    return name, dict(part.partition("=")[::2] for part in rest.removesuffix("}").split(","))
