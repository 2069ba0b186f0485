"""`<run>.map.json`: the whole run as HiveWatch's map viewer loads it (HiveWatch 0.3.1, schema_version 1).

    {"schema_version": 1, "run_id", "algorithm", "config", "started_at", "finished_at", "server",
     "rounds": [{"round", "globalAcc", "globalLoss", "duration", "dispersion", "divergence", "clients": [{…}]}]}

`divergence` is `dispersion` under its name before 0.3.1. Two things differ from HiveWatch's own files:
NaN is the string "NaN" (bare, it is no JSON), and a client that dropped out or failed in a round keeps
that status there (HiveWatch's round_end sets it back to "active").
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedsight.errors import JournalError
from fedsight.events import AnyEvent, Event, UnknownEvent, decode_block
from fedsight.journal import JournalReader, quote_id, read_header
from fedsight.journal.names import is_first_segment
from fedsight.map.form import JsonObject, in_hivewatch_form, to_json
from fedsight.summary import dispersion

SCHEMA_VERSION = 1

MOST_RECORDS_UNPACKED = 20_000
"""Records of clients held as objects; those of the rounds touched longest ago are kept as JSON text."""


def build_map_metadata_from_events(events: Iterable[Event | UnknownEvent | Mapping[str, Any]]) -> JsonObject:
    """What map.json holds, from a run's events: ours, or HiveWatch's as they stand in its JSONL files."""
    fold = MapFold()
    for event in events:
        fold.take(event)
    return {**fold.head(), "rounds": list(fold.rounds())}


def build_rounds_from_events(events: Iterable[Event | UnknownEvent | Mapping[str, Any]]) -> list[JsonObject]:
    """The rounds of map.json alone."""
    rounds: list[JsonObject] = build_map_metadata_from_events(events)["rounds"]
    return rounds


def merge_client_state(current: Mapping[str, Any] | None, update: Mapping[str, Any]) -> JsonObject:
    """A client's record with an update merged in: the last value that isn't None wins."""
    return {**(current or {}), **{name: value for name, value in update.items() if value is not None}}


def write_map(journal: Path | str, target: Path | str | None = None) -> Path:
    """Write the map.json of the run that `journal` belongs to, sites' own journals in its folder included.

    target: where to; `<run>.map.json` beside the journal when None. It is replaced at once: a reader
    sees the old file or the new one. Raises `JournalError` where `journal` is none of a run, `OSError`
    where it can't be read or the target not be written.
    """
    journal = Path(journal)
    run_id = _run_id(journal)
    target = map_path(journal, run_id) if target is None else Path(target)
    fold = MapFold()
    for path in run_journals(journal, run_id):
        for event in journal_events(path):
            fold.take(event, run_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(map_json(fold))
            os.fchmod(descriptor, 0o644)
            file.flush()
            os.fsync(descriptor)
        Path(new).replace(target)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    return target


def map_path(journal: Path, run_id: str) -> Path:
    """Where a run's map.json lies when nobody says otherwise."""
    return journal.with_name(f"{quote_id(run_id)}.map.json")


def map_json(fold: MapFold) -> Iterator[bytes]:
    """map.json in pieces: a round a line."""
    yield to_json(fold.head())[:-1] + b',"rounds":['
    for index, round_ in enumerate(fold.rounds()):
        yield (b",\n" if index else b"\n") + to_json(round_)
    yield b"]}\n"


def run_journals(journal: Path, run_id: str) -> list[Path]:
    """The run's journals in the folder of `journal`; the server's last, for its word counts over the sites'."""
    prefix = quote_id(run_id)
    found = {journal}
    for path in journal.parent.iterdir():
        named = path.name.startswith((f"{prefix}.", f"{prefix}~")) and path.name.endswith(".jsonl")
        if named and is_first_segment(path) and _belongs_to(path, run_id):
            found.add(path)
    return sorted(found, key=lambda path: (read_header(path).role == "server", path.name))


def _belongs_to(path: Path, run_id: str) -> bool:
    try:
        return read_header(path).run_id == run_id
    except JournalError:
        return False


def _run_id(journal: Path) -> str:
    run_id = read_header(journal).run_id
    if run_id is None:
        raise JournalError(f"{journal} belongs to no run.")
    return run_id


def journal_events(path: Path) -> Iterator[AnyEvent | UnknownEvent]:
    """The events of one journal, in order; lines that are none are left out."""
    with JournalReader(path) as reader:
        while True:
            start, data = reader.read(1 << 20)
            if not data:
                return
            for event in decode_block(data, start).events:
                if event is not None:
                    yield event


class _Round(msgspec.Struct):
    figures: JsonObject = {}
    clients: dict[str, JsonObject] = {}


class MapFold:
    """A run's events, taken in one by one, as map.json has them. Any order will do."""

    def __init__(self) -> None:
        self._run_id: str | None = None
        self._algorithm: str | None = None
        self._config: Any = {}
        self._started_at: str | None = None
        self._finished_at: str | None = None
        self._server: JsonObject | None = None
        self._open: dict[int, _Round] = {}
        self._packed: dict[int, bytes] = {}
        self._num_unpacked = 0

    def take(self, event: Event | UnknownEvent | Mapping[str, Any], run_id: str = "") -> None:
        """Take one event in, ours or HiveWatch's. run_id: what ours belong to, where no `run_start` says it."""
        if isinstance(event, (Event, UnknownEvent)):
            run_id = getattr(event, "run_id", None) or self._run_id or run_id
            told = in_hivewatch_form(event, run_id)  # type: ignore[arg-type]
            if told is None:
                return
            event = told
        self._run_id = self._run_id or event.get("run_id") or None
        kind, round_ = event.get("event_type"), event.get("round")
        if kind == "init":
            self._take_init(event)
        elif kind == "server_metadata":
            self._server = merge_client_state(self._server, event.get("server") or {})
        elif kind == "finished":
            self._finished_at = event.get("timestamp")
        elif isinstance(round_, int):
            self._take_round(kind, self._round(round_), event)

    def _take_init(self, event: Mapping[str, Any]) -> None:
        self._algorithm = event.get("algorithm") or self._algorithm
        self._config = event.get("config") or self._config
        self._started_at = self._started_at or event.get("started_at")
        self._finished_at = None  # it goes on

    def _take_round(self, kind: Any, round_: _Round, event: Mapping[str, Any]) -> None:
        if kind == "round_end":
            round_.figures = merge_client_state(round_.figures, event.get("round_metrics") or {})
        if kind == "comm_failure":
            self._merge(round_, {"client_id": event.get("client_id"), "status": "failed"})
        for record in event.get("clients") or ():
            known = round_.clients.get(record.get("client_id"), {})
            repeats = kind == "round_end" and known.get("status") is not None
            self._merge(round_, {**record, "status": known["status"]} if repeats else record)

    def _merge(self, round_: _Round, record: Mapping[str, Any]) -> None:
        client_id = record.get("client_id")
        if client_id is None:
            return
        self._num_unpacked += client_id not in round_.clients
        round_.clients[client_id] = merge_client_state(round_.clients.get(client_id), record)

    def _round(self, number: int) -> _Round:
        state = self._open.pop(number, None)
        if state is None:
            packed = self._packed.pop(number, None)
            state = _Round() if packed is None else _unpack(packed)
            self._num_unpacked += len(state.clients)
        self._open[number] = state  # the one touched last stands last
        while self._num_unpacked > MOST_RECORDS_UNPACKED and len(self._open) > 2:
            oldest = next(iter(self._open))
            done = self._open.pop(oldest)
            self._num_unpacked -= len(done.clients)
            self._packed[oldest] = _pack(done)
        return state

    def head(self) -> JsonObject:
        """All but the rounds."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self._run_id,
            "algorithm": self._algorithm,
            "config": self._config,
            "started_at": self._started_at,
            "finished_at": self._finished_at,
            "server": self._server,
        }

    def rounds(self) -> Iterator[JsonObject]:
        """The rounds, ascending."""
        for number in sorted({*self._open, *self._packed}):
            state = self._open.get(number)
            yield _round_object(number, _unpack(self._packed[number]) if state is None else state)


def _pack(round_: _Round) -> bytes:
    # Python's own JSON keeps NaN as it is; what is packed is unpacked by us alone.
    return json.dumps([round_.figures, round_.clients], separators=(",", ":")).encode()


def _unpack(packed: bytes) -> _Round:
    return _Round(*json.loads(packed))


def _round_object(number: int, round_: _Round) -> JsonObject:
    figures = round_.figures
    spread = figures.get("gradient_norm_dispersion", figures.get("gradient_divergence"))
    if spread is None:
        norms = (record.get("gradient_norm") for record in round_.clients.values())
        spread = dispersion(norm for norm in norms if isinstance(norm, (int, float)))
    return {
        "round": number,
        "globalAcc": figures.get("global_accuracy"),
        "globalLoss": figures.get("global_loss"),
        "duration": figures.get("round_duration_sec"),
        "dispersion": spread,
        "divergence": spread,
        "clients": list(round_.clients.values()),
    }
