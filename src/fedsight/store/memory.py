"""What the index keeps in memory of the runs it is writing: their row, their clients, their recent rounds.

Everything here can be read back from the tables, so it is dropped when it grows too large and
after a failed commit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import duckdb
import msgspec

from fedsight.store.schema import CONTRACT, Marks
from fedsight.store.tally import DROPOUT, FAILURE, LATE, status_bits, told_bit

MAX_CLIENTS = 50_000
"""Clients kept in memory, over all runs."""
MAX_MEMBERS = 400_000
"""(round, client) pairs kept in memory, over all runs."""
MAX_RUNS = 500

LOWEST_ROUND = -(1 << 58)
"""Stands for "no round" where rounds are compared: older than any."""


class ClientState(msgspec.Struct):
    """A row of `clients`, with the rank of each value it knows."""

    client_no: int
    client_id: str
    status: str | None = None
    last_round: int | None = None
    last_seen: float | None = None
    num_updates: int = 0
    num_dropouts: int = 0
    num_failures: int = 0
    values: dict[str, Any] = msgspec.field(default_factory=dict)
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    marks: Marks = msgspec.field(default_factory=lambda: Marks(4 * LOWEST_ROUND, {}, {}))
    version: int = 0


class RoundState(msgspec.Struct):
    """What was said of a round itself, and which clients it has (`members`: client_no → bits, see tally.py)."""

    round: int
    state: str = "open"
    started_at: float | None = None
    ended_at: float | None = None
    selected: int | None = None
    given: dict[str, float] = msgspec.field(default_factory=dict)
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    members: dict[int, int] = msgspec.field(default_factory=dict)
    version: int = 0


class RunState(msgspec.Struct):
    """A row of `runs`, and what of the run is in memory."""

    run_no: int
    run_id: str
    project: str | None = None
    algorithm: str | None = None
    framework: str | None = None
    state: str = "running"
    error: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    last_event_at: float | None = None
    duration_sec: float | None = None
    current_round: int | None = None
    num_rounds: int = 0
    num_clients: int = 0
    num_updates: int = 0
    global_accuracy: float | None = None
    global_loss: float | None = None
    best_accuracy: float | None = None
    total_bytes_up: float | None = None
    total_bytes_down: float | None = None
    ended: bool = False
    told_by: int = 0
    """Bit 1: sites told updates, bit 2: the server did. Both: reads must merge."""
    version: int = 0
    clients: dict[str, ClientState] = msgspec.field(default_factory=dict)
    rounds: dict[int, RoundState] = msgspec.field(default_factory=dict)
    names: set[tuple[str, str, str | None]] = msgspec.field(default_factory=set)
    """(scope, key, client_id) of the metrics that have a value."""


RUN_ROW: tuple[str, ...] = tuple(n for n in RunState.__struct_fields__ if n not in {"clients", "rounds", "names"})

_CLIENT_ROW = ("client_no", "client_id", "status", "last_round", "last_seen")
_COUNTERS = ("num_updates", "num_dropouts", "num_failures")
LAST_VALUES: tuple[str, ...] = ("staleness", "base_round", *CONTRACT)


class Memory:
    """The runs that are being written, read from the tables when asked for."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.runs: dict[str, RunState] = {}
        self._last_run_no = int(con.execute("SELECT coalesce(max(run_no), 0) FROM runs").fetchall()[0][0])

    def run(self, run_id: str) -> RunState:
        """The run's state; a new run where there is none."""
        state = self.runs.pop(run_id, None) or self._read_run(run_id) or self._new_run(run_id)
        self.runs[run_id] = state  # now the last one that `trim` would take
        return state

    def run_of_number(self, run_no: int) -> RunState:
        """The state of a run that is known to exist."""
        for state in self.runs.values():
            if state.run_no == run_no:
                return state
        return self.run(self._con.execute("SELECT run_id FROM runs WHERE run_no = ?", [run_no]).fetchall()[0][0])

    def _new_run(self, run_id: str) -> RunState:
        self._last_run_no += 1
        return RunState(run_no=self._last_run_no, run_id=run_id)

    def _read_run(self, run_id: str) -> RunState | None:
        found = self._con.execute(f"SELECT {', '.join(RUN_ROW)} FROM runs WHERE run_id = ?", [run_id]).fetchall()
        if not found:
            return None
        state = RunState(**dict(zip(RUN_ROW, found[0], strict=True)))
        state.names = set(
            self._con.execute(
                "SELECT scope, key, client_id FROM metric_names WHERE run_no = ?", [state.run_no]
            ).fetchall()
        )
        return state

    def load_clients(self, run: RunState, client_ids: Iterable[str]) -> None:
        """Have all of `client_ids` in `run.clients`, new ones included."""
        missing = [client_id for client_id in client_ids if client_id not in run.clients]
        if not missing:
            return
        if len(run.clients) < run.num_clients:  # some are in the table only
            for state in self._read_clients(run.run_no, missing):
                run.clients[state.client_id] = state
        for client_id in missing:
            if client_id not in run.clients:
                run.num_clients += 1
                run.clients[client_id] = ClientState(client_no=run.num_clients, client_id=client_id)

    def _read_clients(self, run_no: int, client_ids: list[str]) -> Iterable[ClientState]:
        names = (*_CLIENT_ROW, *_COUNTERS, *LAST_VALUES, "metrics", "ranks", "version")
        rows = self._con.execute(
            f"SELECT {', '.join(names)} FROM clients WHERE run_no = ? AND client_id IN (SELECT unnest(?))",
            [run_no, client_ids],
        ).fetchall()
        for row in rows:
            fields = dict(zip(names, row, strict=True))
            values = {name: value for name in LAST_VALUES if (value := fields.pop(name)) is not None}
            fields["metrics"] = fields["metrics"] or {}
            marks = msgspec.json.decode(fields.pop("ranks"), type=Marks)
            yield ClientState(**fields, values=values, marks=marks)

    def load_rounds(self, run: RunState, rounds: Iterable[int]) -> list[RoundState]:
        """Have all of `rounds` in `run.rounds`; returns those that are new."""
        missing = [number for number in rounds if number not in run.rounds]
        highest = run.current_round
        if highest is not None and (old := [number for number in missing if number <= highest]):
            self._read_rounds(run, old)
        new = [RoundState(round=number) for number in sorted(missing) if number not in run.rounds]
        for state in new:
            run.rounds[state.round] = state
            run.num_rounds += 1
            if run.current_round is None or state.round > run.current_round:
                run.current_round = state.round
        return new

    def _read_rounds(self, run: RunState, numbers: list[int]) -> None:
        con, which = self._con, [run.run_no, numbers]
        for number, state, started_at, ended_at, given, version in con.execute(
            "SELECT round, state, started_at, ended_at, given, version FROM rounds "
            "WHERE run_no = ? AND round IN (SELECT unnest(?))",
            which,
        ).fetchall():
            said = json.loads(given)
            run.rounds[number] = RoundState(
                number, state, started_at, ended_at, said["selected"], said["given"], said["metrics"], {}, version
            )
        for number, client_no, source, status, late in con.execute(
            "SELECT round, client_no, source, status, late FROM client_updates "
            "WHERE run_no = ? AND round IN (SELECT unnest(?)) AND round BETWEEN ? AND ?",
            [*which, min(numbers), max(numbers)],
        ).fetchall():
            members = run.rounds[number].members
            bits = told_bit(source) | status_bits(source, status) | (LATE if late else 0)
            members[client_no] = members.get(client_no, 0) | bits
        for number, client_no, event in con.execute(
            "SELECT e.round, c.client_no, e.event FROM events e JOIN clients c USING (run_no, client_id) "
            "WHERE e.run_no = ? AND e.round IN (SELECT unnest(?)) AND e.kind = 'client_event' "
            "AND e.event IN ('dropout', 'comm_failure')",
            which,
        ).fetchall():
            members = run.rounds[number].members
            members[client_no] = members.get(client_no, 0) | (DROPOUT if event == "dropout" else FAILURE)

    def trim(self, commit: int) -> None:
        """Drop what grew too large, the longest unused first; what `commit` touched stays."""
        while len(self.runs) > MAX_RUNS:
            self.runs.pop(next(iter(self.runs)))
        if sum(len(run.clients) for run in self.runs.values()) > MAX_CLIENTS:
            for run in self.runs.values():
                run.clients = {k: c for k, c in run.clients.items() if c.version == commit}
        self._trim_rounds()

    def _trim_rounds(self) -> None:
        total = sum(len(state.members) + 1 for run in self.runs.values() for state in run.rounds.values())
        if total <= MAX_MEMBERS:
            return
        every = [(state.version, run, state) for run in self.runs.values() for state in run.rounds.values()]
        every.sort(key=lambda item: item[0])
        for _, run, state in every:
            if total <= MAX_MEMBERS // 2:
                break
            del run.rounds[state.round]
            total -= len(state.members) + 1

    def known_rounds(self, run: RunState, numbers: Collection[int]) -> list[RoundState]:
        """The states of rounds that exist, read where they are not in memory."""
        self.load_rounds(run, numbers)
        return [run.rounds[number] for number in numbers]
