from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedsight import events
from fedsight.store import Receipt, Store


class Journal:
    """A journal in memory: what was appended to it can be delivered to a store, in any blocks."""

    def __init__(self, run_id: str | None = "run", role: str = "server", client_id: str | None = None) -> None:
        name = f"{run_id}.{role}.{client_id}"
        self.header = events.JournalHeader(
            ts=1.0, version=1, journal=name, role=role, run_id=run_id, client_id=client_id
        )
        self.lines: list[bytes] = []
        self.append(self.header)

    def append(self, *made: events.Event) -> Journal:
        self.lines.extend(map(events.encode, made))
        return self

    def append_line(self, line: bytes) -> Journal:
        self.lines.append(line + b"\n")
        return self

    def receipt(self, first: int = 0, last: int | None = None, received_at: float = 100.0) -> Receipt:
        """Lines [first, last) as one block."""
        start = sum(map(len, self.lines[:first]))
        return Receipt(self.header, events.decode_block(b"".join(self.lines[first:last]), start), received_at)


@pytest.fixture
def journal() -> type[Journal]:
    return Journal


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(None) as opened:
        yield opened


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "index.duckdb"


_SELECTS = {
    "runs": "* EXCLUDE (run_no, version)",
    "rounds": "r.run_id, t.* EXCLUDE (run_no, version)",
    "bands": "r.run_id, t.* EXCLUDE (run_no)",
    "clients": "r.run_id, t.* EXCLUDE (run_no, client_no, version, ranks)",
    "client_updates": "r.run_id, c.client_id, t.* EXCLUDE (run_no, client_no, place, version)",
    "samples": "r.run_id, t.* EXCLUDE (run_no, version)",
    "nodes": "r.run_id, t.* EXCLUDE (run_no)",
    "events": "r.run_id, t.* EXCLUDE (run_no, version)",
    "metric_names": "r.run_id, t.* EXCLUDE (run_no)",
    "run_info": "r.run_id, t.* EXCLUDE (run_no)",
    "dead_letters": "* EXCLUDE (version)",
    "cursors": "*",
}


def tables(opened: Store) -> dict[str, list[str]]:
    """Every table's rows without the numbers that depend on the order of arrival, as sorted text."""
    opened.refresh()
    found = {}
    for table, select in _SELECTS.items():
        joins = " LEFT JOIN runs r USING (run_no)" if "r.run_id" in select else ""
        joins += " JOIN clients c USING (run_no, client_no)" if "c.client_id" in select else ""
        rows = opened.cursor().execute(f"SELECT {select} FROM {table} t{joins}").fetchall()
        found[table] = sorted(repr([_plain(value) for value in row]) for row in rows)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.12g}")  # sums in another order differ in the last digits
    if isinstance(value, dict):
        return sorted(value.items())
    return value


@pytest.fixture
def tables_of() -> Any:
    return tables
