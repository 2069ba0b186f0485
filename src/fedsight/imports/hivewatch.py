"""HiveWatch's `runs/<run_id>.jsonl` (0.1 to 0.3) turned into journals.

Every event becomes one, at its own time. `round_end` repeats the records of all its clients: those whose own
`client_update` is there already are not taken again, and one whose line was lost is taken from there. What no version of
HiveWatch writes to its files (totals of bytes, failures, a checkpoint's metadata) can't be had from them either.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from fedsight.errors import FedsightError, UsageError
from fedsight.events import (
    MAX_LINE_BYTES,
    ROUND_NUMBERS,
    SERVER_NUMBERS,
    SERVER_TEXTS,
    UPDATE_NUMBERS,
    UPDATE_TEXTS,
    Checkpoint,
    ClientEvent,
    ClientUpdate,
    Event,
    RoundEnd,
    RunEnd,
    RunStart,
    ServerInfo,
    encode,
)
from fedsight.fields import client_id_of, mapping_of, repair, round_of, sort_fields
from fedsight.journal import JournalWriter, journal_path
from fedsight.oversize import fit

_UPDATE_NUMBERS = frozenset(UPDATE_NUMBERS)
_ROUND_NUMBERS = frozenset(ROUND_NUMBERS)
_DERIVED = ("num_completed",)
"""Figures of a round that we derive from its updates, and that an event can't hold."""
_ZERO_IS_UNKNOWN = ("num_stragglers", "num_samples")
"""HiveWatch writes 0 for these when nobody said anything: 0 is taken as not told."""

_FOREIGN_HEADER = b'{"kind":"journal"'


class ImportFault(FedsightError):
    """A file can't be imported; the message says why and what to do."""


class SkippedLine(msgspec.Struct):
    """A line that was left out: its number, counted from 1, and why."""

    number: int
    reason: str


class Imported(msgspec.Struct):
    """What came of one file."""

    source: Path
    journal: Path
    run_id: str
    num_events: int = 0
    num_updates: int = 0
    num_rounds: int = 0
    num_repeats: int = 0
    """Records in `round_end` that repeat an update."""
    num_recovered: int = 0
    """Updates whose own line was lost, taken from their `round_end`."""
    skipped: list[SkippedLine] = []


def import_file(source: Path, into: Path) -> Imported:
    """Turn one of HiveWatch's files into the journal `<into>/<run_id>.jsonl`.

    It is there as a whole or not at all. Raises `ImportFault` where `source` is none of HiveWatch's, or the journal
    exists already; `OSError` where one can't be read or the other not be written.
    """
    told = Imported(source, Path(), _run_id(source))
    told.journal = journal_path(into, told.run_id)
    _refuse_existing(told)
    into.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".import-", dir=into))
    try:
        _write(told, workshop / told.journal.name)
        _refuse_existing(told)
        # A long journal has several files; the first one makes it a journal.
        for file in sorted(workshop.iterdir(), key=lambda file: file.name == told.journal.name):
            file.rename(into / file.name)
    finally:
        shutil.rmtree(workshop)
    return told


def _refuse_existing(told: Imported) -> None:
    if told.journal.exists():
        raise ImportFault(
            f"{told.source}: {told.journal} exists already and is not overwritten. Name another folder with --into, "
            "or remove that file."
        )


def _run_id(source: Path) -> str:
    """The id of the run that a file tells of: as its first event says it, else the file's name."""
    with source.open("rb") as file:
        for line in file:
            if line.startswith(_FOREIGN_HEADER):
                raise ImportFault(f"{source} is a journal already: there is nothing to import.")
            event = _parsed(line)
            if isinstance(event, dict) and isinstance(event.get("event_type"), str):
                return str(event.get("run_id") or source.stem)
    raise ImportFault(f"{source} is none of HiveWatch's files: no line of it has an event_type.")


def _write(told: Imported, path: Path) -> None:
    writer = JournalWriter(path, role="server", run_id=told.run_id, must_be_new=True)
    try:
        reader = _Reader(told)
        for number, line in _lines(told.source):
            try:
                for event in reader.events_of(line):
                    _append(writer, event)
                    told.num_events += 1
            except _NoEvent as fault:
                told.skipped.append(SkippedLine(number, str(fault)))
    finally:
        writer.close()


def _append(writer: JournalWriter, event: Event) -> None:
    try:
        line = encode(event)
    except (OverflowError, UnicodeError):
        repair(event)
        line = encode(event)
    if not writer.append(fit(event, line) if len(line) > MAX_LINE_BYTES else line):
        raise OSError(None, "can't be written (the log says why)", str(writer.path))


def _lines(source: Path) -> Iterator[tuple[int, bytes]]:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line


class _NoEvent(Exception):
    """A line holds no event that can be taken; the message says why."""


class _Reader:
    """HiveWatch's lines into events, in order."""

    def __init__(self, told: Imported) -> None:
        self._told = told
        self._has_begun = False
        self._told_of: dict[int, set[str]] = {}
        """Clients whose update is there, of the rounds that have not ended."""

    def events_of(self, line: bytes) -> list[Event]:
        """The events that a line holds, all or none. Raises `_NoEvent`."""
        raw = _parsed(line)
        if raw is None:
            reason = "no JSON" if line.endswith(b"\n") else "no JSON: the line was torn (no newline at its end)"
            raise _NoEvent(reason)
        kind = raw.get("event_type") if isinstance(raw, dict) else None
        take = self._takes.get(kind) if isinstance(kind, str) else None
        if take is None:
            raise _NoEvent(f"event_type {kind!r} is none of HiveWatch's" if kind else "no event_type")
        if raw.get("run_id") not in (None, self._told.run_id):
            raise _NoEvent(f"it belongs to run {raw['run_id']!r}, not {self._told.run_id!r}")
        try:
            return list(take(self, raw, _time(raw)))
        except UsageError as error:
            raise _NoEvent(str(error)) from error

    def _init(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        resumed, self._has_begun = self._has_begun, True
        yield RunStart(
            ts=ts,
            run_id=self._told.run_id,
            algorithm=_text(raw.get("algorithm")),
            config=mapping_of(raw.get("config"), "config"),
            tags={"imported_from": "hivewatch"},
            resumed=resumed,
        )

    def _server(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        known, metrics, extra = sort_fields(_object(raw, "server"), SERVER_NUMBERS, SERVER_TEXTS)
        yield ServerInfo(ts=ts, metrics=metrics, extra=extra, **known)

    def _updates(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        events = [_update(record, raw.get("round"), ts) for record in _objects(raw, "clients")]
        for event in events:
            if event.round is not None:
                self._told_of.setdefault(event.round, set()).add(event.client_id)
        self._told.num_updates += len(events)
        return events

    def _round_end(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        number = round_of(raw.get("round"))
        figures = dict(_object(raw, "round_metrics"))
        older_name = figures.pop("gradient_divergence", None)
        figures.setdefault("gradient_norm_dispersion", older_name)
        for name in _DERIVED:
            figures.pop(name, None)
        known, metrics, extra = sort_fields(_told(figures), _ROUND_NUMBERS, frozenset())
        end = RoundEnd(ts=ts, round=number, metrics=metrics, extra=extra, **known)
        repeated = [_update(record, number, ts) for record in _objects(raw, "clients")]
        there = self._told_of.pop(number, set())
        lost = [event for event in repeated if event.client_id not in there]
        self._told.num_repeats += len(repeated) - len(lost)
        self._told.num_recovered += len(lost)
        self._told.num_updates += len(lost)
        self._told.num_rounds += 1
        return [*lost, end]

    def _dropout(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        for record in _objects(raw, "clients"):
            yield _client_event("dropout", record.get("client_id"), raw, ts)

    def _comm_failure(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        yield _client_event("comm_failure", raw.get("client_id"), raw, ts)

    def _checkpoint(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        yield Checkpoint(ts=ts, path=str(raw.get("path")), round=_round(raw.get("round")))

    def _finished(self, raw: dict[str, Any], ts: float) -> Iterable[Event]:
        yield RunEnd(ts=ts, status="finished")

    _takes: ClassVar[dict[str, Callable[[_Reader, dict[str, Any], float], Iterable[Event]]]] = {
        "init": _init,
        "server_metadata": _server,
        "client_update": _updates,
        "round_end": _round_end,
        "client_dropout": _dropout,
        "comm_failure": _comm_failure,
        "checkpoint": _checkpoint,
        "finished": _finished,
    }


def _update(record: dict[str, Any], of_round: Any, ts: float) -> ClientUpdate:
    fields = dict(record)
    round_, base_round = fields.pop("round", None), fields.pop("base_round", None)
    client_id = client_id_of(fields.pop("client_id", None))
    known, metrics, extra = sort_fields(_told(fields), _UPDATE_NUMBERS, UPDATE_TEXTS)
    return ClientUpdate(
        ts=ts,
        client_id=client_id,
        round=_round(of_round if round_ is None else round_),
        base_round=None if base_round is None else round_of(base_round, "base_round"),
        metrics=metrics,
        extra=extra,
        **known,
    )


def _client_event(event: Any, client_id: Any, raw: dict[str, Any], ts: float) -> ClientEvent:
    return ClientEvent(
        ts=ts,
        event=event,
        client_id=client_id_of(client_id),
        round=_round(raw.get("round")),
        reason=_text(raw.get("reason")),
    )


# ── values ────────────────────────────────────────────────────────────────────────────────────


def _parsed(line: bytes) -> Any:
    """The line's JSON, bare NaN and Infinity included (HiveWatch writes them); None where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not (name in _ZERO_IS_UNKNOWN and value == 0)}


def _time(raw: dict[str, Any]) -> float:
    text = raw.get("started_at" if raw.get("event_type") == "init" else "timestamp")
    try:
        ts = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        raise _NoEvent(f"its time {text!r} is no ISO time") from None
    if ts.tzinfo is None:
        raise _NoEvent(f"its time {text!r} names no time zone")
    return ts.timestamp()


def _round(value: Any) -> int | None:
    return None if value is None else round_of(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _object(raw: dict[str, Any], name: str) -> dict[str, Any]:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _NoEvent(f"{name} is no object")
    return value


def _objects(raw: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = raw.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _NoEvent(f"{name} is no list of objects")
    return value
