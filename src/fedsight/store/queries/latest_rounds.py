"""The newest figures of the newest runs, for who shows no history: Prometheus."""

from __future__ import annotations

from typing import Any

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import snapshot
from fedsight.store.schema import ROUND_COLUMNS, RUN_COLUMNS


class LatestRound(msgspec.Struct):
    """A run, and its newest round that has ended (None: there is none yet); both by column."""

    run: dict[str, Any]
    round: dict[str, Any] | None


def latest_rounds(store: Store, *, max_runs: int) -> list[LatestRound]:
    """The `max_runs` runs that were heard of last, each with its newest round that has ended."""
    runs = f"SELECT run_no, {', '.join(RUN_COLUMNS)} FROM runs ORDER BY last_event_at DESC NULLS LAST, run_no DESC"
    with snapshot(store) as view:
        found = view.rows(f"{runs} LIMIT {max_runs}")
        rounds = view.rows(
            "WITH last AS (SELECT run_no, max(round) AS round FROM rounds WHERE state = 'closed' "
            "AND run_no IN (SELECT unnest(?::INTEGER[])) GROUP BY run_no) "
            f"SELECT run_no, {', '.join(ROUND_COLUMNS)} FROM rounds JOIN last USING (run_no, round)",
            [[run[0] for run in found]],
        )
    newest = {run_no: dict(zip(ROUND_COLUMNS, values, strict=True)) for run_no, *values in rounds}
    return [LatestRound(dict(zip(RUN_COLUMNS, values, strict=True)), newest.get(run_no)) for run_no, *values in found]
