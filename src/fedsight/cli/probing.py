"""`fedsight probes`: what this machine can measure. It needs the recorder alone."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module

import msgspec

from fedsight.monitor.probes import BUILT_IN, ENTRY_POINTS, close_probes, open_probes
from fedsight.monitor.probes.probe import MetricInfo, Target

_NAME_WIDTH = 17
_STATE_WIDTH = 4


class ProbeInfo(msgspec.Struct, kw_only=True):
    """A probe: whether it measures on this machine, and if not, why. origin: the package it is of."""

    name: str
    is_available: bool
    reason: str | None
    origin: str
    metrics: list[MetricInfo]


def main(arguments: Sequence[str]) -> None:
    """`fedsight probes …`."""
    parser = argparse.ArgumentParser(
        "fedsight probes", description="Show what this machine can measure, and what would make it measure more."
    )
    parser.add_argument("--json", action="store_true", help="as JSON, with a description of each metric")
    given = parser.parse_args(arguments)
    found = probe_infos()
    if given.json:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        text = "\n".join(_table(found, max(60, width), has_colour=has_colour))
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def probe_infos() -> list[ProbeInfo]:
    """All probes there are, tried on this very process."""
    return [_tried(name, origin, metrics) for name, origin, metrics in _known()]


def _tried(name: str, origin: str, metrics: Iterable[MetricInfo]) -> ProbeInfo:
    opened, unavailable = open_probes(Target(os.getpid()), [name])
    close_probes(opened)
    reason = unavailable.get(name)
    return ProbeInfo(name=name, is_available=reason is None, reason=reason, origin=origin, metrics=list(metrics))


def _known() -> Iterator[tuple[str, str, Iterable[MetricInfo]]]:
    for name, target in BUILT_IN.items():
        module, _, attribute = target.partition(":")
        probe = getattr(import_module(f"fedsight.monitor.probes.{module}"), attribute)
        yield name, "fedsight", probe.metrics
    from importlib.metadata import entry_points  # slow to import

    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name not in BUILT_IN:
            try:
                metrics = entry.load().metrics
            except Exception:  # why, opening it tells
                metrics = ()
            yield entry.name, entry.dist.name if entry.dist else entry.module, metrics


def _table(found: Sequence[ProbeInfo], width: int, *, has_colour: bool) -> Iterator[str]:
    room = width - _NAME_WIDTH - _STATE_WIDTH
    yield "probe".ljust(_NAME_WIDTH + _STATE_WIDTH) + "measures (unit), or why not"
    for probe in found:
        state, colour = ("yes", "32") if probe.is_available else ("no", "33")
        told = [] if probe.reason is None else textwrap.wrap(_without_name(probe), room)
        metrics = ", ".join(f"{metric.name}\u00a0({metric.unit})" for metric in probe.metrics)
        if probe.origin != "fedsight":
            metrics += f"; from the package {probe.origin}"
        lines = told + textwrap.wrap(metrics, room, break_long_words=False, break_on_hyphens=False)
        lines = [line.replace("\u00a0", " ") for line in lines] or [""]
        padded = state.ljust(_STATE_WIDTH)
        yield probe.name.ljust(_NAME_WIDTH) + (f"\x1b[{colour}m{padded}\x1b[0m" if has_colour else padded) + lines[0]
        for line in lines[1:]:
            yield " " * (_NAME_WIDTH + _STATE_WIDTH) + line
    num_available = sum(probe.is_available for probe in found)
    yield f"{num_available} of {len(found)} probes can measure here."


def _without_name(probe: ProbeInfo) -> str:
    reason = (probe.reason or "").removeprefix(f"{probe.name}: ")
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")
