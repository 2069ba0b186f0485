"""A stored run told as HiveWatch's events: as a whole, or what changed since a commit."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from fedsight.errors import RunNotFound
from fedsight.map import form
from fedsight.map.form import JsonObject
from fedsight.store import Store, queries
from fedsight.store.queries import Table
from fedsight.store.schema import CONTRACT, GLOBAL_NUMBERS

Row = dict[str, Any]

_HAPPENINGS = ("client_event", "checkpoint")
_ENDED = ("finished", "failed", "killed")


def run_events(store: Store, run_id: str) -> Iterator[JsonObject]:
    """All events of a run, round by round, read page by page. Raises `RunNotFound` at the first.

    Within a round: the clients' updates, what happened to clients, checkpoints, the round's end.
    """
    yield from beginning(store, run_id)
    happened = _happenings(store, run_id)
    parts: list[Iterable[tuple[float, int, Any]]] = [
        ((number, 0, rows) for number, rows in _updates(store, run_id)),
        ((number, 1, told) for number, told in sorted(happened.items())),
        ((row["round"], 2, row) for row in _pages(queries.rounds, store, run_id)),
    ]
    for _, told in itertools.groupby(heapq.merge(*parts, key=itemgetter(0, 1)), key=itemgetter(0)):
        records: list[JsonObject] = []
        for _, what, content in told:
            if what == 0:
                records = [_record(row) for row in content]
                for row, record in zip(content, records, strict=True):
                    yield form.client_update(run_id, row["round"], row["ts"], [record])
            elif what == 1:
                yield from content
            elif content["state"] == "closed":
                yield round_end(run_id, content, records)
    row = _run(store, run_id)
    if row["state"] in _ENDED:
        yield form.finished(run_id, row["ended_at"])


def beginning(store: Store, run_id: str) -> list[JsonObject]:
    """How a run begins: its `init`, and its server where that is known. Raises `RunNotFound`."""
    detail = queries.run(store, run_id)
    if detail is None:
        raise RunNotFound(run_id)
    ts = detail.run["started_at"]
    told = [form.init(run_id, detail.run["algorithm"], detail.config, ts)]
    if detail.server is not None:
        told.append(form.server_metadata(run_id, ts, _flat(detail.server)))
    return told


def is_live(store: Store, run_id: str) -> bool:
    """Whether more of the run may come. Raises `RunNotFound`."""
    return _run(store, run_id)["state"] not in _ENDED


def newest_run(store: Store) -> str | None:
    """The run that a viewer without a choice wants: one that goes on, else the one that began last."""
    for state in ("running", "lost", None):
        found: list[str] = queries.runs(store, state=state, limit=1).columns["run_id"]
        if found:
            return found[0]
    return None


def _run(store: Store, run_id: str) -> Row:
    detail = queries.run(store, run_id)
    if detail is None:
        raise RunNotFound(run_id)
    return detail.run


def changed_events(store: Store, run_id: str, message: dict[str, Any]) -> Iterator[JsonObject]:
    """What a message of the hub says about a run. `finished` comes last.

    Of a round that is closed, its `round_end` with all its clients; of an open one, the updates of the clients that
    changed. A round's end is told again when its figures change (late updates).
    """
    rounds = sorted(_changed(message, "rounds"), key=itemgetter("round"))
    closed = {row["round"] for row in rounds if row["state"] == "closed"}
    ends: list[JsonObject] = []
    for event in sorted(_changed(message, "events"), key=itemgetter("offset")):
        if event["kind"] == "run_end" and event["client_id"] is None:
            ends = [form.finished(run_id, event["ts"])]
        elif event["kind"] == "server":
            yield form.server_metadata(run_id, event["ts"], _flat(event["data"]))
        elif (told := _happening(run_id, event)) is not None:
            yield told
    changed: dict[int, set[str]] = {}
    for row in _changed(message, "clients"):
        if row["last_round"] is not None and row["last_round"] not in closed:
            changed.setdefault(row["last_round"], set()).add(row["client_id"])
    for number, clients in sorted(changed.items()):
        for row in _pages(queries.updates, store, run_id, from_=number, to=number):
            if row["client_id"] in clients:
                yield form.client_update(run_id, number, row["ts"], [_record(row)])
    ended = {row["round"]: row for row in rounds if row["round"] in closed}
    for number, records in _records_of(store, run_id, list(ended)):
        yield round_end(run_id, ended[number], records)
    yield from ends


def round_end(run_id: str, row: Row, records: list[JsonObject]) -> JsonObject:
    """The end of a round, from its row."""
    figures = {name: row[name] for name in GLOBAL_NUMBERS}
    return form.round_end(run_id, row["round"], row["ended_at"], figures, row["metrics"], records)


def _record(row: Row) -> JsonObject:
    fields = {name: row[name] for name in ("client_id", "round", "base_round", "status", *CONTRACT)}
    return form.client_record(fields, row["metrics"], row["extra"])


def _flat(server: Row) -> Row:
    ours = ("kind", "ts", "metrics", "extra", "location_precision")
    fields = {name: value for name, value in server.items() if name not in ours}
    return {**fields, **(server.get("metrics") or {}), **(server.get("extra") or {})}


def _records_of(store: Store, run_id: str, numbers: list[int]) -> Iterator[tuple[int, list[JsonObject]]]:
    """The clients' records of these rounds (ascending), neighbours read together."""
    for _, neighbours in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        span = [number for _, number in neighbours]
        groups = _updates(store, run_id, from_=span[0], to=span[-1])
        group = next(groups, None)
        for number in span:
            records: list[JsonObject] = []
            if group is not None and group[0] == number:
                records = [_record(row) for row in group[1]]
                group = next(groups, None)
            yield number, records


def _updates(store: Store, run_id: str, **span: int) -> Iterator[tuple[float, list[Row]]]:
    """The updates by round; those without one last."""
    rows = _pages(queries.updates, store, run_id, **span)
    for number, group in itertools.groupby(rows, key=itemgetter("round")):
        yield (float("inf") if number is None else number), list(group)


def _happenings(store: Store, run_id: str) -> dict[float, list[JsonObject]]:
    """Dropouts, failures and checkpoints by round, in the order in which they happened."""
    found: dict[float, list[JsonObject]] = {}
    for event in _pages(queries.events, store, run_id, kind=_HAPPENINGS):
        if (told := _happening(run_id, event)) is not None:
            number = float("inf") if event["round"] is None else event["round"]
            found.setdefault(number, []).append(told)
    return {number: told[::-1] for number, told in found.items()}  # the newest came first


def _happening(run_id: str, event: Row) -> JsonObject | None:
    data, round_, ts = event["data"], event["round"], event["ts"]
    if event["kind"] == "client_event":
        return form.client_event(run_id, data["event"], data["client_id"], round_, ts, data.get("reason"))
    if event["kind"] == "checkpoint" and data.get("sha256") is None:
        return form.checkpoint(run_id, round_, ts, data["path"])
    return None


def _changed(message: dict[str, Any], table: str) -> list[Row]:
    return _rows(message[table]["columns"]) if table in message else []


def _pages(query: Callable[..., Table], store: Store, run_id: str, **wanted: Any) -> Iterator[Row]:
    cursor: str | None = None
    while True:
        table = query(store, run_id, limit=5_000, cursor=cursor, **wanted)
        yield from _rows(table.columns)
        cursor = table.next
        if cursor is None:
            return


def _rows(columns: dict[str, Any]) -> list[Row]:
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
