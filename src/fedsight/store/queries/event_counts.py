"""How many events the store holds of each run."""

from __future__ import annotations

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import snapshot


def event_counts(store: Store) -> dict[str, int]:
    """Events by run id: client updates (one a client and round) and everything else but metrics and samples."""
    with snapshot(store) as view:
        return dict(
            view.rows(
                "SELECT run_id, num_updates + coalesce(n, 0) FROM runs "
                "LEFT JOIN (SELECT run_no, count(*) AS n FROM events GROUP BY run_no) USING (run_no)"
            )
        )
