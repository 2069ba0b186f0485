"""From a batch to rows of a W&B history: few of them, for W&B handles a row at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fedsight.emitters import metric_names
from fedsight.emitters.batching import count_alone
from fedsight.emitters.destination import Batch, Line, Totals
from fedsight.events import Checkpoint, ClientEvent, ClientUpdate, Metric, Sample, Text

OFFSET = "fedsight/offset"
JOURNAL = "fedsight/journal"

_Axis = tuple[str, int | None]
"""What a row is about: ("round", 3), ("step", 120), or one of them unknown."""

_COUNTERS = frozenset({metric_names.DROPOUTS, metric_names.COMM_FAILURES, metric_names.CHECKPOINTS})


class Row(msgspec.Struct):
    """One row. offset: of the first line in it; ts: of the last, UTC epoch seconds."""

    axis: _Axis
    offset: int
    ts: float
    values: dict[str, Any]

    def record(self, journal: str) -> dict[str, Any]:
        """What W&B is given."""
        axis, number = self.axis
        placed = {} if number is None else {axis: number}
        return {**self.values, **placed, OFFSET: self.offset, JOURNAL: journal, "_timestamp": self.ts}


def rows_of(batch: Batch, *, per_client: bool, system: bool) -> list[Row]:
    """The rows of a batch, by offset, each line in one of them.

    What is of the same round shares a row until a value would stand in it twice. A counter may be
    overwritten, but the newest must come last: a row that would go out later must not hold an older one.
    """
    rows: list[Row] = []
    open_rows: dict[_Axis, Row] = {}
    totals = msgspec.structs.replace(batch.totals)
    for line in batch.lines:
        count_alone(totals, line.event)
        axis, values = _values(line, totals, per_client, system)
        if not values:
            continue
        if _clashes(values, axis, open_rows):
            rows += sorted(open_rows.values(), key=lambda each: each.offset)
            open_rows.clear()
        row = open_rows.setdefault(axis, Row(axis, line.offset, line.event.ts, {}))
        row.values.update(values)
        row.ts = line.event.ts
    return rows + sorted(open_rows.values(), key=lambda each: each.offset)


def _clashes(values: Mapping[str, Any], axis: _Axis, open_rows: Mapping[_Axis, Row]) -> bool:
    row = open_rows.get(axis)
    if row is None:
        return False
    if any(name in row.values and name not in _COUNTERS for name in values):
        return True
    moved = [name for name in _COUNTERS if name in values]
    later = [other for other in open_rows.values() if other.offset > row.offset] if moved else []
    return any(name in other.values for other in later for name in moved)


def _values(line: Line, totals: Totals, per_client: bool, system: bool) -> tuple[_Axis, dict[str, Any]]:
    event = line.event
    if isinstance(event, Metric):
        return ("step", event.step), {column(metric_names.point_name(event)): event.value}
    if isinstance(event, Sample):
        return ("round", None), metric_names.sample_metrics(event) if system else {}
    values: dict[str, Any] = {}
    if isinstance(event, ClientUpdate):
        values = dict(metric_names.update_metrics(event, per_client=per_client, system=system))
    elif isinstance(event, ClientEvent):
        values = dict(metric_names.counted(event, totals))
    elif isinstance(event, Checkpoint) and event.sha256 is None:  # its second line has it
        values[metric_names.CHECKPOINTS] = totals.num_checkpoints
    elif isinstance(event, Text):
        client = event.client_id
        values["note" if client is None else f"client/{metric_names.id_part(client)}/note"] = event.text
    if line.report is not None:
        values.update(metric_names.round_metrics(line.report.summary))
        if not line.report.is_revision:
            values.update(metric_names.counters(totals))
    return ("round", getattr(event, "round", None)), values


def column(name: str) -> str:
    """A key of the user's as a column: under `metric/` where W&B or the rows themselves use that name."""
    is_taken = name in ("round", "step", "note") or name.startswith(("_", "fedsight/"))
    return f"metric/{name}" if is_taken else name


def without_doubles(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A W&B history without what a crash had delivered twice.

    rows: of one W&B run, oldest first, as `wandb.Api().run(…).scan_history()` gives them. Within a journal
    offsets only ever grow; where one steps back, a delivery began again there, and brings all that
    was delivered from there on once more.
    """
    kept: list[dict[str, Any]] = []
    of_journal: dict[Any, list[int]] = {}
    dropped: set[int] = set()
    for number, row in enumerate(rows):
        kept.append(dict(row))
        if (offset := row.get(OFFSET)) is None:  # not of ours
            continue
        earlier = of_journal.setdefault(row.get(JOURNAL), [])
        while earlier and kept[earlier[-1]][OFFSET] >= offset:
            dropped.add(earlier.pop())
        earlier.append(number)
    return [row for number, row in enumerate(kept) if number not in dropped]
