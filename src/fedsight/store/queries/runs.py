"""Questions about runs: which there are, what one is, what it measured."""

from __future__ import annotations

from typing import Any

import msgspec

from fedsight.store.columns import from_json_text
from fedsight.store.duckdb import Store
from fedsight.store.queries.places import with_place
from fedsight.store.queries.snapshot import (
    Snapshot,
    Table,
    check_limit,
    check_name,
    check_order,
    from_cursor,
    page_of,
    snapshot,
    to_cursor,
)
from fedsight.store.schema import GLOBAL_NUMBERS, RUN_COLUMNS


class StepKey(msgspec.Struct):
    """A step-level curve; `client_id` is None where it is the server's own."""

    key: str
    client_id: str | None


class MetricNames(msgspec.Struct, rename={"global_": "global"}):
    """The names with at least one value: of rounds, of clients, and of step-level curves."""

    as_of: str
    global_: list[str]
    client: list[str]
    step: list[StepKey]


class JournalInfo(msgspec.Struct):
    """A journal of a run: how far it is indexed, and when it was last heard of."""

    journal: str
    role: str
    client_id: str | None
    offset: int
    last_contact: float
    num_bad: int


class RunDetail(msgspec.Struct):
    """Everything about one run that is not a table."""

    as_of: str
    run: dict[str, Any]
    config: dict[str, Any]
    tags: dict[str, str]
    server: dict[str, Any] | None
    journals: list[JournalInfo]
    metrics: MetricNames


class StoreStatus(msgspec.Struct):
    """How much the store holds."""

    as_of: str
    num_runs: int
    num_journals: int
    num_dead_letters: int


def runs(
    store: Store,
    *,
    project: str | None = None,
    state: str | None = None,
    sort: str | None = None,
    order: str = "desc",
    limit: int = 1000,
    cursor: str | None = None,
) -> Table:
    """All runs, the newest first where `sort` names no column. A cursor is a position in that order."""
    name = "started_at" if sort is None else check_name("sort", sort, RUN_COLUMNS)
    check_order(order)
    check_limit(limit)
    (skip,) = from_cursor(cursor, int) if cursor is not None else (0,)
    where, params = "true", []
    for field, value in (("project", project), ("state", state)):
        if value is not None:
            where += f" AND {field} = ?"
            params.append(value)
    with snapshot(store) as view:
        found = view.columns(
            f"SELECT {', '.join(RUN_COLUMNS)} FROM runs WHERE {where} "
            f"ORDER BY {name} {order} NULLS LAST, run_no {order} LIMIT {limit + 1} OFFSET {max(skip, 0)}",
            params,
        )
        found, more = page_of(found, limit)
        return Table(view.as_of, found, to_cursor(max(skip, 0) + limit) if more else None)


def run(store: Store, run_id: str) -> RunDetail | None:
    """One run, or None where there is none of that id."""
    with snapshot(store) as view:
        found = view.rows(f"SELECT run_no, {', '.join(RUN_COLUMNS)} FROM runs WHERE run_id = ?", [run_id])
        if not found:
            return None
        run_no, *values = found[0]
        info = view.rows("SELECT config, tags, server FROM run_info WHERE run_no = ?", [run_no])[0]
        config, tags, server = map(from_json_text, info)
        journals = view.rows(
            "SELECT j.journal, j.role, j.client_id, c.position, c.last_contact, c.num_bad "
            "FROM journals j JOIN cursors c USING (journal) WHERE j.run_no = ? "
            "ORDER BY j.client_id NULLS FIRST, j.role, j.journal",
            [run_no],
        )
        return RunDetail(
            as_of=view.as_of,
            run=dict(zip(RUN_COLUMNS, values, strict=True)),
            config=config or {},
            tags=tags or {},
            server=with_place(server),
            journals=[JournalInfo(*journal) for journal in journals],
            metrics=_names(view, run_no),
        )


def metric_names(store: Store, run_id: str) -> MetricNames:
    """What a run measured. Raises `RunNotFound`."""
    with snapshot(store) as view:
        return _names(view, view.run(run_id).run_no)


def _names(view: Snapshot, run_no: int) -> MetricNames:
    names = MetricNames(view.as_of, [], [], [])
    counts = ", ".join(f"count({name})" for name in GLOBAL_NUMBERS)
    (found,) = view.rows(f"SELECT {counts} FROM rounds WHERE run_no = {run_no}")
    names.global_.extend(name for name, count in zip(GLOBAL_NUMBERS, found, strict=True) if count)
    for scope, key, client_id in view.rows(
        "SELECT scope, key, client_id FROM metric_names WHERE run_no = ? ORDER BY key, client_id NULLS FIRST", [run_no]
    ):
        if scope == "step":
            names.step.append(StepKey(key, client_id))
        else:
            (names.client if scope == "client" else names.global_).append(key)
    names.global_ = sorted(set(names.global_))
    return names


def status(store: Store) -> StoreStatus:
    """How much the store holds."""
    with snapshot(store) as view:
        counts = view.rows(
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM journals), (SELECT count(*) FROM dead_letters)"
        )
        return StoreStatus(view.as_of, *counts[0])
