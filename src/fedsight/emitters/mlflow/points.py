"""From events to MLflow's metrics and tags, under HiveWatch's names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fedsight.emitters.destination import RoundReport
from fedsight.emitters.metric_names import client_figures, round_figures, system_figures
from fedsight.events import ClientUpdate, RunStart, ServerInfo

LONGEST_PARAM = 6000
LONGEST_TAG = 5000
"""Characters that MLflow keeps of a value (8,000 for tags since 2.15, 5,000 before)."""

_PLACE_FIELDS = ("lat", "lng", "city", "country")


class Point(msgspec.Struct, gc=False, frozen=True):
    """One value of a metric. time_ms: UTC epoch milliseconds."""

    key: str
    value: float
    time_ms: int
    step: int


def milliseconds(ts: float) -> int:
    """MLflow's time stamp; it takes none before 1970."""
    return max(0, int(ts * 1000))


def client_values(update: ClientUpdate) -> tuple[dict[str, float], dict[str, float]]:
    """A client's own figures and its system's, by their names without the client's prefix.

    A custom field whose name is taken stands as `metrics.<name>`.
    """
    own, system = client_figures(update), system_figures(update)
    for name, value in (update.metrics or {}).items():
        own[f"metrics.{name}" if name in own or name in system else name] = value
    return own, system


def place_tags(update: ClientUpdate) -> dict[str, str]:
    """Where a client is, as far as it said so."""
    return {name: str(value) for name in _PLACE_FIELDS if (value := getattr(update, name)) is not None}


def round_values(report: RoundReport) -> dict[str, float]:
    """A round's figures, by MLflow's names. A custom one whose name is taken stands as `round/metrics.<name>`."""
    known = round_figures(report.summary)
    own = {
        f"round/metrics.{name}" if f"round/{name}" in known else f"round/{name}": value
        for name, value in report.summary.metrics.items()
    }
    return known | own


def algorithm_values(metadata: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of an algorithm's own metadata, nested ones with dots."""
    for name, value in flattened(metadata):
        if isinstance(value, (int, float)):
            yield f"agg/algo/{name}", float(value)


def flattened(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, their keys joined with dots."""
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def params_of(start: RunStart) -> dict[str, str]:
    """The run's configuration as MLflow's params; of two keys that flatten to the same, the later is numbered."""
    params: dict[str, str] = {}
    for name, value in flattened(start.config or {}):
        key, number = name, 1
        while key in params:
            number += 1
            key = f"{name} {number}"
        params[key] = value if isinstance(value, str) else str(value)
    return params


def server_tags(server: ServerInfo, *, with_place: bool) -> dict[str, str]:
    """What is known of the server, as tags."""
    fields: dict[str, Any] = {"host": server.host, "protocol": server.protocol}
    if with_place:
        fields.update({name: getattr(server, name) for name in _PLACE_FIELDS})
        fields.update(server.metrics or {})
        fields.update(server.extra or {})
    return {
        f"server.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
        if value is not None
    }


def cut(value: str, limit: int) -> str:
    """`value`, cut where it is longer than `limit` characters, and then saying so."""
    if len(value) <= limit:
        return value
    note = f" … (cut; {len(value)} characters)"
    return value[: limit - len(note)] + note
