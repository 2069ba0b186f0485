"""What every question shares: one consistent view of the store, tables, pages, and checked names."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from fedsight.errors import BadQuery, RunNotFound
from fedsight.store.duckdb import Store
from fedsight.store.receipts import LARGEST_INTEGER

MAX_LIMIT = 10_000
"""Rows in one page, at most."""


class Table(msgspec.Struct):
    """Equally long columns, and the cursor of the page after (None at the end)."""

    as_of: str
    columns: dict[str, list[Any]]
    next: str | None = None


class RunKey(msgspec.Struct):
    """What finds a run's rows."""

    run_no: int
    told_by: int


class Snapshot:
    """The store as it was at one commit. For one thread, and for as long as `snapshot` lasts."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        epoch, self.commit = con.execute("SELECT epoch, commit_no FROM meta").fetchall()[0]
        self.as_of = f"{epoch}-{self.commit}"

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The answer as tuples."""
        return self._con.execute(sql, list(params)).fetchall()

    def columns(self, sql: str, params: Sequence[Any] = ()) -> dict[str, list[Any]]:
        """The answer as named columns; maps are dicts."""
        found = self._con.sql(sql, params=list(params)).to_arrow_table()
        return {name: _values(found[name]) for name in found.column_names}

    def of(self, given: pa.Table, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a question that names `given` as a table."""
        return self._con.execute(sql).fetchall()  # DuckDB finds `given` by its name in this function

    def run(self, run_id: str) -> RunKey:
        """Raises `RunNotFound`."""
        found = self.rows("SELECT run_no, told_by FROM runs WHERE run_id = ?", [run_id])
        if not found:
            raise RunNotFound(run_id)
        return RunKey(*found[0])

    def client_no(self, run: RunKey, client_id: str) -> int | None:
        """The number of a client, or None where the run has no such client."""
        found = self.rows("SELECT client_no FROM clients WHERE run_no = ? AND client_id = ?", [run.run_no, client_id])
        return found[0][0] if found else None

    def metric_names(self, run: RunKey, scope: str) -> list[str]:
        """Names in that scope with at least one value."""
        found = self.rows(
            "SELECT DISTINCT key FROM metric_names WHERE run_no = ? AND scope = ? ORDER BY key", [run.run_no, scope]
        )
        return [key for (key,) in found]


def _values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if pa.types.is_map(column.type):
        return [dict(value) if value else None for value in values]
    return values


@contextmanager
def snapshot(store: Store) -> Iterator[Snapshot]:
    """A read transaction of one's own."""
    con = store.cursor()
    try:
        con.execute("BEGIN")
        yield Snapshot(con)
    finally:
        con.close()  # which ends the transaction


def check_limit(limit: int) -> int:
    """Raises `BadQuery` where `limit` is not in 1 … 10,000."""
    if not 1 <= limit <= MAX_LIMIT:
        raise BadQuery("limit", f"limit is {limit}; give 1 to {MAX_LIMIT}.")
    return limit


def check_name(field: str, name: str, allowed: Sequence[str]) -> str:
    """Raises `BadQuery` where `name` is none of `allowed`."""
    if name not in allowed:
        raise BadQuery(field, f"{field}: there is no {name!r}; choose of {', '.join(allowed) or '(none)'}.")
    return name


def check_order(order: str) -> str:
    """Raises `BadQuery` where `order` is neither asc nor desc."""
    return check_name("order", order, ("asc", "desc"))


def to_cursor(*position: Any) -> str:
    """A page's position as the text that a caller hands back."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def from_cursor(cursor: str, *kinds: type | tuple[type, ...]) -> list[Any]:
    """What `to_cursor` was given. Raises `BadQuery` where `cursor` is none of ours."""
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        position = None
    if (
        not isinstance(position, list)
        or len(position) != len(kinds)
        or not all(map(isinstance, position, kinds))
        or not all(map(_can_be_asked_for, position))
    ):
        raise BadQuery("cursor", f"cursor {cursor!r} is none that this query gave; ask without one.")
    return position


def _can_be_asked_for(value: Any) -> bool:
    """Whether the database takes a value: no number out of its range, no text that is no Unicode."""
    if isinstance(value, str):
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER
    return value is None or math.isfinite(value)


def page_of(columns: dict[str, list[Any]], limit: int) -> tuple[dict[str, list[Any]], bool]:
    """The first `limit` rows of an answer that was asked for one more, and whether there was one more."""
    more = bool(columns) and len(next(iter(columns.values()))) > limit
    return ({name: values[:limit] for name, values in columns.items()} if more else columns), more


def text(value: str) -> str:
    """`value` as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def span(field: str, from_: float | None, to: float | None) -> str:
    """SQL that holds `field` within [from_, to], to be appended to a WHERE."""
    low = "" if from_ is None else f" AND {field} >= {_number('from', from_)}"
    return low if to is None else f"{low} AND {field} <= {_number('to', to)}"


def _number(field: str, value: float) -> str:
    if not isinstance(value, (int, float)):
        raise BadQuery(field, f"{field} is {value!r}; give a number.")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise BadQuery(field, f"{field}: {str(value)[:20]}… is out of range; give a number within ±2^53.")
    if not math.isfinite(value):
        raise BadQuery(field, f"{field} is {value!r}; give a finite number.")
    return f"{value!r}::DOUBLE" if isinstance(value, float) else str(value)
