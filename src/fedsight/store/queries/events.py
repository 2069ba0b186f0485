"""Questions about everything that happened besides updates and measurements, and about lines that were no good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Table, check_limit, from_cursor, page_of, snapshot, span, to_cursor
from fedsight.store.schema import EVENT_COLUMNS

# A time that is missing or no number counts as older than all others.
_WHEN = "CASE WHEN isfinite(ts) THEN ts ELSE -1e300 END"
EVENT_SELECT = ", ".join('position AS "offset"' if name == "offset" else name for name in EVENT_COLUMNS)


def events(
    store: Store,
    run_id: str,
    *,
    kind: str | Sequence[str] | None = None,
    exclude_kind: str | Sequence[str] | None = None,
    client_id: str | None = None,
    from_: float | None = None,
    to: float | None = None,
    limit: int = 1000,
    cursor: str | None = None,
) -> Table:
    """What happened in a run within the times [from_, to], newest first.

    `kind`: only events of this kind or these; `exclude_kind`: none of these. Raises `RunNotFound`, `BadQuery`.
    """
    check_limit(limit)
    with snapshot(store) as view:
        where = f"run_no = {view.run(run_id).run_no}{span('ts', from_, to)}"
        params: list[Any] = []
        for is_in, kinds in (("IN", kind), ("NOT IN", exclude_kind)):
            if kinds is not None:
                where += f" AND kind {is_in} (SELECT unnest(?::VARCHAR[]))"
                params.append([kinds] if isinstance(kinds, str) else list(kinds))
        if client_id is not None:
            where += " AND client_id = ?"
            params.append(client_id)
        if cursor is not None:
            where += " AND (when_ < ? OR (when_ = ? AND (journal, position) < (?, ?)))"
            ts, journal, position = from_cursor(cursor, float, str, int)
            params += [ts, ts, journal, position]
        found = view.columns(
            f"SELECT {EVENT_SELECT}, when_ FROM (SELECT *, {_WHEN} AS when_ FROM events) WHERE {where} "
            f"ORDER BY when_ DESC, journal DESC, position DESC LIMIT {limit + 1}",
            params,
        )
        found, more = page_of(found, limit)
        when = found.pop("when_")
        following = to_cursor(when[-1], found["journal"][-1], found["offset"][-1]) if more else None
        return Table(view.as_of, with_data(found), following)


def with_data(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same events, each's line as the object that it is."""
    columns["data"] = [msgspec.json.decode(line) for line in columns["data"]]
    return columns


def dead_letters(store: Store, *, run_id: str | None = None, limit: int = 1000, cursor: str | None = None) -> Table:
    """Lines that are no valid events or not their journal's to write, by journal and offset. Raises `BadQuery`."""
    check_limit(limit)
    where, params = "true", []
    if run_id is not None:
        where += " AND run_id = ?"
        params.append(run_id)
    if cursor is not None:
        where += " AND (journal, position) > (?, ?)"
        params += from_cursor(cursor, str, int)
    with snapshot(store) as view:
        found = view.columns(
            'SELECT journal, position AS "offset", run_id, reason, received_at FROM dead_letters '
            f"WHERE {where} ORDER BY journal, position LIMIT {limit + 1}",
            params,
        )
        found, more = page_of(found, limit)
        return Table(view.as_of, found, to_cursor(found["journal"][-1], found["offset"][-1]) if more else None)
