"""Questions about clients: what is last known of each, and how one of their metrics went of late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedsight.store.duckdb import Store
from fedsight.store.queries.measured import Monitored
from fedsight.store.queries.places import with_places
from fedsight.store.queries.snapshot import (
    RunKey,
    Snapshot,
    Table,
    check_limit,
    check_name,
    check_order,
    from_cursor,
    page_of,
    snapshot,
    text,
    to_cursor,
)
from fedsight.store.reading import updates_sql
from fedsight.store.schema import CLIENT_COLUMNS, NUMERIC

SPARKLINE_ROUNDS = 30
"""How many of the run's last rounds a sparkline spans."""

_SORTABLE = tuple(name for name in CLIENT_COLUMNS if name != "metrics")


def clients(
    store: Store,
    run_id: str,
    *,
    client_ids: Sequence[str] | None = None,
    status: str | None = None,
    sort: str = "client_id",
    order: str = "asc",
    limit: int = 1000,
    cursor: str | None = None,
    sparkline: str | None = None,
    measured: bool = False,
) -> Table:
    """The clients of a run. A cursor is a position in the order asked for.

    With `measured`, what a client never said is filled from the samples of its monitor, of the time of its last
    update; the column `measured` names what was. Raises `RunNotFound`, `BadQuery`.
    """
    check_name("sort", sort, _SORTABLE)
    check_order(order)
    check_limit(limit)
    (skip,) = from_cursor(cursor, int) if cursor is not None else (0,)
    with snapshot(store) as view:
        run = view.run(run_id)
        where = f"run_no = {run.run_no}"
        params: list[str | list[str]] = []
        if client_ids is not None:
            where += " AND client_id IN (SELECT unnest(?::VARCHAR[]))"
            params.append(list(client_ids))
        if status is not None:
            where += " AND status = ?"
            params.append(status)
        found = view.columns(
            f"SELECT {', '.join(CLIENT_COLUMNS)}, client_no FROM clients WHERE {where} "
            f"ORDER BY {sort} {order} NULLS LAST, client_id LIMIT {limit + 1} OFFSET {max(skip, 0)}",
            params,
        )
        found, more = page_of(found, limit)
        numbers = found.pop("client_no")
        if sparkline is not None:
            found["sparkline"] = _sparklines(view, run, numbers, sparkline)
        if measured:
            found["measured"] = with_measured(view, run, found, numbers)
        return Table(view.as_of, with_places(found), to_cursor(max(skip, 0) + limit) if more else None)


def with_measured(
    view: Snapshot, run: RunKey, found: dict[str, list[Any]], client_nos: Sequence[int]
) -> list[list[str]]:
    """Fill what clients never said from their monitors; returns which names, client by client."""
    monitored = Monitored(view, run)
    if not monitored:
        return [[] for _ in client_nos]
    return monitored.fill(found, monitored.last_intervals(client_nos))


def _sparklines(view: Snapshot, run: RunKey, client_nos: Sequence[int], metric: str) -> list[list[float | None]]:
    """For each client its value in each of the run's last rounds, None where it had none."""
    if metric not in NUMERIC:
        check_name("sparkline", metric, view.metric_names(run, "client"))
    window = [
        number
        for (number,) in view.rows(
            f"SELECT round FROM rounds WHERE run_no = {run.run_no} ORDER BY round DESC LIMIT {SPARKLINE_ROUNDS}"
        )
    ][::-1]
    place = {number: i for i, number in enumerate(window)}
    lines: dict[int, list[float | None]] = {number: [None] * len(window) for number in client_nos}
    if not window or not lines:
        return list(lines.values())
    where = f"run_no = {run.run_no} AND round BETWEEN {window[0]} AND {window[-1]}"
    if len(lines) <= 100:
        where += f" AND client_no IN ({', '.join(map(str, lines))})"
    names = ["round", "client_no", metric if metric in NUMERIC else "metrics"]
    value = metric if metric in NUMERIC else f"metrics[{text(metric)}]"
    found = view.columns(f"SELECT round, client_no, {value} AS value FROM ({updates_sql(names, where, run.told_by)})")
    for number, client_no, value in zip(found["round"], found["client_no"], found["value"], strict=True):
        line = lines.get(client_no)
        if line is not None:
            line[place[number]] = value
    return [lines[number] for number in client_nos]
