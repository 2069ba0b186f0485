"""One run's rounds within a time, and what each of its clients contributed to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from fedsight.errors import RunNotFound
from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Snapshot, check_limit, from_cursor, page_of, snapshot, span, to_cursor
from fedsight.store.reading import updates_sql

MIN_POINTS = 3
"""A slope of fewer points says nothing."""

_WHEN = "coalesce(ended_at, started_at)"
_ROUND_COLUMNS = ("round", "global_accuracy", "global_loss", "num_completed", "round_duration_sec")
_UPDATE_COLUMNS = (
    "round",
    "client_no",
    "status",
    "local_accuracy",
    "local_loss",
    "train_time_sec",
    "num_samples",
)


class FlMetrics(msgspec.Struct):
    """A run's figures. `rounds` and `clients` are columns; `slope`: accuracy per round over `num_slope_points` rounds."""

    as_of: str
    run_id: str
    current_round: int | None
    last_event_at: float | None
    accuracy: float | None
    loss: float | None
    slope: float | None
    num_slope_points: int
    rounds: dict[str, list[Any]]
    clients: dict[str, list[Any]]
    next: str | None


def newest_run(store: Store) -> str | None:
    """The id of the run that started last; None where there is none."""
    with snapshot(store) as view:
        found = view.rows("SELECT run_id FROM runs ORDER BY started_at DESC NULLS LAST, run_no DESC LIMIT 1")
        return found[0][0] if found else None


def fl_metrics(
    store: Store,
    run_id: str,
    *,
    from_: float | None = None,
    to: float | None = None,
    window: int = 10,
    limit: int = 10_000,
    cursor: str | None = None,
) -> FlMetrics:
    """A run's rounds that ended (or, still open, began) within [from_, to], and its clients' part in them.

    window: over how many of the last rounds with a finite accuracy the slope is taken. A page holds `limit` rounds and
    `limit` clients; a cursor is a position in both. Raises `RunNotFound`, `BadQuery`.
    """
    check_limit(limit)
    (skip,) = from_cursor(cursor, int) if cursor is not None else (0,)
    skip = max(skip, 0)
    with snapshot(store) as view:
        row = view.rows(
            "SELECT run_no, told_by, current_round, last_event_at, global_accuracy, global_loss FROM runs "
            "WHERE run_id = ?",
            [run_id],
        )
        if not row:
            raise RunNotFound(run_id)
        run_no, told_by, current_round, last_event_at, accuracy, loss = row[0]
        wanted = f"run_no = {run_no}{span(_WHEN, from_, to)}"
        rounds = view.columns(
            f"SELECT {', '.join(_ROUND_COLUMNS)} FROM rounds WHERE {wanted} ORDER BY round "
            f"LIMIT {limit + 1} OFFSET {skip}"
        )
        rounds, more_rounds = page_of(rounds, limit)
        in_time = "" if from_ is None and to is None else f" AND round IN (SELECT round FROM rounds WHERE {wanted})"
        clients = _clients(view, run_no, told_by, wanted, in_time, limit, skip)
        clients, more_clients = page_of(clients, limit)
        points = view.rows(
            f"SELECT round, global_accuracy FROM rounds WHERE {wanted} AND isfinite(global_accuracy) "
            f"ORDER BY round DESC LIMIT {max(window, 1)}"
        )
        return FlMetrics(
            as_of=view.as_of,
            run_id=run_id,
            current_round=current_round,
            last_event_at=last_event_at,
            accuracy=accuracy,
            loss=loss,
            slope=slope(points),
            num_slope_points=len(points),
            rounds=rounds,
            clients=clients,
            next=to_cursor(skip + limit) if more_rounds or more_clients else None,
        )


def _clients(
    view: Snapshot, run_no: int, told_by: int, wanted: str, in_time: str, limit: int, skip: int
) -> dict[str, list[Any]]:
    # The newest round, while it is open, is nobody's to have missed yet.
    done = f"SELECT round FROM rounds r WHERE {wanted} AND (state = 'closed' OR round < (SELECT max(round) FROM of))"
    updates = updates_sql(_UPDATE_COLUMNS, f"run_no = {run_no}{in_time}", told_by)
    return view.columns(
        f"""
        WITH of AS (SELECT round FROM rounds WHERE {wanted}), done AS ({done}),
        u AS ({updates}),
        parts AS (
          SELECT client_no, count(*) AS model_updates,
            count(DISTINCT round) FILTER (
              (status IS NULL OR status = 'active') AND round IN (SELECT round FROM done)) AS num_completed,
            avg(local_accuracy) FILTER (isfinite(local_accuracy)) AS avg_local_accuracy,
            avg(train_time_sec) FILTER (isfinite(train_time_sec)) AS avg_training_time,
            arg_max(num_samples, coalesce(round, -1)) AS num_samples,
            arg_max(local_accuracy, coalesce(round, -1)) AS local_accuracy,
            arg_max(local_loss, coalesce(round, -1)) AS local_loss,
            arg_max(train_time_sec, coalesce(round, -1)) AS train_time_sec
          FROM u GROUP BY client_no)
        SELECT c.client_id, coalesce(p.model_updates, 0) AS model_updates,
          coalesce(p.num_completed, 0) / nullif((SELECT count(*) FROM done), 0) AS participation_rate,
          p.avg_local_accuracy, p.avg_training_time, p.num_samples, p.local_accuracy, p.local_loss, p.train_time_sec
        FROM clients c LEFT JOIN parts p USING (client_no) WHERE c.run_no = {run_no}
        ORDER BY c.client_no LIMIT {limit + 1} OFFSET {skip}
        """
    )


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The least-squares slope of (x, y) points; None with fewer than three, or none at different x."""
    if len(points) < MIN_POINTS:
        return None
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0.0:
        return None
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
