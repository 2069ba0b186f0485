"""Questions about samples: which nodes there are, and what was measured of one over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedsight.errors import BadQuery
from fedsight.store.duckdb import Store
from fedsight.store.queries.series import thin
from fedsight.store.queries.snapshot import (
    RunKey,
    Snapshot,
    Table,
    check_limit,
    check_name,
    from_cursor,
    page_of,
    snapshot,
    span,
    text,
    to_cursor,
)
from fedsight.store.schema import NODE_COLUMNS

_STORED = {"run_id": "r.run_id", "role": "j.role", "metrics": "n.metrics"} | {
    name: f"n.{name}" for name in ("node", "client_id", "journal", "first_ts", "last_ts", "num_samples")
}


def nodes(
    store: Store,
    *,
    run_id: str | None = None,
    client_id: str | None = None,
    node: str | None = None,
    journal: str | None = None,
    role: str | None = None,
    fields: Sequence[str] | None = None,
    limit: int = 1000,
    cursor: str | None = None,
) -> Table:
    """What has samples, a row for each node and journal, the most lately heard of first; with last known values.

    The first five narrow it down; `fields` names the columns wanted besides `node`. A cursor is a position in that
    order. Raises `BadQuery`.
    """
    check_limit(limit)
    (skip,) = from_cursor(cursor, int) if cursor is not None else (0,)
    wanted = list(NODE_COLUMNS)
    if fields is not None:
        wanted = list(dict.fromkeys(["node", *(check_name("fields", f, NODE_COLUMNS) for f in fields)]))
    columns = ", ".join(f"{_STORED.get(name, f'n.metrics[{text(name)}]')} AS {name}" for name in wanted)
    given = {"run_id": run_id, "client_id": client_id, "node": node, "journal": journal, "role": role}
    asked = {name: value for name, value in given.items() if value is not None}
    where = " AND ".join(f"{_STORED[name]} = ?" for name in asked) or "true"
    with snapshot(store) as view:
        found = view.columns(
            f"SELECT {columns} FROM nodes n JOIN journals j ON n.journal = j.journal "
            f"LEFT JOIN runs r ON n.run_no = r.run_no WHERE {where} "
            f"ORDER BY n.last_ts DESC NULLS LAST, n.node, n.journal LIMIT {limit + 1} OFFSET {max(skip, 0)}",
            list(asked.values()),
        )
        found, more = page_of(found, limit)
        return Table(view.as_of, found, to_cursor(max(skip, 0) + limit) if more else None)


def samples(
    store: Store,
    run_id: str | None,
    *,
    metrics: Sequence[str],
    client_id: str | None = None,
    node: str | None = None,
    from_: float | None = None,
    to: float | None = None,
    max_points: int | None = None,
) -> Table:
    """What was measured of one node within the times [from_, to], by time: columns `ts` and one a metric.

    The node is that of a run's client or, without a `client_id`, of its server; with `run_id` None it is one that
    belongs to no run. `node` is needed where there are several. `max_points` thins as in `series`. Raises
    `RunNotFound`; `BadQuery` for an unknown node or metric.
    """
    if not metrics:
        raise BadQuery("metric", "metric: name at least one.")
    if max_points is not None and max_points < 1:
        raise BadQuery("max_points", f"max_points is {max_points}; give at least 1.")
    with snapshot(store) as view:
        run = None if run_id is None else view.run(run_id)
        name, known = _one_node(view, run, client_id, node)
        for metric in metrics:
            check_name("metric", metric, known)
        columns = ", ".join(f"max(value) FILTER (key = {text(m)}) AS c{i}" for i, m in enumerate(metrics))
        where, params = _of(run, client_id)
        found = view.columns(
            f"SELECT ts, {columns} FROM samples WHERE {where} AND node = ? AND key IN (SELECT unnest(?::VARCHAR[])) "
            f"AND isfinite(ts){span('ts', from_, to)} GROUP BY ts ORDER BY ts",
            [*params, name, list(metrics)],
        )
        series = {"ts": found["ts"]} | {metric: found[f"c{i}"] for i, metric in enumerate(metrics)}
        return Table(view.as_of, thin(series, list(metrics), max_points))


def _of(run: RunKey | None, client_id: str | None) -> tuple[str, list[Any]]:
    """SQL for the rows of a run and client, and its parameters."""
    where = "run_no IS NULL" if run is None else f"run_no = {run.run_no}"
    return (f"{where} AND client_id IS NULL", []) if client_id is None else (f"{where} AND client_id = ?", [client_id])


def _one_node(view: Snapshot, run: RunKey | None, client_id: str | None, node: str | None) -> tuple[str, list[str]]:
    """The one node that is meant, and the names of its metrics."""
    where, params = _of(run, client_id)
    if node is not None:
        where, params = f"{where} AND node = ?", [*params, node]
    elif run is not None:
        where += " AND journal NOT IN (SELECT journal FROM journals WHERE role = 'source')"
    found: dict[str, set[str]] = {}
    for name, keys in view.rows(f"SELECT node, map_keys(metrics) FROM nodes WHERE {where}", params):
        found.setdefault(name, set()).update(keys or ())
    if len(found) == 1:
        ((name, known),) = found.items()
        return name, sorted(known)
    whose = (
        "outside of runs" if run is None else f"of client {client_id!r}" if client_id is not None else "of the server"
    )
    if found:
        raise BadQuery("node", f"node: there are several {whose}; choose of {', '.join(sorted(found))}.")
    if node is not None:
        raise BadQuery("node", f"node: there are no samples {whose} of a node {node!r}.")
    raise BadQuery("client_id", f"client_id: there are no samples {whose}.")
