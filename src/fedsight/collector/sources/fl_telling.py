"""What one poll makes of an FL server's answers: which run they belong to, and which events they are."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import msgspec

from fedsight.collector.sources.fl_events import log_of, round_end_of, round_start_of, type_of
from fedsight.collector.sources.fl_mapping import Snapshot, compile_mapping, snapshot
from fedsight.collector.sources.source import Polled, SourceConfig
from fedsight.collector.sources.times import epoch_sec, number, numbers_in, whole
from fedsight.events import Event, Log, RoundEnd, RoundStart, RunEnd, RunStart, Sample

YEAR_2000 = 946_684_800.0
DAY_SEC = 86_400.0
MAX_ROUNDS = 5_000
"""Told in one poll, whatever a server gives; the next one goes on behind them."""

SAME_START_SEC = 2.0
"""A server that reckons its start from its uptime gives it a little differently each time."""

_NO_METRICS = frozenset({"start_time", "training_end_time"})


class FLServerConfig(SourceConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """url: of the server's metrics API. project, algorithm: for the runs it trains. mapping: for servers of other kinds."""

    project: str = "default"
    algorithm: str | None = None
    framework: str | None = None
    mapping: dict[str, Any] | None = None


class Cursor(msgspec.Struct, omit_defaults=True):
    """How far the training has been told.

    named: what the server calls its training; last_run: what it called the one before. round: last one delivered of `run`; started: last one begun. round_ts: the time that row bore. cap_from: the last
    round of the run before, whose rows may still stand in `/rounds`. after: rows of this run are newer.
    """

    run: str | None = None
    last_run: str | None = None
    named: str | None = None
    num_runs: int = 0
    start_time: float | None = None
    round: int = -1
    started: int = -1
    round_ts: float | None = None
    cap_from: int | None = None
    after: float | None = None
    complete: bool = False
    ended: bool = False
    events: list[str] = []


class Telling:
    """What one poll makes of the server's answers."""

    def __init__(self, config: FLServerConfig, cursor: Cursor) -> None:
        self.cursor = cursor
        self._config = config
        self._now = time.time()
        self._events: list[Event] = []
        self._runs: dict[str, list[Event]] = {}
        self._given_id: str | None = None
        self._num_rounds = 0

    @property
    def is_full(self) -> bool:
        """Whether the rest must wait for the next poll."""
        return self._num_rounds >= MAX_ROUNDS

    @property
    def has_runs(self) -> bool:
        """Whether there is news of a training."""
        return bool(self._runs)

    def polled(self) -> Polled:
        """All of it."""
        return Polled(events=self._events, runs=self._runs, cursor=msgspec.to_builtins(self.cursor))

    # ── runs ──────────────────────────────────────────────────────────────────────────────────

    def is_restarted(self, metrics: dict[str, Any]) -> bool:
        """Whether the server that says this is not the one that the cursor is about."""
        start = epoch_sec(metrics.get("start_time"))
        before = self.cursor.start_time
        return start is not None and before is not None and abs(start - before) > SAME_START_SEC

    def take_state(self, metrics: dict[str, Any], status: Any) -> None:
        """The counters of this moment; whether the server is another one than before, or begins anew."""
        numbers = numbers_in(metrics, _NO_METRICS)
        if isinstance(status, dict):
            numbers |= {k: v for k, v in numbers_in(status).items() if k not in numbers}
        if numbers:
            self._events.append(Sample(ts=self._now, node=self._config.name, metrics=numbers))
        current = whole(metrics.get("current_round"))
        if self.is_restarted(metrics):
            self._log("restarted", f"{self._config.name} was started anew")
            self._new_training("the server was started anew")
        self.cursor.start_time = epoch_sec(metrics.get("start_time")) or self.cursor.start_time
        self._name(metrics.get("experiment_id"))
        # Before its first round a restarted training still shows the last one's number: only a smaller one tells.
        if current is not None and 0 < current < self.cursor.round:
            self._new_training("its rounds began again")

    def _new_training(self, why: str, after: float | None = None) -> None:
        """What comes from here on is another run's."""
        before = self.cursor
        if before.run is not None and not before.ended:
            self._add(RunEnd(ts=self._now, status="killed", error=f"another training began: {why}"))
        self.cursor = Cursor(
            num_runs=before.num_runs,
            start_time=before.start_time,
            cap_from=before.round if before.round >= 0 else before.cap_from,
            after=after,
            events=before.events,
            named=before.named,
            last_run=before.named if before.run is not None else before.last_run,
        )

    def _name(self, run_id: Any) -> None:
        """The name that the server gives its training, where it gives one."""
        if not isinstance(run_id, (str, int)) or isinstance(run_id, bool) or run_id == "":
            return
        self._given_id = str(run_id)
        if self.cursor.named not in (None, self._given_id):
            self._new_training(f"it is called {self._given_id!r}")
        self.cursor.named = self._given_id

    def _begin_run(self, ts: float) -> None:
        if self.cursor.run is not None:
            return
        self.cursor.num_runs += 1
        began = ts if YEAR_2000 <= ts <= self._now + DAY_SEC else self._now
        stamp = datetime.fromtimestamp(began, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        again = f"-{self.cursor.num_runs}" if self.cursor.num_runs > 1 else ""
        name = self._given_id or f"{self._config.name}-{stamp}"
        # Named alike, but begun again: another run all the same.
        self.cursor.run = name if name == self._given_id != self.cursor.last_run else f"{name}{again}"
        self._add(
            RunStart(
                ts=ts,
                run_id=self.cursor.run,
                project=self._config.project,
                algorithm=self._config.algorithm,
                framework=self._config.framework,
                tags={"source": self._config.name},
            )
        )

    def _add(self, event: Event) -> None:
        assert self.cursor.run is not None
        self._runs.setdefault(self.cursor.run, []).append(event)

    def _log(self, event: str, message: str, level: Any = "warning") -> None:
        self._events.append(Log(ts=self._now, component=self._config.name, event=event, message=message, level=level))

    # ── training events ───────────────────────────────────────────────────────────────────────

    def take_events(self, events: list[dict[str, Any]], *, gap: bool) -> None:
        """Log lines; a round that begins; a training that begins again."""
        if gap and not self._events_say_restart():
            self._log("events_missing", "the server's event buffer has lost events that were not read yet")
        for event in events:
            log = log_of(event, self._config.name, self._now)
            self._events.append(log)
            kind = type_of(event).upper()
            ts = epoch_sec(event.get("timestamp"))
            if "TRAINING" in kind and "RESTARTED" in kind:
                if self._is_news(ts) and (self.cursor.round >= 0 or self.cursor.started >= 0):
                    self._new_training("the server says so", after=ts)
            elif kind in ("ROUND_STARTED", "ROUND_START") and self._is_news(ts):
                start = round_start_of(event, self._now)
                if start is not None and start.round > max(self.cursor.started, self.cursor.round):
                    self._begin_run(start.ts)
                    self._reopen()
                    self.cursor.started = start.round
                    self._add(start)

    def _events_say_restart(self) -> bool:
        return any(isinstance(event, Log) and event.event == "restarted" for event in self._events)

    def _is_news(self, ts: float | None) -> bool:
        """Whether an event of that time belongs to the training that goes on now."""
        start = None if self.cursor.start_time is None else self.cursor.start_time - SAME_START_SEC
        return ts is None or all(ts >= t for t in (start, self.cursor.round_ts, self.cursor.after) if t is not None)

    # ── rounds ────────────────────────────────────────────────────────────────────────────────

    def take_rounds(self, rows: list[Any], metrics: dict[str, Any]) -> None:
        """Rows of `/rounds`; those that an earlier training left there are passed over."""
        news = (row for row in rows if round_of(row) > self.cursor.round)
        for row in sorted(news, key=round_of):
            if self.is_full:
                break
            end = round_end_of(row, self._now)
            if end is None or end.round <= self.cursor.round or not self._is_of_this_run(end, row, metrics):
                continue
            if str(row.get("status", "complete")).lower() in ("training", "running", "started", "in_progress"):
                break
            self._take_round(end)
            self._num_rounds += 1
            self.cursor.round_ts = epoch_sec(row.get("timestamp")) or self.cursor.round_ts

    def _is_of_this_run(self, end: RoundEnd, row: dict[str, Any], metrics: dict[str, Any]) -> bool:
        if self.cursor.cap_from is None:
            return True
        last = metrics.get("last_round_metrics")
        done = whole(last.get("round")) if isinstance(last, dict) else None
        reached = done if done is not None else whole(metrics.get("current_round"))
        if reached is not None and reached < self.cursor.cap_from:
            return end.round <= reached
        ts = epoch_sec(row.get("timestamp"))
        return self.cursor.after is None or ts is None or ts > self.cursor.after

    def _take_round(self, end: RoundEnd) -> None:
        self._begin_run(end.ts - (end.round_duration_sec or 0.0))
        self._reopen()
        if self.cursor.started < end.round:
            self._add(RoundStart(ts=end.ts - (end.round_duration_sec or 0.0), round=end.round))
        self._add(end)
        self.cursor.round = end.round
        self.cursor.started = max(self.cursor.started, end.round)

    def _reopen(self) -> None:
        """A run that had ended goes on, as its server says."""
        if self.cursor.ended:
            assert self.cursor.run is not None
            self.cursor.ended = False
            self._add(RunStart(ts=self._now, run_id=self.cursor.run, project=self._config.project, resumed=True))

    def take_without_rounds(self, metrics: dict[str, Any]) -> None:
        """Of a server without `/rounds`: its own list of them, else the last round that `/metrics` speaks of."""
        rows = metrics.get("rounds_history") or metrics.get("rounds")
        if isinstance(rows, list) and rows:
            self.take_rounds(rows, metrics)
        else:
            self.take_snapshot(snapshot(_DEFAULT, metrics))

    def take_end(self, metrics: dict[str, Any], status: Any) -> None:
        """Whether the training is over."""
        if self.cursor.run is None or self.cursor.ended:
            return
        stopped = isinstance(status, dict) and status.get("training_stopped_by_policy") is True
        complete = metrics.get("training_complete") is True or metrics.get("data_state") == "training_complete"
        last, current = self.cursor.round, whole(metrics.get("current_round"))
        # The last round may be written a moment after that: it gets one more poll.
        is_last = current is None or last >= current or self.cursor.complete
        self.cursor.complete = complete
        if stopped or (complete and is_last):
            reason = status.get("stop_reason") if stopped else None
            self.cursor.ended = True
            self._add(
                RunEnd(
                    ts=epoch_sec(metrics.get("training_end_time")) or self._now,
                    status="killed" if stopped else "finished",
                    error=str(reason or "stopped by policy") if stopped else None,
                    duration_sec=number(metrics.get("total_training_duration")) or None,
                )
            )

    # ── servers of other kinds ────────────────────────────────────────────────────────────────

    def take_snapshot(self, found: Snapshot) -> None:
        """What a mapping found: the run's name or start, and rounds with their clients."""
        start, before = found.start_time, self.cursor.start_time
        if start is not None and before is not None and abs(start - before) > SAME_START_SEC:
            self._log("restarted", f"{self._config.name} was started anew")
            self._new_training("the server was started anew")
        self.cursor.start_time = start if start is not None else before
        self._name(found.run_id)
        newest = max((one.end.round for one in found.rounds), default=None)
        if newest is not None and newest < self.cursor.round:
            self._new_training("its rounds began again")
        if found.numbers:
            self._events.append(Sample(ts=self._now, node=self._config.name, metrics=found.numbers))
        for one in sorted(found.rounds, key=lambda item: item.end.round):
            if one.end.round <= self.cursor.round:
                continue
            self._begin_run(one.end.ts)
            self._reopen()
            self._add(RoundStart(ts=one.end.ts - (one.end.round_duration_sec or 0.0), round=one.end.round))
            for update in one.clients:
                self._add(update)
            self._add(one.end)
            self.cursor.round = self.cursor.started = one.end.round
        if found.finished and self.cursor.run is not None and not self.cursor.ended:
            self.cursor.ended = True
            self._add(RunEnd(ts=self._now, status="finished"))


_DEFAULT = compile_mapping(
    {
        "run_id": "experiment_id",
        "start_time": "start_time",
        "round": "round || last_round_metrics.round || current_round",
        "accuracy": "not_null(accuracy, last_round_accuracy, last_round_metrics.accuracy)",
        "loss": "not_null(loss, last_round_loss, last_round_metrics.loss)",
        "clients": "clients",
    }
)


def round_of(row: Any) -> int:
    """The number of the round that a row is about; -1 where it says none."""
    number_of = whole(row.get("round")) if isinstance(row, dict) else None
    return -1 if number_of is None else number_of
