"""From events to MLflow's metrics and tags, under HiveWatch's names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fedsight.emitters.destination import UPDATE_NUMBERS, RoundReport
from fedsight.events import ClientUpdate, RunStart, ServerInfo

BYTES_PER_MB = 1e6
"""Megabytes are 10^6 bytes, as in HiveWatch."""

STATUS_CODES = {"active": 0.0, "idle": 1.0, "dropped": 2.0, "failed": 3.0}
"""`client.<id>.status` as a number; another status has none and is left out."""

LONGEST_PARAM = 6000
LONGEST_TAG = 5000
"""Characters that MLflow keeps of a value (8,000 for tags since 2.15, 5,000 before)."""

_SYSTEM_FIELDS = ("cpu_pct", "ram_mb", "gpu_util_pct", "gpu_vram_mb")
_PLACE_FIELDS = ("lat", "lng", "city", "country")
_SHORT = {"local_accuracy": "accuracy", "local_loss": "loss"}
_IN_MB = {"bytes_sent": "bytes_sent_mb", "bytes_received": "bytes_received_mb"}


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
    numbers = {name: value for name in UPDATE_NUMBERS if (value := getattr(update, name)) is not None}
    own: dict[str, float] = {}
    system: dict[str, float] = {}
    for name, value in numbers.items():
        if name in _SYSTEM_FIELDS:
            system[name] = value
        elif name in _IN_MB:
            own[_IN_MB[name]] = value / BYTES_PER_MB
        elif name not in _PLACE_FIELDS:
            own[_SHORT.get(name, name)] = value
    if (staleness := update.staleness) is not None:
        own["staleness"] = staleness
    if update.status in STATUS_CODES:
        own["status"] = STATUS_CODES[update.status]
    for name, value in (update.metrics or {}).items():
        own[f"metrics.{name}" if name in own or name in system else name] = value
    return own, system


def place_tags(update: ClientUpdate) -> dict[str, str]:
    """Where a client is, as far as it said so."""
    return {name: str(value) for name in _PLACE_FIELDS if (value := getattr(update, name)) is not None}


def round_values(report: RoundReport) -> dict[str, float]:
    """A round's figures, by MLflow's names; unknown ones are left out. The total volume is of what is known of up and down."""
    summary = report.summary
    own: dict[str, float | None] = {
        "accuracy": summary.global_accuracy,
        "loss": summary.global_loss,
        "participation_rate": summary.participation_rate,
        "num_stragglers": summary.num_stragglers,
        "num_failures": summary.num_failures,
        "duration_sec": summary.round_duration_sec,
        "num_selected": summary.num_selected,
        "num_completed": summary.num_completed,
        "num_dropouts": summary.num_dropouts,
        "num_late": summary.num_late,
        "mean_staleness": summary.mean_staleness,
        "max_staleness": summary.max_staleness,
    }
    known = {name: value for name, value in own.items() if value is not None}
    values = {f"round/{name}": value for name, value in known.items()}
    for name, value in summary.metrics.items():
        values[f"round/metrics.{name}" if name in known else f"round/{name}"] = value
    up, down = summary.total_bytes_up, summary.total_bytes_down
    volumes = {
        "total_bytes_up_mb": up,
        "total_bytes_down_mb": down,
        "total_bytes_mb": None if up is None and down is None else (up or 0.0) + (down or 0.0),
        "bytes_per_client_mb": summary.bytes_per_client,
    }
    values.update({f"comm/{name}": num / BYTES_PER_MB for name, num in volumes.items() if num is not None})
    others = {
        "agg/gradient_norm_dispersion": summary.gradient_norm_dispersion,
        "agg/gradient_divergence": summary.gradient_norm_dispersion,
        "agg/aggregation_time_sec": summary.aggregation_time_sec,
    }
    values.update({name: value for name, value in others.items() if value is not None})
    return values


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
