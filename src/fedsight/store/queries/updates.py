"""Questions about client updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedsight.store.columns import from_json_text
from fedsight.store.duckdb import Store
from fedsight.store.queries.measured import ENERGY, MEASURED, Interval, Monitored
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
    to_cursor,
)
from fedsight.store.reading import updates_sql
from fedsight.store.schema import UPDATE_COLUMNS

_FILLED = (*MEASURED, ENERGY, "measured")
_TRAINED = ("client_no", "site_source", "site_ts", "train_time_sec")
"""What says when a client trained; see `Interval`."""


def updates(
    store: Store,
    run_id: str,
    *,
    client_id: str | None = None,
    from_: int | None = None,
    to: int | None = None,
    fields: Sequence[str] | None = None,
    limit: int = 1000,
    cursor: str | None = None,
    measured: bool = False,
) -> Table:
    """Client updates by round then client, one row for both; those without a round come last.

    `fields` names the columns wanted besides `round` and `client_id`. With `from_` or `to`, updates
    without a round are left out. With `measured`, what an update doesn't say is filled from the samples of
    the client's monitor, and two columns are added: `energy_j`, and `measured`, which names what was filled. Raises `RunNotFound`, `BadQuery`.
    """
    check_limit(limit)
    known = (*UPDATE_COLUMNS, ENERGY, "measured") if measured else UPDATE_COLUMNS
    wanted = list(known)
    if fields is not None:
        wanted = list(dict.fromkeys(["round", "client_id", *(check_name("fields", f, known) for f in fields)]))
        if measured and not {*_FILLED}.isdisjoint(wanted):
            wanted = list(dict.fromkeys([*wanted, "measured"]))
    # The last row's round and client; without a round, how many such rows were given.
    after = (None, "", 0) if cursor is None else tuple(from_cursor(cursor, (int, type(None)), str, int))
    with snapshot(store) as view:
        run = view.run(run_id)
        where = f"run_no = {run.run_no}{span('round', from_, to)}"
        if client_id is not None:
            client_no = view.client_no(run, client_id)
            where += " AND false" if client_no is None else f" AND client_no = {client_no}"
        if cursor is not None:
            where += " AND round IS NULL" if after[0] is None else f" AND (round >= {after[0]} OR round IS NULL)"
        where += _enough(view, where, limit, told_twice=run.told_by == 3)
        monitored = Monitored(view, run) if "measured" in wanted else None
        stored = [name for name in wanted if name in UPDATE_COLUMNS]
        found = _page(
            view, run, list(dict.fromkeys([*stored, *_TRAINED])) if monitored else stored, where, after, limit
        )
        found, more = page_of(found, limit)
        following = to_cursor(*_position(found, after)) if more else None
        if "extra" in found:
            found["extra"] = [_extra(value) for value in found["extra"]]
        if monitored is not None:
            _fill(found, monitored)
        return Table(view.as_of, {name: found[name] for name in wanted}, following)


def _fill(found: dict[str, list[Any]], monitored: Monitored) -> None:
    num_rows = len(found["client_id"])
    found[ENERGY] = [None] * num_rows
    found["measured"] = [[] for _ in range(num_rows)]
    if monitored:
        intervals = [Interval(*told) for told in zip(*(found[name] for name in _TRAINED), strict=True)]
        found["measured"] = monitored.fill(found, intervals)


def _enough(view: Snapshot, where: str, limit: int, *, told_twice: bool) -> str:
    """SQL that keeps to the first rounds that fill a page, so that not the whole run is sorted."""
    total, first = 0, None
    for number, count in view.rows(
        f"SELECT round, count(*) FROM client_updates WHERE {where} GROUP BY round ORDER BY round NULLS LAST"
    ):
        if number is None:
            break
        if first is None:
            first = number  # which a cursor may stand at the end of
        else:
            total += count // 2 if told_twice else count
        if total > limit:
            return f" AND round <= {number}"
    return ""


def _page(
    view: Snapshot, run: RunKey, wanted: Sequence[str], where: str, after: tuple[Any, ...], limit: int
) -> dict[str, list[Any]]:
    stored = [name for name in wanted if name not in ("client_id", "staleness", "late")]
    names = list(dict.fromkeys([*stored, "round", "client_no", "base_round", "ts", "late", "version", "place"]))
    columns = {"staleness": "u.round - u.base_round AS staleness", "client_id": "c.client_id"}
    seen, params = "", []
    if after[0] is not None:
        seen = " AND (u.round > ? OR u.round IS NULL OR c.client_id > ?)"
        params = [after[0], after[1]]
    return view.columns(
        f"SELECT {', '.join(columns.get(name, f'u.{name}') for name in wanted)} "
        f"FROM ({updates_sql(names, where, run.told_by)}) u "
        f"JOIN (SELECT client_no, client_id FROM clients WHERE run_no = {run.run_no}) c USING (client_no) "
        f"WHERE true{seen} ORDER BY u.round NULLS LAST, c.client_id, u.version, u.place LIMIT {limit + 1} OFFSET {max(after[2], 0)}",
        params,
    )


def _position(found: dict[str, list[Any]], after: tuple[Any, ...]) -> tuple[int | None, str, int]:
    last_round, last_client = found["round"][-1], found["client_id"][-1]
    if last_round is not None:
        return last_round, last_client, 0
    return None, "", found["round"].count(None) + after[2]


def _extra(lines: str | None) -> dict[str, Any] | None:
    if lines is None:
        return None
    merged: dict[str, Any] = {}
    for line in lines.split("\n"):
        merged.update(from_json_text(line))
    return merged
