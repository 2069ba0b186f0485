"""What a round adds up to, worked out from its updates: its row in `rounds` and its quantile bands.

Written when a round begins or ends, and again (at most once a second) while updates still come in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from fedsight.store import columns
from fedsight.store.memory import RoundState, RunState
from fedsight.store.reading import updates_sql
from fedsight.store.rows import insert_table
from fedsight.store.schema import NUMERIC
from fedsight.store.tally import SERVER, TALLIES
from fedsight.summary import arrivals, bytes_per_client, count_stragglers

_QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95]

_ROUND_KINDS: dict[str, pa.DataType] = {
    "round": columns.INTEGER,
    "state": columns.TEXT,
    "num_completed": columns.INTEGER,
    "num_dropouts": columns.INTEGER,
    "num_late": columns.INTEGER,
    "max_staleness": columns.INTEGER,
    "given": columns.TEXT,
}


_AGGREGATES: dict[str, Any] = {
    "bytes_sent": ("bytes_sent", "sum"),
    "bytes_received": ("bytes_received", "sum"),
    "gradient_norm": ("gradient_norm", "stddev", pc.VarianceOptions(ddof=1, min_count=2)),
}
_FIGURE_OF = {
    "bytes_sent_sum": "total_bytes_up",
    "bytes_received_sum": "total_bytes_down",
    "gradient_norm_stddev": "gradient_norm_dispersion",
    "staleness_mean": "mean_staleness",
    "staleness_max": "max_staleness",
}


class Figures(msgspec.Struct):
    """What the updates of a round add up to; None where no client reported it."""

    total_bytes_up: float | None = None
    total_bytes_down: float | None = None
    gradient_norm_dispersion: float | None = None
    mean_staleness: float | None = None
    max_staleness: int | None = None


def write_rollups(con: duckdb.DuckDBPyConnection, run: RunState, states: Sequence[RoundState], commit: int) -> set[str]:
    """Work out and write the rows of `states`. Returns the names of the application's metrics that have a value."""
    updates = _updates(con, run, [state.round for state in states if state.members])
    figures = _figures(updates)
    times = _Times(updates)
    rows = [_row(state, figures.get(state.round, Figures()), times) for state in states]
    known = [state.round for state in states if state.version]
    if known:
        for table in ("rounds", "bands"):
            con.execute(f"DELETE FROM {table} WHERE run_no = ? AND round IN (SELECT unnest(?))", [run.run_no, known])
    _insert_rounds(con, run.run_no, rows, commit)
    _insert_bands(con, run.run_no, updates)
    for state in states:
        state.version = commit
    return set().union(*(state.metrics for state in states))


def _updates(con: duckdb.DuckDBPyConnection, run: RunState, rounds: Sequence[int]) -> pa.Table:
    """What the updates of these rounds say in numbers."""
    known = {key for scope, key, _ in run.names if scope == "client"}
    names = ["round", "base_round", "source", "ts", "status", *(name for name in NUMERIC if name in known), "metrics"]
    where = f"run_no = {run.run_no} AND round IN ({', '.join(map(str, rounds)) or 'NULL'})"
    if rounds:
        where += f" AND round BETWEEN {min(rounds)} AND {max(rounds)}"
    return con.sql(updates_sql(names, where, run.told_by)).to_arrow_table().combine_chunks()


def _figures(updates: pa.Table) -> dict[int, Figures]:
    """What the updates of each round add up to, over the finite values."""
    names = [name for name in ("bytes_sent", "bytes_received", "gradient_norm") if name in updates.column_names]
    finite = {name: pc.if_else(pc.is_finite(updates[name]), updates[name], None) for name in names}
    staleness = pc.subtract(updates["round"], updates["base_round"])
    grouped = (
        pa.table({"round": updates["round"], "staleness": staleness, **finite})
        .group_by("round", use_threads=False)
        .aggregate([("staleness", "mean"), ("staleness", "max"), *(_AGGREGATES[name] for name in names)])
    )
    figures = {number: Figures() for number in grouped["round"].to_pylist()}
    for column, field in _FIGURE_OF.items():
        if column in grouped.column_names:
            for each, value in zip(figures.values(), grouped[column].to_pylist(), strict=True):
                setattr(each, field, value)
    return figures


class _Times:
    """How long the clients that completed a round took, by round."""

    def __init__(self, updates: pa.Table) -> None:
        self._completed = pc.fill_null(pc.equal(updates["status"], "active"), True)
        self._updates = updates

    @cached_property
    def trained_sec(self) -> dict[int, list[float]]:
        """The training times that they told."""
        if "train_time_sec" not in self._updates.column_names:
            return {}
        times = self._updates["train_time_sec"]
        return self._by_round("train_time_sec", pc.and_(pc.is_finite(times), pc.greater_equal(times, 0.0)))

    @cached_property
    def told_at(self) -> dict[int, list[float]]:
        """When the server told of them."""
        return self._by_round("ts", pc.equal(self._updates["source"], SERVER))

    def _by_round(self, name: str, which: pa.ChunkedArray) -> dict[int, list[float]]:
        table = self._updates.select(["round", name]).filter(pc.and_(self._completed, pc.fill_null(which, False)))
        grouped = table.group_by("round", use_threads=False).aggregate([(name, "list")])
        return dict(zip(grouped["round"].to_pylist(), grouped[f"{name}_list"].to_pylist(), strict=True))


def _row(state: RoundState, figures: Figures, times: _Times) -> dict[str, Any]:
    """The row of a round. What the application gave wins over what we can work out."""
    # Most clients of a round have the same bits: count each combination once.
    tallies = [(TALLIES[bits], number) for bits, number in Counter(state.members.values()).items()]
    row: dict[str, Any] = {
        "round": state.round,
        "state": state.state,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "num_selected": state.selected,
        "num_completed": sum(tally.completed * number for tally, number in tallies),
        "num_dropouts": sum(tally.dropouts * number for tally, number in tallies),
        "num_failures": sum(tally.failures * number for tally, number in tallies),
        "num_late": sum(tally.late * number for tally, number in tallies),
        **dict.fromkeys(
            ("global_accuracy", "global_loss", "num_stragglers", "round_duration_sec", "aggregation_time_sec")
        ),
        **msgspec.structs.asdict(figures),
        **state.given,
    }
    # Where nobody said who was selected: those who were heard of.
    selected = len(state.members) if row["num_selected"] is None else row["num_selected"]
    if row["num_stragglers"] is None:
        row["num_stragglers"] = count_stragglers(
            selected,
            times.trained_sec.get(state.round, []),
            lambda: arrivals(state.started_at, times.told_at.get(state.round, [])),
        )
    row["bytes_per_client"] = bytes_per_client(row["total_bytes_up"], row["num_completed"])
    row["participation_rate"] = row["num_completed"] / selected if selected > 0 else None
    row["metrics"] = state.metrics
    row["given"] = json.dumps({"selected": state.selected, "given": state.given, "metrics": state.metrics})
    return row


def _insert_rounds(con: duckdb.DuckDBPyConnection, run_no: int, rows: Sequence[dict[str, Any]], commit: int) -> None:
    plain = {
        name: (_ROUND_KINDS.get(name, columns.NUMBER), [row[name] for row in rows])
        for name in rows[0]
        if name != "metrics"
    }
    new = columns.table(plain).append_column("metrics", columns.maps([row["metrics"] for row in rows]))
    insert_table(con, "rounds", new, run_no=run_no, version=commit)


def _insert_bands(con: duckdb.DuckDBPyConnection, run_no: int, updates: pa.Table) -> None:
    """One row for each round and metric that has a value, over the finite values."""
    numbers = [name for name in updates.column_names if name in NUMERIC]
    points = []
    if numbers:
        points.append(
            f"SELECT round, metric, v FROM (UNPIVOT (SELECT round, {', '.join(numbers)} FROM updates) "
            f"ON {', '.join(numbers)} INTO NAME metric VALUE v)"
        )
    if updates["metrics"].null_count < len(updates):
        points.append(
            "SELECT round, e.key, e.value FROM (SELECT round, unnest(map_entries(metrics)) AS e FROM updates)"
        )
    if points:
        con.execute(
            "INSERT INTO bands BY NAME SELECT "
            f"{run_no} AS run_no, round, metric, n, num_nonfinite, mean, min, max, "
            "q[1] AS p5, q[2] AS p25, q[3] AS p50, q[4] AS p75, q[5] AS p95 FROM ("
            "SELECT round, metric, count(*) FILTER (isfinite(v)) AS n, count(*) FILTER (NOT isfinite(v)) AS num_nonfinite, "
            "avg(v) FILTER (isfinite(v)) AS mean, min(v) FILTER (isfinite(v)) AS min, max(v) FILTER (isfinite(v)) AS max, "
            f"quantile_cont(v, {_QUANTILES}) FILTER (isfinite(v)) AS q "
            f"FROM ({' UNION ALL '.join(points)}) p(round, metric, v) WHERE v IS NOT NULL GROUP BY round, metric)"
        )


def refresh_totals(con: duckdb.DuckDBPyConnection, runs: Iterable[RunState]) -> None:
    """Bring up to date what a run's row takes from its rounds."""
    by_number = {run.run_no: run for run in runs}
    if not by_number:
        return
    for run_no, accuracy, loss, best, up, down in con.execute(
        "SELECT run_no, arg_max(global_accuracy, round), arg_max(global_loss, round), "
        "max(global_accuracy) FILTER (isfinite(global_accuracy)), "
        "sum(total_bytes_up) FILTER (isfinite(total_bytes_up)), "
        "sum(total_bytes_down) FILTER (isfinite(total_bytes_down)) "
        f"FROM rounds WHERE run_no IN ({', '.join(map(str, by_number))}) GROUP BY run_no"
    ).fetchall():
        run = by_number[run_no]
        run.global_accuracy, run.global_loss, run.best_accuracy = accuracy, loss, best
        run.total_bytes_up, run.total_bytes_down = up, down
