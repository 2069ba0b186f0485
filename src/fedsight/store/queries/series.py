"""Curves: over rounds of the model, of one client, as a band over all clients; over steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from fedsight.errors import BadQuery
from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import RunKey, Snapshot, Table, check_name, snapshot, span, text
from fedsight.store.reading import updates_sql
from fedsight.store.schema import BAND, GLOBAL_NUMBERS, NUMERIC

Scope = Literal["global", "client", "clients", "step"]
_SCOPES = ("global", "client", "clients", "step")


def series(
    store: Store,
    run_id: str,
    *,
    scope: str,
    metrics: Sequence[str],
    client_id: str | None = None,
    from_: int | None = None,
    to: int | None = None,
    max_points: int | None = None,
) -> Table:
    """Curves of `metrics` (one only, for the scopes `clients` and `step`) within [from_, to].

    `max_points` thins them, keeping the least, the greatest and the first non-finite value of each
    stretch. Raises `RunNotFound`; `BadQuery` for an unknown scope or metric.
    """
    check_name("scope", scope, _SCOPES)
    if not metrics or (len(metrics) > 1 and scope in ("clients", "step")):
        raise BadQuery("metric", f"metric: scope {scope!r} takes {'one' if metrics else 'at least one'} metric.")
    if max_points is not None and max_points < 1:
        raise BadQuery("max_points", f"max_points is {max_points}; give at least 1.")
    with snapshot(store) as view:
        run = view.run(run_id)
        if scope == "global":
            found, values = _global(view, run, metrics, span("round", from_, to)), list(metrics)
        elif scope == "client":
            if client_id is None:
                raise BadQuery("client_id", "client_id: scope 'client' needs one.")
            found, values = _client(view, run, metrics, client_id, span("round", from_, to)), list(metrics)
        elif scope == "clients":
            found, values = _band(view, run, metrics[0], span("round", from_, to)), ["min", "max"]
        else:
            found, values = _steps(view, run, metrics[0], client_id, span("step", from_, to)), ["value"]
        return Table(view.as_of, thin(found, values, max_points))


def _global(view: Snapshot, run: RunKey, metrics: Sequence[str], within: str) -> dict[str, list[Any]]:
    columns = _columns(view, run, metrics, GLOBAL_NUMBERS, "global")
    return view.columns(f"SELECT round, {columns} FROM rounds WHERE run_no = {run.run_no}{within} ORDER BY round")


def _client(view: Snapshot, run: RunKey, metrics: Sequence[str], client_id: str, within: str) -> dict[str, list[Any]]:
    columns = _columns(view, run, metrics, NUMERIC, "client")
    client_no = view.client_no(run, client_id)
    if client_no is None:
        raise BadQuery("client_id", f"client_id: the run has no client {client_id!r}.")
    names = list(dict.fromkeys(["round", *(name if name in NUMERIC else "metrics" for name in metrics)]))
    where = f"run_no = {run.run_no} AND client_no = {client_no} AND round IS NOT NULL{within}"
    return view.columns(f"SELECT round, {columns} FROM ({updates_sql(names, where, run.told_by)}) ORDER BY round")


def _band(view: Snapshot, run: RunKey, metric: str, within: str) -> dict[str, list[Any]]:
    if metric not in NUMERIC:
        check_name("metric", metric, view.metric_names(run, "client"))
    return view.columns(
        f"SELECT round, {', '.join(BAND)} FROM bands WHERE run_no = {run.run_no} AND metric = ?{within} ORDER BY round",
        [metric],
    )


def _steps(view: Snapshot, run: RunKey, key: str, client_id: str | None, within: str) -> dict[str, list[Any]]:
    """By step, then by the time at which each was measured. One that the site and the server both told of is one."""
    check_name("metric", key, view.metric_names(run, "step"))
    return view.columns(
        f"SELECT step, ts, value FROM samples WHERE run_no = {run.run_no} AND key = ? AND node IS NULL "
        f"AND client_id IS NOT DISTINCT FROM ?{within} GROUP BY step, ts, value "
        "ORDER BY step NULLS LAST, ts, min(journal), min(position)",
        [key, client_id],
    )


def _columns(view: Snapshot, run: RunKey, metrics: Sequence[str], fields: Sequence[str], scope: str) -> str:
    others = [name for name in metrics if name not in fields]
    if others:
        known = view.metric_names(run, scope)
        for name in others:
            check_name("metric", name, known)
    return ", ".join(name if name in fields else f"metrics[{text(name)}] AS {_quoted(name)}" for name in metrics)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def thin(columns: dict[str, list[Any]], values: Sequence[str], max_points: int | None) -> dict[str, list[Any]]:
    """At most about `max_points` rows, spread evenly over the index.

    Kept are the first and the last row and, of each stretch and for each of the columns `values`, those where it
    is least, greatest and first non-finite.
    """
    total = len(next(iter(columns.values())))
    if max_points is None or total <= max_points:
        return columns
    stretches = max(1, (max_points - 2) // (3 * len(values)))
    keep = {0, total - 1}
    for i in range(stretches):
        places = range(i * total // stretches, (i + 1) * total // stretches)
        for name in values:
            column = columns[name]
            told = [at for at in places if column[at] is not None]
            finite = [at for at in told if math.isfinite(column[at])]
            if finite:
                keep.update((min(finite, key=column.__getitem__), max(finite, key=column.__getitem__)))
            if len(finite) < len(told):
                keep.add(next(at for at in told if not math.isfinite(column[at])))
    kept = sorted(keep)
    return {name: [column[at] for at in kept] for name, column in columns.items()}
