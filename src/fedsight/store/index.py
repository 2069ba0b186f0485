"""Indexing: the segments of one commit become rows, in the order in which each journal holds them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import duckdb
import msgspec

from fedsight.events import (
    ROUND_NUMBERS,
    BadLine,
    ClientEvent,
    ClientUpdate,
    Metric,
    RoundEnd,
    RoundStart,
    RunEnd,
    RunStart,
    Sample,
    ServerInfo,
)
from fedsight.store import rows
from fedsight.store.clients import latest, learn
from fedsight.store.columns import UpdateColumns, json_text
from fedsight.store.memory import ClientState, Memory, RunState
from fedsight.store.nodes import NodeRows
from fedsight.store.receipts import Other, Segment, client_of
from fedsight.store.rollups import refresh_totals, write_rollups
from fedsight.store.schema import LOCATION
from fedsight.store.tally import DROPOUT, FAILURE, SERVER
from fedsight.store.updates import UpdateRows, count_change

_get_ts = attrgetter("ts")

ROUNDS_AT_ONCE = 100
"""Rounds rolled up by one query, so that its memory has a bound."""

DirtyRounds = dict[int, set[int]]
"""run_no → rounds whose roll-ups are not up to date."""


class _Said(msgspec.Struct):
    """What one segment said of one run's clients, by client, in order."""

    run: RunState
    source: int
    by_client: dict[str, list[ClientUpdate | ClientEvent]]


class Indexing:
    """One commit in the making. `write` puts it into the tables, inside the caller's transaction."""

    def __init__(self, con: duckdb.DuckDBPyConnection, memory: Memory, commit: int) -> None:
        self._con = con
        self._memory = memory
        self._commit = commit
        self._updates = UpdateRows(con)
        self._said: list[_Said] = []
        self._runs: dict[int, RunState] = {}
        self._changed_rounds: dict[int, set[int]] = defaultdict(set)
        self._urgent_rounds: dict[int, set[int]] = defaultdict(set)
        # (run_no, round) → closed before this commit, and since when (segment, updates before) it is or isn't.
        self._closings: dict[tuple[int, int], tuple[bool, list[tuple[int, int, bool]]]] = {}
        self._samples: list[tuple[Any, ...]] = []
        self._nodes = NodeRows(con)
        self._events: list[tuple[Any, ...]] = []
        self._infos: dict[int, dict[str, str]] = defaultdict(dict)
        self._new_names: list[tuple[int, str, str, str | None]] = []

    def take(self, segments: Sequence[Segment]) -> None:
        """Take in all segments of the commit."""
        runs = [self._run_of(segment) for segment in segments]
        self._load(segments, runs)
        for i, (segment, run) in enumerate(zip(segments, runs, strict=True)):
            for other in segment.others:
                self._take_other(i, segment, run, other)
        for i, (segment, run) in enumerate(zip(segments, runs, strict=True)):
            if run is not None:
                self._take_clients(i, segment, run)

    # ── loading ───────────────────────────────────────────────────────────────────────────────

    def _run_of(self, segment: Segment) -> RunState | None:
        if segment.header.run_id is None:
            return None
        run = self._memory.run(segment.header.run_id)
        self._runs[run.run_no] = run
        if segment.header.role == "server" and run.state == "lost":
            run.state = "running"
        last = latest(map(_get_ts, segment.updates))
        for other in segment.others:
            ts = other.event.ts
            if ts is not None and math.isfinite(ts) and (last is None or ts > last):
                last = ts
        if last is not None and (run.last_event_at is None or last > run.last_event_at):
            run.last_event_at = last
        return run

    def _load(self, segments: Sequence[Segment], runs: Sequence[RunState | None]) -> None:
        client_ids: dict[int, dict[str, None]] = defaultdict(dict)
        rounds: dict[int, set[int]] = defaultdict(set)
        for segment, run in zip(segments, runs, strict=True):
            if run is None:
                continue
            client_ids[run.run_no].update(dict.fromkeys(update.client_id for update in segment.updates))
            rounds[run.run_no].update(n for n in {update.round for update in segment.updates} if n is not None)
            for other in segment.others:
                if isinstance(other.event, ClientEvent):
                    client_ids[run.run_no][other.event.client_id] = None
                if isinstance(other.event, (ClientEvent, RoundStart, RoundEnd)) and other.event.round is not None:
                    rounds[run.run_no].add(other.event.round)
        for run_no, run in self._runs.items():
            self._memory.load_clients(run, client_ids[run_no])
            new = self._memory.load_rounds(run, rounds[run_no])
            self._urgent_rounds[run_no].update(state.round for state in new)

    # ── events that are no updates ────────────────────────────────────────────────────────────

    def _take_other(self, i: int, segment: Segment, run: RunState | None, other: Other) -> None:
        event = other.event
        if isinstance(event, Metric):
            self._take_metric(segment, run, other, event)
            return
        if isinstance(event, Sample):
            client_id = segment.header.client_id
            self._samples.extend(
                (
                    None if run is None else run.run_no, segment.header.journal, other.offset, client_id,
                    event.node, key, None, event.ts, value,
                )
                for key, value in event.metrics.items()
            )  # fmt: skip
            self._nodes.take(None if run is None else run.run_no, segment.header, event)
            return
        if run is not None:
            if segment.header.role == "server":
                if reason := _why_another_run(run, event):
                    segment.bad.append(BadLine(other.offset, reason))
                    return
                self._take_run(run, event)
            if isinstance(event, (RoundStart, RoundEnd)):
                self._take_round(i, run, other.before, event)
            elif isinstance(event, ClientEvent):
                self._count_client_event(run, event)
        self._events.append(rows.event_row(None if run is None else run.run_no, segment, other))

    def _take_metric(self, segment: Segment, run: RunState | None, other: Other, event: Metric) -> None:
        client_id = client_of(event, segment.header)
        if run is not None:
            self._name(run, "step", event.key, client_id)
        self._samples.append(
            (
                None if run is None else run.run_no, segment.header.journal, other.offset, client_id,
                None, event.key, event.step, event.ts, event.value,
            )
        )  # fmt: skip

    def _take_run(self, run: RunState, event: Any) -> None:
        if isinstance(event, RunStart):
            run.project = event.project
            run.algorithm = run.algorithm if event.algorithm is None else event.algorithm
            run.framework = run.framework if event.framework is None else event.framework
            run.started_at = event.ts if run.started_at is None else run.started_at
            run.state, run.ended, run.ended_at, run.error, run.duration_sec = "running", False, None, None, None
            self._infos[run.run_no].update(_info(config=event.config, tags=event.tags))
        elif isinstance(event, RunEnd):
            run.state, run.ended, run.ended_at = event.status, True, event.ts
            run.error, run.duration_sec = event.error, event.duration_sec
        elif isinstance(event, ServerInfo):
            told = {k: v for k in event.__struct_fields__ if k != "ts" and (v := getattr(event, k)) is not None}
            self._infos[run.run_no].update(_info(server=told))

    def _take_round(self, i: int, run: RunState, before: int, event: RoundStart | RoundEnd) -> None:
        state = run.rounds[event.round]
        closed = isinstance(event, RoundEnd)
        self._urgent_rounds[run.run_no].add(event.round)
        _, moves = self._closings.setdefault((run.run_no, event.round), (state.state == "closed", []))
        moves.append((i, before, closed))
        if isinstance(event, RoundStart):
            state.state, state.started_at, state.ended_at = "open", event.ts, None
            if event.num_selected is not None:
                state.selected = event.num_selected
            elif event.selected is not None:
                state.selected = len(set(event.selected))
            return
        state.state, state.ended_at = "closed", event.ts
        for name in ROUND_NUMBERS:
            value = getattr(event, name)
            if value is not None:
                state.given[name] = value
        state.metrics.update(event.metrics or {})

    def _count_client_event(self, run: RunState, event: ClientEvent) -> None:
        bit = {"dropout": DROPOUT, "comm_failure": FAILURE}.get(event.event, 0)
        if not bit:
            return
        client = run.clients[event.client_id]
        if event.round is None:
            count_change(run, client, 0, bit)
            return
        members = run.rounds[event.round].members
        before = members.get(client.client_no, 0)
        members[client.client_no] = before | bit
        count_change(run, client, before, before | bit)
        self._changed_rounds[run.run_no].add(event.round)

    # ── client updates ────────────────────────────────────────────────────────────────────────

    def _take_clients(self, i: int, segment: Segment, run: RunState) -> None:
        by_client: dict[str, list[ClientUpdate | ClientEvent]] = defaultdict(list)
        by_round: dict[int | None, list[int]] = defaultdict(list)
        done = 0
        events = [other for other in segment.others if isinstance(other.event, ClientEvent)]
        for other in events:
            for update in segment.updates[done : other.before]:
                by_client[update.client_id].append(update)
            done = other.before
            assert isinstance(other.event, ClientEvent)
            by_client[other.event.client_id].append(other.event)
        for update in segment.updates[done:]:
            by_client[update.client_id].append(update)
        if by_client:
            self._said.append(_Said(run, segment.source, by_client))
        for at, update in enumerate(segment.updates):
            by_round[update.round].append(at)
        for number, places in by_round.items():
            late = self._lateness(i, segment, run, number, places)
            self._updates.take(run, segment.source, number, [segment.updates[at] for at in places], late)
            if number is not None:
                self._changed_rounds[run.run_no].add(number)

    def _lateness(
        self, i: int, segment: Segment, run: RunState, number: int | None, places: list[int]
    ) -> list[bool] | None:
        """Which of a round's updates came after its end. Only what the server tells can be late: how
        long a site's own journal took to arrive says nothing about the training.
        """
        if number is None or segment.source != SERVER:
            return None
        before, moves = self._closings.get((run.run_no, number), (run.rounds[number].state == "closed", []))
        if not before and not any(closes and (seg, count) <= (i, places[-1]) for seg, count, closes in moves):
            return None
        late = []
        for at in places:
            closed = before
            for segment_no, count, closes in moves:
                if (segment_no, count) > (i, at):
                    break
                closed = closes
            late.append(closed)
        return late if any(late) else None

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def write(self, segments: Sequence[Segment], dirty: DirtyRounds, *, roll_all: bool) -> None:
        """Insert everything. `dirty` is brought up to date; `roll_all` works off all of it."""
        built = self._updates.write(self._commit)
        rows.insert_samples(self._con, self._samples, self._commit)
        rows.insert_events(self._con, self._events, self._commit)
        rows.insert_dead_letters(self._con, segments, self._commit)
        self._name_client_metrics(built)
        self._write_clients(built)
        self._nodes.write(self._commit)
        for run_no, changed in self._changed_rounds.items():
            dirty.setdefault(run_no, set()).update(changed)
        for run_no, urgent in self._urgent_rounds.items():
            if urgent:
                dirty.setdefault(run_no, set()).update(urgent)
        self._roll_up(dirty, roll_all=roll_all)
        for run in self._runs.values():
            rows.write_run(self._con, run, self._commit)
        for run_no, info in self._infos.items():
            if info:
                rows.write_info(self._con, run_no, info)
        rows.insert_names(self._con, self._new_names)

    def _write_clients(self, built: UpdateColumns) -> None:
        changed: dict[int, dict[str, ClientState]] = defaultdict(dict)
        for said in self._said:
            for client_id, items in said.by_client.items():
                client = said.run.clients[client_id]
                learn(client, items, said.source, built.fields, built.metrics)
                changed[said.run.run_no][client_id] = client
        for run_no, clients in changed.items():
            rows.write_clients(self._con, run_no, list(clients.values()), self._commit)

    def _roll_up(self, dirty: DirtyRounds, *, roll_all: bool) -> None:
        rolled = []
        for run_no in list(dirty):
            wanted = sorted(dirty[run_no] if roll_all else self._urgent_rounds.get(run_no, ()))
            if not wanted:
                continue
            run = self._runs.get(run_no) or self._memory.run_of_number(run_no)
            self._runs[run_no] = run
            rolled.append(run)
            for first in range(0, len(wanted), ROUNDS_AT_ONCE):
                states = self._memory.known_rounds(run, wanted[first : first + ROUNDS_AT_ONCE])
                for name in write_rollups(self._con, run, states, self._commit):
                    self._name(run, "global", name, None)
            dirty[run_no].difference_update(wanted)
            if not dirty[run_no]:
                del dirty[run_no]
        refresh_totals(self._con, rolled)

    def _name_client_metrics(self, built: UpdateColumns) -> None:
        names = {*built.fields, *built.metrics} - LOCATION - {"base_round"}
        for run in self._runs.values():
            for name in sorted(names):
                if ("client", name, None) not in run.names and self._has_value(run, name):
                    self._name(run, "client", name, None)

    def _has_value(self, run: RunState, name: str) -> bool:
        return len(self._runs) == 1 or any(
            getattr(item, name, None) is not None or name in (item.metrics or ())
            for said in self._said
            if said.run is run
            for items in said.by_client.values()
            for item in items
            if isinstance(item, ClientUpdate)
        )

    def _name(self, run: RunState, scope: str, key: str, client_id: str | None) -> None:
        if (scope, key, client_id) not in run.names:
            run.names.add((scope, key, client_id))
            self._new_names.append((run.run_no, scope, key, client_id))


def _info(**told: Any) -> dict[str, str]:
    return {name: text for name, value in told.items() if (text := json_text(value)) is not None}


def _why_another_run(run: RunState, event: Any) -> str | None:
    """What is wrong where two trainings, that know nothing of each other, call themselves by the same id."""
    # The same journal sent anew has the same start.
    if not isinstance(event, RunStart) or event.resumed or run.started_at in (None, event.ts):
        return None
    return (
        f"run_id: another training, on {event.host or 'an unknown host'}, began run {run.run_id!r} as well, and what both "
        "say is mixed from here on; give each run an id of its own, or go on with one by resume=True"
    )
