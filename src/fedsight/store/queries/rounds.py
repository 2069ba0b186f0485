"""Questions about rounds."""

from __future__ import annotations

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Table, check_limit, from_cursor, page_of, snapshot, span, to_cursor
from fedsight.store.schema import ROUND_COLUMNS


def rounds(
    store: Store,
    run_id: str,
    *,
    from_: int | None = None,
    to: int | None = None,
    limit: int = 1000,
    cursor: str | None = None,
) -> Table:
    """The rounds of a run, ascending, within [from_, to]. Raises `RunNotFound`, `BadQuery`."""
    check_limit(limit)
    after = "" if cursor is None else f" AND round > {from_cursor(cursor, int)[0]}"
    with snapshot(store) as view:
        run = view.run(run_id)
        found = view.columns(
            f"SELECT {', '.join(ROUND_COLUMNS)} FROM rounds "
            f"WHERE run_no = {run.run_no}{after}{span('round', from_, to)} ORDER BY round LIMIT {limit + 1}"
        )
        found, more = page_of(found, limit)
        return Table(view.as_of, found, to_cursor(found["round"][-1]) if more else None)
