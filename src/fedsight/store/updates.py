"""The rows of `client_updates`: one per run, round, client and source; a repeat is merged into its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from fedsight.events import ClientUpdate
from fedsight.store import columns
from fedsight.store.memory import ClientState, RunState
from fedsight.store.rows import insert_table
from fedsight.store.schema import CONTRACT
from fedsight.store.tally import LATE, TALLIES, status_bits, told_bit, without_status

_STORED = ("ts", "status", "base_round", *CONTRACT, "metrics", "extra")


class Group(msgspec.Struct):
    """Rows that lie together: one run, round and source."""

    run_no: int
    round: int | None
    source: int
    start: int
    count: int


Key = tuple[int, int, int, int]
"""run_no, round, source, client_no: what names a row."""


class UpdateRows:
    """The client updates of one commit, as rows in the making."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.updates: list[ClientUpdate] = []
        self._client_nos: list[int] = []
        self._late: set[int] = set()
        self._groups: list[Group] = []
        self._repeats: list[tuple[Key, ClientUpdate]] = []

    def take(
        self,
        run: RunState,
        source: int,
        round: int | None,
        updates: Sequence[ClientUpdate],
        late: Sequence[bool] | None,
    ) -> None:
        """Take in what one source said of one round. `late`: which of them arrived after its end (None: none)."""
        run.told_by |= told_bit(source)
        clients = [run.clients[update.client_id] for update in updates]
        numbers = [client.client_no for client in clients]
        if round is None:
            self._append(Group(run.run_no, None, source, len(self.updates), len(updates)), updates, numbers)
            for client, update in zip(clients, updates, strict=True):
                count_change(run, client, 0, told_bit(source) | status_bits(source, update.status))
            return
        members = run.rounds[round].members
        if len(set(numbers)) < len(numbers) or not members.keys().isdisjoint(numbers):
            self._take_one_by_one(run, source, round, updates, clients, late)
            return
        bits_of = {status: told_bit(source) | status_bits(source, status) for status in {u.status for u in updates}}
        bits = [bits_of[update.status] for update in updates]
        if late is not None:
            bits = [b | LATE if is_late else b for b, is_late in zip(bits, late, strict=True)]
            self._late.update(len(self.updates) + i for i, is_late in enumerate(late) if is_late)
        members.update(zip(numbers, bits, strict=True))
        for client, b in zip(clients, bits, strict=True):
            client.num_updates += 1
            tally = TALLIES[b]
            if not tally.completed:
                client.num_dropouts += tally.dropouts
                client.num_failures += tally.failures
        run.num_updates += len(clients)
        self._append(Group(run.run_no, round, source, len(self.updates), len(updates)), updates, numbers)

    def _take_one_by_one(
        self,
        run: RunState,
        source: int,
        round: int,
        updates: Sequence[ClientUpdate],
        clients: Sequence[ClientState],
        late: Sequence[bool] | None,
    ) -> None:
        members = run.rounds[round].members
        new: list[ClientUpdate] = []
        numbers: list[int] = []
        start = len(self.updates)
        for i, (update, client) in enumerate(zip(updates, clients, strict=True)):
            before = bits = members.get(client.client_no, 0)
            if bits & told_bit(source):
                self._repeats.append(((run.run_no, round, source, client.client_no), update))
                if update.status is not None:
                    bits = without_status(bits, source) | status_bits(source, update.status)
            else:
                bits |= told_bit(source) | status_bits(source, update.status)
                if late is not None and late[i]:
                    bits |= LATE
                    self._late.add(start + len(new))
                new.append(update)
                numbers.append(client.client_no)
            members[client.client_no] = bits
            count_change(run, client, before, bits)
        self._append(Group(run.run_no, round, source, start, len(new)), new, numbers)

    def _append(self, group: Group, updates: Sequence[ClientUpdate], client_nos: Sequence[int]) -> None:
        if group.count:
            self._groups.append(group)
            self.updates.extend(updates)
            self._client_nos.extend(client_nos)

    def write(self, commit: int) -> columns.UpdateColumns:
        """Insert the rows. Returns their columns, which also say what names have values."""
        if self._repeats:
            self._merge_repeats()
        built = columns.update_columns(self.updates)
        if not self.updates:
            return built
        parts = built.columns | {
            "run_no": self._per_group([group.run_no for group in self._groups], columns.SMALL),
            "round": self._per_group([group.round for group in self._groups], columns.INTEGER),
            "source": self._per_group([group.source for group in self._groups], columns.TINY),
            "client_no": pa.array(self._client_nos, columns.SMALL),
        }
        if self._late:
            parts["late"] = pa.array([i in self._late for i in range(len(self.updates))])
        if any(group.round is None for group in self._groups):
            parts["place"] = pa.array(range(len(self.updates)), columns.SMALL)
        constants: dict[str, int | str] = {} if self._late else {"late": "false"}
        insert_table(self._con, "client_updates", pa.table(parts), version=commit, **constants)
        return built

    def _per_group(self, values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
        spread: list[int | None] = []
        for group, value in zip(self._groups, values, strict=True):
            spread.extend([value] * group.count)
        return pa.array(spread, kind)

    def _merge_repeats(self) -> None:
        rows = self._rows_of_this_commit()
        stored = {key for key, _ in self._repeats if key not in rows}
        if stored:
            for key, update, late in self._take_out(sorted(stored)):
                rows[key] = len(self.updates)
                if late:
                    self._late.add(len(self.updates))
                run_no, number, source, client_no = key
                self._append(Group(run_no, number, source, len(self.updates), 1), [update], [client_no])
        for key, update in self._repeats:
            row = rows[key]
            self.updates[row] = merged(self.updates[row], update)

    def _rows_of_this_commit(self) -> dict[Key, int]:
        wanted = {key[:3] for key, _ in self._repeats}
        return {
            (group.run_no, group.round, group.source, self._client_nos[row]): row
            for group in self._groups
            if group.round is not None and (group.run_no, group.round, group.source) in wanted
            for row in range(group.start, group.start + group.count)
        }

    def _take_out(self, keys: list[Key]) -> Iterator[tuple[Key, ClientUpdate, bool]]:
        """Remove rows from the table, and return what they held."""
        run_nos, rounds, sources, client_nos = zip(*keys, strict=True)
        kinds = columns.SMALL, columns.INTEGER, columns.TINY, columns.SMALL
        names = "run_no", "round", "source", "client_no"
        values = (run_nos, rounds, sources, client_nos)
        kinds_and_values = zip(names, kinds, values, strict=True)
        repeated = columns.table({name: (kind, given) for name, kind, given in kinds_and_values})
        for row in _cut_out(self._con, repeated):
            fields = dict(zip(_STORED, row[4:-1], strict=True))
            fields["extra"] = columns.from_json_text(fields["extra"])
            yield row[:4], ClientUpdate(client_id="", round=row[1], **fields), row[-1]


def _cut_out(con: duckdb.DuckDBPyConnection, repeated: pa.Table) -> list[tuple[Any, ...]]:
    names = repeated.column_names
    same = " AND ".join(f"u.{name} = r.{name}" for name in names)
    found = con.execute(
        f"SELECT {', '.join(f'u.{name}' for name in (*names, *_STORED, 'late'))} "
        f"FROM client_updates u JOIN repeated r ON {same} ORDER BY ALL"
    ).fetchall()
    con.execute(f"DELETE FROM client_updates u USING repeated r WHERE {same}")
    return found


def count_change(run: RunState, client: ClientState, before: int, after: int) -> None:
    """Move the counters of a client and its run by what changed of it in one round."""
    was, now = TALLIES[before], TALLIES[after]
    if was != now:
        client.num_updates += now.updates - was.updates
        client.num_dropouts += now.dropouts - was.dropouts
        client.num_failures += now.failures - was.failures
        run.num_updates += now.updates - was.updates


def merged(old: ClientUpdate, new: ClientUpdate) -> ClientUpdate:
    """Both as one: the last non-null value of each field."""
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    for name in fields:
        value = getattr(new, name)
        if name in ("metrics", "extra"):
            if value:
                fields[name] = {**(fields[name] or {}), **value}
        elif value is not None:
            fields[name] = value
    return ClientUpdate(**fields)
