"""Writing the small tables: runs, clients, events, samples, metric names, dead letters, journals, cursors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from fedsight.events import (
    AnyEvent,
    Checkpoint,
    ClientEvent,
    JournalHeader,
    Log,
    Policy,
    RoundEnd,
    RoundStart,
    RunEnd,
    SourceState,
    Text,
    UnknownEvent,
)
from fedsight.store import columns
from fedsight.store.columns import INTEGER, NUMBER, SMALL, TEXT
from fedsight.store.memory import LAST_VALUES, RUN_ROW, ClientState, RunState
from fedsight.store.receipts import LARGEST_INTEGER, Other, Segment, client_of
from fedsight.store.schema import TEXT_FIELDS

Row = tuple[Any, ...]

_SAMPLES = {
    "run_no": SMALL,
    "journal": TEXT,
    "position": INTEGER,
    "client_id": TEXT,
    "node": TEXT,
    "key": TEXT,
    "step": INTEGER,
    "ts": NUMBER,
    "value": NUMBER,
}
_EVENTS = {
    "run_no": SMALL,
    "journal": TEXT,
    "position": INTEGER,
    "ts": NUMBER,
    "kind": TEXT,
    "event": TEXT,
    "client_id": TEXT,
    "round": INTEGER,
    "message": TEXT,
    "data": TEXT,
}
_NAMES = {"run_no": SMALL, "scope": TEXT, "key": TEXT, "client_id": TEXT}
_DEAD = {"journal": TEXT, "position": INTEGER, "run_id": TEXT, "reason": TEXT, "received_at": NUMBER}
_CLIENT = {
    "client_no": SMALL,
    "client_id": TEXT,
    "status": TEXT,
    "last_round": INTEGER,
    "last_seen": NUMBER,
    "num_updates": INTEGER,
    "num_dropouts": INTEGER,
    "num_failures": INTEGER,
}
_RUN_UPDATE = ", ".join(f"{name} = ?" for name in RUN_ROW if name != "run_no")


class Cursor(msgspec.Struct):
    """How far a journal is indexed, when it was last heard of, and how many of its lines were no good."""

    position: int
    last_contact: float
    num_bad: int = 0


def insert_table(con: duckdb.DuckDBPyConnection, table: str, new_rows: pa.Table, **constants: int | str) -> None:
    """Insert Arrow columns under their names, and `constants` (SQL literals) into every row."""
    names = [*new_rows.column_names, *constants]
    values = [*new_rows.column_names, *map(str, constants.values())]
    # DuckDB finds `new_rows` by its name in this function: that costs a third of registering it.
    con.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM new_rows")


def insert(
    con: duckdb.DuckDBPyConnection, table: str, kinds: Mapping[str, Any], rows: Sequence[Row], **constants: int
) -> None:
    """Insert rows given as tuples, in the order of `kinds`."""
    if rows:
        values = zip(kinds.items(), zip(*rows, strict=True), strict=True)
        insert_table(con, table, columns.table({name: (kind, given) for (name, kind), given in values}), **constants)


def insert_samples(con: duckdb.DuckDBPyConnection, rows: Sequence[Row], commit: int) -> None:
    """Insert step-level points and measurements."""
    insert(con, "samples", _SAMPLES, rows, version=commit)


def insert_events(con: duckdb.DuckDBPyConnection, rows: Sequence[Row], commit: int) -> None:
    """Insert what `event_row` made."""
    insert(con, "events", _EVENTS, rows, version=commit)


def insert_names(con: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> None:
    """Insert names of metrics that have a value."""
    insert(con, "metric_names", _NAMES, rows)


def event_row(run_no: int | None, segment: Segment, other: Other) -> Row:
    """The row of an event that is neither an update nor a measurement."""
    event = other.event
    if isinstance(event, UnknownEvent):
        kind, number = event.kind, event.fields.get("round")
        if type(number) is not int or not -LARGEST_INTEGER < number < LARGEST_INTEGER:
            number = None
    else:
        kind, number = str(event.__struct_config__.tag), getattr(event, "round", None)
    name, message = _name_and_message(event)
    client_id = client_of(event, segment.header)
    data = other.line.decode("utf-8", "replace")
    return run_no, segment.header.journal, other.offset, event.ts, kind, name, client_id, number, message, data


def _name_and_message(event: AnyEvent | UnknownEvent) -> tuple[str | None, str | None]:
    if isinstance(event, ClientEvent):
        return event.event, event.reason
    if isinstance(event, Log):
        return event.event, event.message
    if isinstance(event, RunEnd):
        return event.status, event.error
    if isinstance(event, SourceState):
        return event.state, event.error
    if isinstance(event, Policy):
        return event.type, event.reason
    if isinstance(event, Text):
        return None, event.text
    if isinstance(event, Checkpoint):
        return None, event.path
    if isinstance(event, (RoundStart, RoundEnd)):
        return None, f"Round {event.round}"
    return None, None


def insert_dead_letters(con: duckdb.DuckDBPyConnection, segments: Iterable[Segment], commit: int) -> None:
    """Insert the lines that are no valid events, or not their journal's to write."""
    rows = [
        (segment.header.journal, bad.offset, segment.header.run_id, bad.reason, segment.received_at)
        for segment in segments
        for bad in segment.bad
    ]
    insert(con, "dead_letters", _DEAD, rows, version=commit)


def write_clients(con: duckdb.DuckDBPyConnection, run_no: int, clients: Sequence[ClientState], commit: int) -> None:
    """Write the rows of clients that changed."""
    if not clients:
        return
    known = [client.client_no for client in clients if client.version]
    if known:
        con.execute(
            "DELETE FROM clients WHERE run_no = ? AND client_no IN (SELECT unnest(?::INTEGER[]))", [run_no, known]
        )
    parts: dict[str, tuple[Any, Sequence[Any]]] = {
        name: (kind, [getattr(client, name) for client in clients]) for name, kind in _CLIENT.items()
    }
    present = set().union(*(client.values for client in clients))
    for name in LAST_VALUES:
        if name in present:
            kind = TEXT if name in TEXT_FIELDS else INTEGER if name in ("staleness", "base_round") else NUMBER
            parts[name] = kind, [client.values.get(name) for client in clients]
    parts["ranks"] = TEXT, [msgspec.json.encode(client.marks).decode() for client in clients]
    new = columns.table(parts)
    if any(client.metrics for client in clients):
        new = new.append_column("metrics", columns.maps([client.metrics for client in clients]))
    insert_table(con, "clients", new, run_no=run_no, version=commit)
    for client in clients:
        client.version = commit


def write_run(con: duckdb.DuckDBPyConnection, run: RunState, commit: int) -> None:
    """Write the row of a run that changed."""
    is_new, run.version = run.version == 0, commit
    values = [getattr(run, name) for name in RUN_ROW]
    if is_new:
        con.execute(f"INSERT INTO runs ({', '.join(RUN_ROW)}) VALUES ({', '.join('?' * len(RUN_ROW))})", values)
        con.execute("INSERT INTO run_info (run_no) VALUES (?)", [run.run_no])
    else:
        con.execute(f"UPDATE runs SET {_RUN_UPDATE} WHERE run_no = ?", [*values[1:], run.run_no])


def write_info(con: duckdb.DuckDBPyConnection, run_no: int, info: Mapping[str, str]) -> None:
    """Write what was newly told of a run's `config`, `tags` or `server` (JSON texts)."""
    changes = ", ".join(f"{name} = ?" for name in info)
    con.execute(f"UPDATE run_info SET {changes} WHERE run_no = ?", [*info.values(), run_no])


def insert_journal(con: duckdb.DuckDBPyConnection, header: JournalHeader, run_no: int | None, cursor: Cursor) -> None:
    """Add a journal that was not known."""
    con.execute("INSERT INTO journals VALUES (?, ?, ?, ?)", [header.journal, run_no, header.role, header.client_id])
    con.execute(
        "INSERT INTO cursors VALUES (?, ?, ?, ?)",
        [header.journal, cursor.position, cursor.last_contact, cursor.num_bad],
    )


def write_cursors(con: duckdb.DuckDBPyConnection, cursors: Mapping[str, Cursor]) -> None:
    """Write the cursors that moved."""
    if len(cursors) <= 3:
        for journal, cursor in cursors.items():
            con.execute(
                "UPDATE cursors SET position = ?, last_contact = ?, num_bad = ? WHERE journal = ?",
                [cursor.position, cursor.last_contact, cursor.num_bad, journal],
            )
        return
    moved = [(journal, c.position, c.last_contact, c.num_bad) for journal, c in cursors.items()]
    kinds = {"journal": TEXT, "position": INTEGER, "last_contact": NUMBER, "num_bad": INTEGER}
    parts = zip(kinds.items(), zip(*moved, strict=True), strict=True)
    _move(con, columns.table({name: (kind, values) for (name, kind), values in parts}))


def _move(con: duckdb.DuckDBPyConnection, moved: pa.Table) -> None:
    con.execute(
        "UPDATE cursors SET position = m.position, last_contact = m.last_contact, num_bad = m.num_bad "
        "FROM moved m WHERE cursors.journal = m.journal"
    )
