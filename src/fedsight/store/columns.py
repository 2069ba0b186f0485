"""From decoded structs to Arrow columns, a column at a time."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from fedsight.events import ClientUpdate
from fedsight.store.schema import CONTRACT, TEXT_FIELDS

TEXT, NUMBER, INTEGER = pa.string(), pa.float64(), pa.int64()
SMALL, TINY, YES_NO = pa.int32(), pa.uint8(), pa.bool_()

_encode_json = msgspec.json.Encoder().encode


def table(columns: Mapping[str, tuple[pa.DataType, Sequence[Any]]]) -> pa.Table:
    """An Arrow table of plain columns, each given as its type and its values."""
    return pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})


def numbers(values: Sequence[float | None]) -> pa.Array:
    """A column of doubles; four times as fast as pyarrow's own way where none is missing."""
    try:
        packed = array("d", values)  # type: ignore[type-var]
    except TypeError:
        return pa.array(values, NUMBER)
    return pa.Array.from_buffers(NUMBER, len(packed), [None, pa.py_buffer(packed)])


def maps(values: Sequence[Mapping[str, float] | None]) -> pa.Array:
    """A column of MAP(VARCHAR, DOUBLE); an empty map is a missing one."""
    full = [value or {} for value in values]
    ends: list[int | None] = list(accumulate(map(len, full), initial=0))
    offsets = [None if not value else start for value, start in zip(full, ends, strict=False)]
    return pa.MapArray.from_arrays(
        pa.array([*offsets, ends[-1]], pa.int32()),
        pa.array(list(chain.from_iterable(full)), TEXT),
        numbers(list(chain.from_iterable(value.values() for value in full))),
    )


def json_text(value: Any) -> str | None:
    """`value` as JSON text, which unlike strict JSON can hold NaN and infinities; None for None."""
    if value is None:
        return None
    text = _encode_json(value)
    # msgspec writes null for numbers that JSON has not.
    return json.dumps(value, ensure_ascii=False) if b"null" in text else text.decode()


def from_json_text(text: str | None) -> Any:
    """What `json_text` was given."""
    return None if text is None else json.loads(text)


class UpdateColumns(msgspec.Struct):
    """The fields of many updates as Arrow columns (only those with a value), and which names have one."""

    columns: dict[str, pa.Array]
    fields: list[str]
    metrics: set[str]


def update_columns(updates: Sequence[ClientUpdate]) -> UpdateColumns:
    """One Arrow column for each field that at least one of the updates has."""
    built = UpdateColumns({"ts": numbers([u.ts for u in updates])}, [], set())
    for name in ("status", "base_round", *CONTRACT):
        given = list(map(attrgetter(name), updates))
        if name in TEXT_FIELDS or name == "status":
            values = pa.array(given, TEXT)
        else:
            values = pa.array(given, INTEGER) if name == "base_round" else numbers(given)
        if values.null_count < len(values):
            built.columns[name] = values
            if name != "status":
                built.fields.append(name)
    metrics = [u.metrics for u in updates]
    if any(metrics):
        built.columns["metrics"] = maps(metrics)
        built.metrics = set(chain.from_iterable(filter(None, metrics)))
    extra = [u.extra for u in updates]
    if any(extra):
        built.columns["extra"] = pa.array(list(map(json_text, extra)), TEXT)
    return built
