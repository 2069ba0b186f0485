"""Questions about what was told outside of runs, too: policy events, what systems said, how sources do, networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Table, check_limit, from_cursor, page_of, snapshot, span, text, to_cursor

_WHEN = "CASE WHEN isfinite(e.ts) THEN e.ts ELSE -1e300 END"


def told(
    store: Store,
    kinds: Sequence[str],
    *,
    run_id: str | None = None,
    given: Mapping[str, str | None] | None = None,
    from_: float | None = None,
    to: float | None = None,
    limit: int = 1000,
    cursor: str | None = None,
) -> Table:
    """Events of these kinds, of all runs and of none, within the times [from_, to], newest first.

    given: fields of the event, each with the value wanted (None: any). Columns `ts, kind, run_id, client_id, data,
    journal, offset`. Raises `BadQuery`.
    """
    check_limit(limit)
    changed = ""
    if "source_state" in kinds:
        # A state stands beside every cursor; what is told of are its changes.
        changed = f"WITH changed AS ({state_changes()}) "
    where = f"kind IN ({', '.join(map(text, kinds))}){span('ts', from_, to)}"
    if changed:
        where += " AND (kind <> 'source_state' OR (journal, position) IN (SELECT * FROM changed))"
    params: list[Any] = []
    if run_id is not None:
        where += " AND run_id = ?"
        params.append(run_id)
    for name, value in (given or {}).items():
        if value is not None:
            where += f" AND {field(name)} = ?"
            params.append(value)
    if cursor is not None:
        where += " AND (when_ < ? OR (when_ = ? AND (journal, position) < (?, ?)))"
        ts, journal, position = from_cursor(cursor, float, str, int)
        params += [ts, ts, journal, position]
    with snapshot(store) as view:
        found = view.columns(
            f"{changed}"
            'SELECT ts, kind, run_id, client_id, data, journal, position AS "offset", when_ FROM '
            f"(SELECT e.*, r.run_id, {_WHEN} AS when_ FROM events e LEFT JOIN runs r ON e.run_no = r.run_no) "
            f"WHERE {where} ORDER BY when_ DESC, journal DESC, position DESC LIMIT {limit + 1}",
            params,
        )
        found, more = page_of(found, limit)
        when = found.pop("when_")
        following = to_cursor(when[-1], found["journal"][-1], found["offset"][-1]) if more else None
        found["data"] = [msgspec.json.decode(line) for line in found["data"]]
        return Table(view.as_of, found, following)


def state_changes(where: str = "true") -> str:
    """SQL of where (journal, position) the state of a source became another one, in journals that match `where`."""
    return (
        "SELECT journal, position FROM (SELECT journal, position, event, "
        "lag(event) OVER (PARTITION BY journal ORDER BY position) AS before FROM events "
        f"WHERE kind = 'source_state' AND {where}) WHERE event IS DISTINCT FROM before"
    )


def field(name: str, data: str = "data") -> str:
    """SQL of a top-level field of an event's line."""
    return f"(CASE WHEN json_valid({data}) THEN json_extract_string({data}, {text('$.' + name)}) END)"
