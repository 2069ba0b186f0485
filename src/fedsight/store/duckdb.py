"""The store: an index over journals in one DuckDB file, with one writer and many readers.

A commit moves rows and cursors together, so that a process killed at any instant leaves neither a
gap nor a double; the file can always be deleted and built again from the journals.
"""

from __future__ import annotations

import json
import math
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from fedsight.errors import StoreError
from fedsight.store import rows
from fedsight.store.contact import run_states
from fedsight.store.index import DirtyRounds, Indexing
from fedsight.store.memory import Memory
from fedsight.store.receipts import Receipt, Segment, admit, cut
from fedsight.store.rows import Cursor
from fedsight.store.schema import SCHEMA_VERSION, TABLES

ROLLUP_INTERVAL_SEC = 1.0
"""How often rounds that still get updates are rolled up again, at most."""
MAX_DIRTY_ROUNDS = 5_000
"""More rounds than this wait for no interval."""


class Store:
    """An index over journals. One thread at a time writes; any number read, each by a `snapshot`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path | None) -> None:
        self._con = con
        self._writing = threading.Lock()
        self._last_roll_up = -ROLLUP_INTERVAL_SEC
        self._commit = 0
        self.path = path
        self.epoch = ""
        self._dirty: DirtyRounds = {}
        self._cursors: dict[str, Cursor] = {}
        self._memory = Memory(con)
        self._read_back()

    @classmethod
    def open(cls, path: Path | None, *, memory_limit_mb: int = 256, threads: int = 2) -> Store:
        """Open the index at `path`, a new one where there is none; None keeps it in memory.

        Raises `StoreError` when another process has it open, it is damaged, or a newer version made it.
        """
        options: dict[str, str | bool | int | float | list[str]] = {
            "threads": threads,
            "memory_limit": f"{memory_limit_mb}MB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            options["temp_directory"] = f"{path}.tmp"
        try:
            con = duckdb.connect(":memory:" if path is None else str(path), config=options)
        except duckdb.Error as error:
            if "lock" in str(error):
                raise StoreError(
                    f"The index {path} is open in another process. Stop that one, or ask it over HTTP."
                ) from error
            raise StoreError(
                f"The index {path} can't be opened: {error}. It can be deleted: it is built again from the journals."
            ) from error
        try:
            _prepare(con, path)
            return cls(con, path)
        except BaseException:
            con.close()
            raise

    @property
    def commit(self) -> int:
        """The number of the last commit."""
        return self._commit

    def as_of(self) -> str:
        """What an answer that holds everything up to now says of itself."""
        return f"{self.epoch}-{self._commit}"

    def cursors(self) -> dict[str, int]:
        """Each journal's stream offset up to which it is indexed."""
        with self._writing:
            return {journal: cursor.position for journal, cursor in self._cursors.items()}

    def apply(self, receipts: Sequence[Receipt]) -> int:
        """Index blocks in one transaction; returns the number of the commit.

        What is behind a journal's cursor already is skipped. Raises `StoreError` when a block leaves a gap.
        """
        with self._writing:
            segments, cursors = self._new_segments(receipts)
            if not segments:
                return self._commit
            with self._transaction() as commit:
                self._index(segments, cursors, commit, roll_all=self._roll_up_is_due())
            return self._commit

    def refresh(self) -> int:
        """Bring all roll-ups up to date now; returns the number of the commit."""
        with self._writing:
            if self._dirty:
                with self._transaction() as commit:
                    self._index([], {}, commit, roll_all=True)
            return self._commit

    def note_contact(
        self, seen: Mapping[str, float], gone: Collection[str], now: float, listening_since: float = -math.inf
    ) -> int | None:
        """Note when journals were last heard of, and what that says of runs that never ended.

        `gone` names journals whose writer is known to be dead; silence counts from `listening_since` on. Returns the commit's number where a run's
        state (or a roll-up that was waiting) changed, else None.
        """
        with self._writing:
            changed = {}
            for journal, ts in seen.items():
                cursor = self._cursors.get(journal)
                if cursor is not None and ts > cursor.last_contact:
                    changed[journal] = Cursor(cursor.position, ts, cursor.num_bad)
            states = run_states(self._con, self._cursors | changed, gone, now, listening_since)
            roll_all = bool(self._dirty) and self._roll_up_is_due()
            if not changed and not states and not roll_all:
                return None
            with self._transaction(counts := bool(states) or roll_all) as commit:
                rows.write_cursors(self._con, changed)
                self._cursors.update(changed)
                if counts:
                    self._index([], {}, commit, roll_all=roll_all)
                for run_id, state in states.items():
                    run = self._memory.run(run_id)
                    run.state = state
                    rows.write_run(self._con, run, commit)
            return self._commit if counts else None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the same database, for reading in another thread."""
        return self._con.cursor()

    def close(self) -> None:
        """Finish the roll-ups that wait, and close the file."""
        self.refresh()
        with self._writing:
            self._con.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _new_segments(self, receipts: Sequence[Receipt]) -> tuple[list[Segment], dict[str, Cursor]]:
        segments: list[Segment] = []
        moved: dict[str, Cursor] = {}
        for receipt in receipts:
            journal = receipt.header.journal
            old = moved.get(journal) or self._cursors.get(journal)
            block = cut(receipt.block, receipt.header, None if old is None else old.position)
            if block is None:
                continue
            segment = admit(block, receipt)
            segments.append(segment)
            last_contact = receipt.received_at if old is None else max(old.last_contact, receipt.received_at)
            moved[journal] = Cursor(segment.end, last_contact, (old.num_bad if old else 0) + len(segment.bad))
        return segments, moved

    def _index(
        self, segments: Sequence[Segment], cursors: Mapping[str, Cursor], commit: int, *, roll_all: bool
    ) -> None:
        indexing = Indexing(self._con, self._memory, commit)
        num_bad = [len(segment.bad) for segment in segments]
        indexing.take(segments)
        for segment, before in zip(segments, num_bad, strict=True):
            cursors[segment.header.journal].num_bad += len(segment.bad) - before
        indexing.write(segments, self._dirty, roll_all=roll_all)
        if roll_all:
            self._last_roll_up = time.monotonic()
        headers = {segment.header.journal: segment.header for segment in segments}
        known = {}
        for journal, cursor in cursors.items():
            if journal in self._cursors:
                known[journal] = cursor
            else:
                run_id = headers[journal].run_id
                run_no = None if run_id is None else self._memory.run(run_id).run_no
                rows.insert_journal(self._con, headers[journal], run_no, cursor)
        rows.write_cursors(self._con, known)
        self._cursors.update(cursors)

    def _roll_up_is_due(self) -> bool:
        waiting = sum(map(len, self._dirty.values()))
        return waiting > MAX_DIRTY_ROUNDS or time.monotonic() - self._last_roll_up >= ROLLUP_INTERVAL_SEC

    @contextmanager
    def _transaction(self, counts: bool = True) -> Iterator[int]:
        """All or nothing: after a failure, what is in memory is read back from the tables."""
        commit = self._commit + counts
        try:
            self._con.execute("BEGIN")
            yield commit
            if counts:
                dirty = json.dumps([[run_no, n] for run_no, rounds in self._dirty.items() for n in sorted(rounds)])
                self._con.execute("UPDATE meta SET commit_no = ?, dirty = ?", [commit, dirty])
            self._con.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._commit = commit
        self._memory.trim(commit)

    def _roll_back(self) -> None:
        # Where it failed while committing, nothing is left to undo.
        with suppress(duckdb.TransactionException):
            self._con.execute("ROLLBACK")
        self._read_back()

    def _read_back(self) -> None:
        """Take from the tables what is kept in memory."""
        con = self._con
        self.epoch, self._commit, dirty = con.execute("SELECT epoch, commit_no, dirty FROM meta").fetchall()[0]
        self._dirty = {}
        for run_no, number in json.loads(dirty):
            self._dirty.setdefault(run_no, set()).add(number)
        self._cursors = {
            journal: Cursor(position, last_contact, num_bad)
            for journal, position, last_contact, num_bad in con.execute("FROM cursors").fetchall()
        }
        self._memory = Memory(con)


def _prepare(con: duckdb.DuckDBPyConnection, path: Path | None) -> None:
    """Make the tables of a new file; refuse those of another version."""
    tables = {name for (name,) in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    if "meta" in tables:
        version = con.execute("SELECT schema_version FROM meta").fetchall()[0][0]
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"The index {path} has schema version {version}, this Fedsight knows {SCHEMA_VERSION}. "
                "Use the Fedsight that made it, or delete it: it is built again from the journals."
            )
        return
    con.execute("BEGIN")
    for name, definition in TABLES.items():
        con.execute(f"CREATE TABLE {name} ({definition})")
    con.execute("INSERT INTO meta VALUES (?, ?, 0, '[]')", [secrets.token_hex(4), SCHEMA_VERSION])
    con.execute("COMMIT")
