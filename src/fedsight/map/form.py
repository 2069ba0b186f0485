"""Our events in the eight shapes of HiveWatch's JSONL files (HiveWatch 0.3.1), and JSON that browsers read.

What HiveWatch has no shape for (round starts, step-level metrics, notes, samples, logs) is left out.
What its shapes have and nobody told is left out as well; an update without a status is "active", as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from fedsight.events import (
    AnyEvent,
    Checkpoint,
    ClientEvent,
    ClientUpdate,
    RoundEnd,
    RunEnd,
    RunStart,
    ServerInfo,
    UnknownEvent,
    float_name,
)

JsonObject = dict[str, Any]

_WHOLE_NUMBERS = ("num_samples", "bytes_sent", "bytes_received")
_CONTRACT = tuple(
    name for name in ClientUpdate.__struct_fields__ if name not in ("ts", "extra", "metrics", "client_id", "round")
)
_ROUND_METRICS = tuple(
    name for name in RoundEnd.__struct_fields__ if name not in ("ts", "extra", "metrics", "round", "algorithm_metadata")
)


def in_hivewatch_form(event: AnyEvent | UnknownEvent, run_id: str) -> JsonObject | None:
    """The event in HiveWatch's shape, None where HiveWatch has none for it.

    A `round_end` comes without the clients' records, which HiveWatch repeats there: see `round_end`.
    """
    if isinstance(event, RunStart):
        return init(run_id, event.algorithm, event.config, event.ts)
    if isinstance(event, ServerInfo):
        known = ("lat", "lng", "city", "country", "host", "protocol")
        told = {name: getattr(event, name) for name in known}
        return server_metadata(run_id, event.ts, {**told, **(event.metrics or {}), **(event.extra or {})})
    if isinstance(event, ClientUpdate):
        record = client_record(
            {name: getattr(event, name) for name in ("client_id", "round", *_CONTRACT)}, event.metrics, event.extra
        )
        return client_update(run_id, event.round, event.ts, [record])
    if isinstance(event, ClientEvent):
        return client_event(run_id, event.event, event.client_id, event.round, event.ts, event.reason)
    if isinstance(event, RoundEnd):
        told = {name: getattr(event, name) for name in _ROUND_METRICS}
        return round_end(run_id, event.round, event.ts, told, event.metrics, [])
    if isinstance(event, Checkpoint):
        # It is told a second time when its hash is known.
        return None if event.sha256 is not None else checkpoint(run_id, event.round, event.ts, event.path)
    if isinstance(event, RunEnd):
        return finished(run_id, event.ts)
    return None


# ── the shapes ────────────────────────────────────────────────────────────────────────────────


def init(run_id: str, algorithm: str | None, config: Any, ts: float | None) -> JsonObject:
    """A run begins."""
    return {
        "event_type": "init",
        "run_id": run_id,
        "algorithm": algorithm,
        "config": config or {},
        "started_at": iso_time(ts),
    }


def server_metadata(run_id: str, ts: float | None, server: Mapping[str, Any]) -> JsonObject:
    """What is known of the server."""
    return {**_head("server_metadata", run_id, ts), "server": known_only(server)}


def client_update(run_id: str, round_: int | None, ts: float | None, records: Iterable[JsonObject]) -> JsonObject:
    """What clients contributed to a round."""
    return {**_head("client_update", run_id, ts, round_), "clients": list(records)}


def client_record(
    fields: Mapping[str, Any], metrics: Mapping[str, float] | None, extra: Mapping[str, Any] | None
) -> JsonObject:
    """One client's flat record; an application's own fields stand beside the contract's."""
    record = known_only({**fields, **(metrics or {}), **(extra or {}), **known_only(fields)})
    for name in _WHOLE_NUMBERS:
        value = record.get(name)
        if isinstance(value, float) and value.is_integer():
            record[name] = int(value)
    record.setdefault("status", "active")
    return record


def client_event(
    run_id: str, event: str, client_id: str, round_: int | None, ts: float | None, reason: str | None
) -> JsonObject | None:
    """A dropout or a communication failure; HiveWatch knows no joining and leaving."""
    if event == "dropout":
        clients = [{"client_id": client_id, "status": "dropped"}]
        return {**_head("client_dropout", run_id, ts, round_), "clients": clients, "reason": reason}
    if event == "comm_failure":
        return {**_head("comm_failure", run_id, ts, round_), "client_id": client_id, "reason": reason}
    return None


def round_end(
    run_id: str,
    round_: int,
    ts: float | None,
    figures: Mapping[str, Any],
    metrics: Mapping[str, float] | None,
    records: list[JsonObject],
) -> JsonObject:
    """A round is over; `records` are its clients' records once more."""
    told = known_only({**figures, **(metrics or {}), **known_only(figures)})
    return {**_head("round_end", run_id, ts, round_), "round_metrics": told, "clients": records}


def checkpoint(run_id: str, round_: int | None, ts: float | None, path: str) -> JsonObject:
    """A model file was written."""
    return {**_head("checkpoint", run_id, ts, round_), "path": path}


def finished(run_id: str, ts: float | None) -> JsonObject:
    """The run is over, however it ended."""
    return _head("finished", run_id, ts)


def _head(kind: str, run_id: str, ts: float | None, *round_: int | None) -> JsonObject:
    head: JsonObject = {"event_type": kind, "run_id": run_id}
    if round_:
        head["round"] = round_[0]
    head["timestamp"] = iso_time(ts)
    return head


# ── values ────────────────────────────────────────────────────────────────────────────────────


def known_only(fields: Mapping[str, Any]) -> JsonObject:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def iso_time(ts: float | None) -> str | None:
    """UTC epoch seconds as HiveWatch writes times; None where there is no such time."""
    if ts is None:
        return None
    try:
        return datetime.fromtimestamp(ts, timezone.utc).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


_encode = msgspec.json.Encoder().encode


def to_json(value: Any) -> bytes:
    """JSON with NaN and infinities as the strings "NaN", "Infinity", "-Infinity".

    HiveWatch writes them bare, which no browser's JSON parser takes.
    """
    text = _encode(value)
    # msgspec writes null for them; a text without any null holds none.
    return _encode(_spell_out(value)) if b"null" in text else text


def _spell_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return float_name(value)
    if isinstance(value, dict):
        return {key: _spell_out(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spell_out(each) for each in value]
    return value
