"""The event model: every line of a journal is one of these structs, as one JSON object.

Known fields stand at the top of an event. What an application adds keeps its name: numbers go
into `metrics`, everything else into `extra`. Missing is absent, never 0. NaN and infinities are
written as the strings of protobuf's JSON mapping ("NaN", "Infinity", "-Infinity"), inside `extra`
and the other free-form fields as `{"$float": "NaN"}`, and come back as the floats they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import msgspec

MAX_LINE_BYTES = 1 << 20
"""No line of a journal, its newline included, is longer than this."""

MAX_NESTING = 100
"""No free-form value is nested deeper than this: whoever reads it later must not run out of stack."""

Role = Literal["server", "client", "monitor", "source", "people"]
RunStatus = Literal["finished", "failed", "killed"]
ClientHappening = Literal["dropout", "comm_failure", "joined", "left"]
CLIENT_HAPPENINGS: tuple[ClientHappening, ...] = get_args(ClientHappening)
LogLevel = Literal["info", "warning", "error"]
LOG_LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)


class Event(msgspec.Struct, tag_field="kind", kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """What all events have: when it happened (UTC epoch seconds, for people) and free-form extras."""

    ts: float
    extra: dict[str, Any] | None = None


class JournalHeader(Event, tag="journal"):
    """First line of every journal file: who writes it. `base` is the offset of this file's first byte."""

    version: int
    journal: str
    role: Role
    run_id: str | None = None
    client_id: str | None = None
    base: int = 0


class RunStart(Event, tag="run_start"):
    """A run begins (`resumed` is true where it goes on after a stop)."""

    run_id: str
    project: str = "default"
    algorithm: str | None = None
    framework: str | None = None
    config: dict[str, Any] | None = None
    tags: dict[str, str] | None = None
    resumed: bool = False
    host: str | None = None
    pid: int | None = None


class RunEnd(Event, tag="run_end"):
    """A run is over. `num_not_recorded` counts events that could not be written (a full disk)."""

    status: RunStatus
    error: str | None = None
    duration_sec: float | None = None
    num_not_recorded: int | None = None


class ServerInfo(Event, tag="server"):
    """Where and what the server is."""

    lat: float | None = None
    lng: float | None = None
    city: str | None = None
    country: str | None = None
    host: str | None = None
    protocol: str | None = None
    metrics: dict[str, float] | None = None


SERVER_TEXTS = frozenset({"city", "country", "host", "protocol"})
SERVER_NUMBERS = frozenset({"lat", "lng"})
"""What a server may say of itself, besides all else."""


class RoundStart(Event, tag="round_start"):
    """A round begins; `selected` are the ids of the clients asked to take part, where known.

    `num_selected` is given where the ids are too many for a line and were cut.
    """

    round: int
    selected: list[str] | None = None
    num_selected: int | None = None


class ClientUpdate(Event, tag="client_update"):
    """One client's contribution to one round: the metadata contract, and what an application adds."""

    client_id: str
    round: int | None = None
    base_round: int | None = None
    status: str | None = None
    local_accuracy: float | None = None
    local_loss: float | None = None
    num_samples: float | None = None
    gradient_norm: float | None = None
    gradient_magnitude: float | None = None
    sparsity: float | None = None
    compression_ratio: float | None = None
    bytes_sent: float | None = None
    bytes_received: float | None = None
    network_latency_ms: float | None = None
    train_time_sec: float | None = None
    cpu_pct: float | None = None
    ram_mb: float | None = None
    gpu_util_pct: float | None = None
    gpu_vram_mb: float | None = None
    lat: float | None = None
    lng: float | None = None
    city: str | None = None
    country: str | None = None
    metrics: dict[str, float] | None = None

    @property
    def staleness(self) -> int | None:
        """Rounds between the model that the client trained on and the round it reports to."""
        if self.round is None or self.base_round is None:
            return None
        return self.round - self.base_round

    def to_dict(self) -> dict[str, Any]:
        """Everything but `ts` by name, what an application added (`metrics`, `extra`) beside the rest and over it.

        None is unknown; a status that was not said is "active".
        """
        known = msgspec.structs.asdict(self)
        added = {**(known.pop("metrics") or {}), **(known.pop("extra") or {})}
        del known["ts"]
        known["status"] = "active" if self.status is None else self.status
        return {**known, **added}


_SHARED = frozenset({"ts", "extra", "metrics", "client_id", "round", "base_round", "algorithm_metadata"})
UPDATE_TEXTS = frozenset({"status", "city", "country"})
"""The texts of the metadata contract."""
UPDATE_NUMBERS: tuple[str, ...] = tuple(
    name for name in ClientUpdate.__struct_fields__ if name not in _SHARED | UPDATE_TEXTS
)
"""The numbers of the metadata contract, in its order."""


class ClientEvent(Event, tag="client_event"):
    """Something happened to a client's taking part."""

    client_id: str
    event: ClientHappening
    round: int | None = None
    reason: str | None = None


class RoundEnd(Event, tag="round_end"):
    """A round is over: the global model's figures and whatever totals the application gave."""

    round: int
    global_accuracy: float | None = None
    global_loss: float | None = None
    num_selected: float | None = None
    num_stragglers: float | None = None
    num_failures: float | None = None
    total_bytes_up: float | None = None
    total_bytes_down: float | None = None
    gradient_norm_dispersion: float | None = None
    aggregation_time_sec: float | None = None
    round_duration_sec: float | None = None
    algorithm_metadata: dict[str, Any] | None = None
    metrics: dict[str, float] | None = None


ROUND_NUMBERS: tuple[str, ...] = tuple(name for name in RoundEnd.__struct_fields__ if name not in _SHARED)
"""What a round's end says of the round in numbers of its own."""


class Metric(Event, tag="metric"):
    """One point of a step-level curve, logged by a site or the server (`client_id` absent)."""

    key: str
    value: float
    step: int | None = None
    client_id: str | None = None


class ClientInfo(Event, tag="client_info"):
    """What is known of a client apart from rounds: the parameters it trains with, and tags. Later values change earlier ones."""

    client_id: str
    params: dict[str, Any] | None = None
    tags: dict[str, str] | None = None


class Text(Event, tag="text"):
    """A note. `name`: the file it is kept as, where it goes to a store of files."""

    text: str
    name: str | None = None
    round: int | None = None
    client_id: str | None = None


class Checkpoint(Event, tag="checkpoint"):
    """A model file. Written at once, and once more when its SHA-256 is known."""

    path: str
    round: int | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    metadata: dict[str, Any] | None = None


class Sample(Event, tag="sample"):
    """Measurements of one node (a machine, a port, a link) at one instant."""

    node: str
    metrics: dict[str, float]


class Topology(Event, tag="topology"):
    """A network as one source saw it at one instant.

    devices, links, hosts: objects with at least `id`; a link also has `src`, `dst` (`{"device", "port"}`) and `up`.
    """

    source: str
    devices: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    hosts: list[dict[str, Any]] = []


class Policy(Event, tag="policy"):
    """What a policy engine decided, noticed or scored. `id` is the engine's own, `type` such as "decision" or "violation"."""

    type: str
    source: str | None = None
    id: str | None = None
    component: str | None = None
    client_id: str | None = None
    policy_id: str | None = None
    action: str | None = None
    result: str | None = None
    reason: str | None = None
    trust_score: float | None = None
    metrics: dict[str, float] | None = None


class SourceState(Event, tag="source_state"):
    """How a source does. `cursor` is what its next poll goes on from: it stands with the events that the last one gave."""

    source: str
    type: str
    state: Literal["up", "down", "stale"]
    error: str | None = None
    cursor: dict[str, Any] | None = None


class Log(Event, tag="log"):
    """Something that Fedsight itself has to say: started, stopped, recovered, cut, not recorded."""

    component: str
    event: str
    message: str
    level: LogLevel = "info"


class UnknownEvent(msgspec.Struct, kw_only=True):
    """A line of a kind this version does not know (a newer writer): kept as it is."""

    kind: str
    ts: float | None
    fields: dict[str, Any]


AnyEvent: TypeAlias = (
    JournalHeader
    | RunStart
    | RunEnd
    | ServerInfo
    | RoundStart
    | ClientUpdate
    | ClientEvent
    | RoundEnd
    | Metric
    | ClientInfo
    | Text
    | Checkpoint
    | Sample
    | Topology
    | Policy
    | SourceState
    | Log
)

EVENT_TYPES: dict[str, type[Event]] = {str(t.__struct_config__.tag): t for t in AnyEvent.__args__}
"""Every kind by its tag."""


class BadLine(msgspec.Struct):
    """A line that is no valid event: where it starts in the journal, and why."""

    offset: int
    reason: str


# ── encoding ──────────────────────────────────────────────────────────────────────────────────

_encode = msgspec.json.Encoder().encode

_FREE_FORM = {"extra", "config", "params", "algorithm_metadata", "metadata", "cursor", "devices", "links", "hosts"}


def encode(event: Event) -> bytes:
    """One journal line, newline included.

    Raises `TypeError` when a free-form field holds an object that has no JSON form.
    """
    line = _encode(event)
    # msgspec writes null for NaN and infinities, and nothing else of ours does so often.
    if b"null" in line:
        line = _encode(_spell_out(event))
    return line + b"\n"


def float_name(value: float) -> str:
    """The JSON string that stands for a number JSON does not have."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _spell_out(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {"kind": event.__struct_config__.tag}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if value is None:
            continue
        if type(value) is float and not math.isfinite(value):
            value = float_name(value)
        elif name == "metrics":
            value = {
                k: float_name(v) if isinstance(v, float) and not math.isfinite(v) else v
                for k, v in value.items()
                if v is not None
            }
        elif name in _FREE_FORM:
            value = _mark_floats(value)
        fields[name] = value
    return fields


def _mark_floats(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": float_name(value)}
    if isinstance(value, dict):
        return {k: _mark_floats(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mark_floats(v) for v in value]
    return value


# ── decoding ──────────────────────────────────────────────────────────────────────────────────

_strict = msgspec.json.Decoder(AnyEvent)
_untyped = msgspec.json.Decoder()
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def decode(line: bytes | memoryview) -> AnyEvent | UnknownEvent:
    """The event that a journal line holds.

    Raises `msgspec.MsgspecError` naming the field and the fault where it holds none.
    """
    try:
        event = _strict.decode(line)
    except msgspec.ValidationError:
        return _decode_slowly(line)
    except RecursionError as error:
        raise _too_deep() from error
    if _is_too_deep(event):
        raise _too_deep()
    return _with_marked_floats(event, line)


def _too_deep() -> msgspec.ValidationError:
    return msgspec.ValidationError(f"Nested more than {MAX_NESTING} levels deep")


def _is_too_deep(event: AnyEvent) -> bool:
    if event.extra is None and type(event) not in _HAVE_FREE_FORM:
        return False
    return any(
        _is_deeper(getattr(event, name), MAX_NESTING) for name in _FREE_FORM.intersection(event.__struct_fields__)
    )


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(v, levels - 1) for v in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(v, levels - 1) for v in value)
    return False


def _with_marked_floats(event: AnyEvent, line: bytes | memoryview) -> AnyEvent:
    if (event.extra is not None or type(event) in _HAVE_FREE_FORM) and b'"$float"' in bytes(line):
        for name in _FREE_FORM.intersection(event.__struct_fields__):
            setattr(event, name, _unmark_floats(getattr(event, name)))
    return event


_HAVE_FREE_FORM = {t for t in EVENT_TYPES.values() if (_FREE_FORM - {"extra"}).intersection(t.__struct_fields__)}


def _unmark_floats(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and (name := value.get("$float")) in _FLOATS:
            return _FLOATS[name]
        return {k: _unmark_floats(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unmark_floats(v) for v in value]
    return value


def _decode_slowly(line: bytes | memoryview) -> AnyEvent | UnknownEvent:
    """Lines with NaN, with fields of a newer version, or of an unknown kind."""
    try:
        raw = _untyped.decode(line)
    except RecursionError as error:
        raise _too_deep() from error
    if _is_deeper(raw, MAX_NESTING + 1):  # the line itself is one more
        raise _too_deep()
    if not isinstance(raw, dict) or not isinstance(raw.get("kind"), str):
        raise msgspec.ValidationError("Expected an object with a `kind` that is a string")
    kind = raw["kind"]
    cls = EVENT_TYPES.get(kind)
    if cls is None:
        ts = raw.get("ts")
        return UnknownEvent(kind=kind, ts=ts if isinstance(ts, (int, float)) else None, fields=raw)
    known = _number_fields(cls)
    fields: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        if key in cls.__struct_fields__ or key == "kind":
            fields[key] = _FLOATS[value] if key in known and isinstance(value, str) and value in _FLOATS else value
        elif type(value) in (int, float) and "metrics" in cls.__struct_fields__:
            metrics[key] = value
        else:
            extra[key] = value
    given = fields.get("metrics")
    if isinstance(given, dict):
        metrics.update({k: _FLOATS[v] if isinstance(v, str) and v in _FLOATS else v for k, v in given.items()})
    if metrics:
        fields["metrics"] = metrics
    for name in _FREE_FORM.intersection(fields):
        fields[name] = _unmark_floats(fields[name])
    if extra:
        fields["extra"] = {**(fields.get("extra") or {}), **_unmark_floats(extra)}
    event: AnyEvent = msgspec.convert(fields, cls)  # type: ignore[assignment]
    return event


_number_fields_of: dict[type[Event], frozenset[str]] = {}


def _number_fields(cls: type[Event]) -> frozenset[str]:
    """Names of the fields of `cls` that hold a float."""
    if cls not in _number_fields_of:
        info = msgspec.inspect.type_info(cls)
        assert isinstance(info, msgspec.inspect.StructType)
        _number_fields_of[cls] = frozenset(f.name for f in info.fields if _is_float(f.type))
    return _number_fields_of[cls]


def _is_float(t: msgspec.inspect.Type) -> bool:
    if isinstance(t, msgspec.inspect.UnionType):
        return any(_is_float(part) for part in t.types)
    return isinstance(t, msgspec.inspect.FloatType)


class Block(msgspec.Struct):
    """Whole lines of one journal, decoded once for everybody: bytes [start, end) of its stream.

    `events` holds one entry a line, in order; None where the line is no valid event (see `bad`).
    """

    SEPARATOR: ClassVar[bytes] = b"\n"

    start: int
    data: bytes
    events: list[AnyEvent | UnknownEvent | None]
    bad: list[BadLine]

    @property
    def end(self) -> int:
        """The stream offset just behind the block."""
        return self.start + len(self.data)

    def offsets(self) -> Iterator[int]:
        """The stream offset of each line's first byte, in step with `events`."""
        at = 0
        for _ in self.events:
            yield self.start + at
            at = self.data.index(self.SEPARATOR, at) + 1


def decode_block(data: bytes, start: int) -> Block:
    """Decode whole lines (`data` is empty or ends with a newline) that begin at offset `start`.

    The fast path decodes them all in one call; a block that holds a line it can't take is gone
    through line by line, so that one bad line costs nobody else anything.
    """
    if data and not data.endswith(b"\n"):
        raise ValueError("a block must be whole lines")
    if b'"$float"' not in data:
        decoded: Any  # a list of less than a block may hold, which a list may not be
        try:
            decoded = _strict.decode_lines(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            decoded = []
        # Fewer than lines: an empty line, which is no event.
        if len(decoded) == data.count(b"\n") and not any(map(_is_too_deep, decoded)):
            return Block(start, data, decoded, [])
    events: list[AnyEvent | UnknownEvent | None] = []
    bad: list[BadLine] = []
    at = 0
    for line in data[:-1].split(b"\n") if data else ():
        try:
            events.append(decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            events.append(None)
            bad.append(BadLine(start + at, str(error)))
        at += len(line) + 1
    return Block(start, data, events, bad)
