"""What a journal's events are as points: the measurements and field names that a FLOPY-NET collector promises.

`round` is a field, not a tag: as a tag each round of each client would be a series of its own. What is unknown is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from fedsight.collector.mirrors.line_protocol import line, time_ns
from fedsight.events import (
    AnyEvent,
    Block,
    ClientEvent,
    ClientUpdate,
    JournalHeader,
    Metric,
    Policy,
    RoundEnd,
    RoundStart,
    Sample,
    SourceState,
    Topology,
    UnknownEvent,
)
from fedsight.store.receipts import refusal
from fedsight.summary import RoundFold

Fields = dict[str, float | str | None]

MAX_OPEN_ROUNDS = 100

_TAGS = {"client_id", "experiment_id", "node", "role", "source", "type", "component", "policy_id", "action", "result"}
_NOT_FOR_METRICS = _TAGS | {"time", "step", "status", "reason", "event_id", ""}
"""Names that mean something else here: `time` is InfluxDB's own, texts and tags are no numbers."""

NETWORK_KINDS = frozenset({"onos", "ofctl", "ovs", "reach"})
_NETWORK_KEYS = frozenset({"rx_bps", "tx_bps", "rx_bytes", "tx_bytes", "devices", "latency_ms", "packet_loss_rate"})
"""Sources of these kinds, and samples of any source with such a key, are of devices, ports and links."""

_UPDATE_FIELDS = {
    "local_accuracy": "local_accuracy",
    "local_loss": "local_loss",
    "training_time": "train_time_sec",
    "data_samples": "num_samples",
    "round": "round",
    "base_round": "base_round",
    "staleness": "staleness",
    "gradient_norm": "gradient_norm",
    "gradient_magnitude": "gradient_magnitude",
    "sparsity": "sparsity",
    "compression_ratio": "compression_ratio",
    "bytes_sent": "bytes_sent",
    "bytes_received": "bytes_received",
    "network_latency_ms": "network_latency_ms",
    "cpu_pct": "cpu_pct",
    "ram_mb": "ram_mb",
    "gpu_util_pct": "gpu_util_pct",
    "gpu_vram_mb": "gpu_vram_mb",
    "status": "status",
}
"""Field of `fl_training` → field of an update. Where a client is stays out."""

_ROUND_FIELDS = {
    "global_accuracy": "global_accuracy",
    "global_loss": "global_loss",
    "aggregation_time": "aggregation_time_sec",
    "round_duration": "round_duration_sec",
    "round": "round",
    "num_selected": "num_selected",
    "num_stragglers": "num_stragglers",
    "num_failures": "num_failures",
    "total_bytes_up": "total_bytes_up",
    "total_bytes_down": "total_bytes_down",
    "gradient_norm_dispersion": "gradient_norm_dispersion",
}
"""Field of `fl_training_global` → field of a round's end."""


class JournalPoints:
    """Turns one journal into points, block by block, in order.

    num_lines: how many lines are before the first block.
    """

    def __init__(self, header: JournalHeader, num_lines: int = 0, source_kind: str | None = None) -> None:
        self.header = header
        self.num_lines = num_lines
        self.num_untimed = 0
        """Events with a time that can't be written."""
        self.source_kind = source_kind
        """What the journal's source calls itself, once it has said so."""
        self._rounds = RoundFold()
        self._open: dict[int, int] = {}
        """Rounds that have begun and not ended, and where."""
        self._run_tags = {"experiment_id": header.run_id, "client_id": header.client_id}

    def take(self, block: Block) -> list[bytes]:
        """The points of the next block, a line each."""
        self._learn_kind(block)
        return list(self._lines(block))

    def fold(self, block: Block) -> None:
        """Take in a block that was delivered earlier, for the rounds that were open then."""
        for event, offset in self._told(block):
            self._fold(event, offset)

    def fold_from(self, offset: int) -> int:
        """Where the oldest round that is open at `offset` began: a new process folds from there to go on at `offset`."""
        return min(self._open.values(), default=offset)

    def _told(self, block: Block) -> Iterator[tuple[AnyEvent | UnknownEvent | None, int]]:
        """Each line's event and offset; None where it is none, or not this journal's to say (the index refuses it, too)."""
        for event, offset in zip(block.events, block.offsets(), strict=True):
            yield None if event is None or refusal(event, self.header) is not None else event, offset

    def _fold(self, event: AnyEvent | UnknownEvent | None, offset: int) -> None:
        if not isinstance(event, (RoundStart, RoundEnd, ClientUpdate, ClientEvent)):
            return
        number = self._rounds.take(event)
        if isinstance(event, RoundEnd):
            # Rounds that never ended are given up: they must not keep all that came since.
            self._open = {n: at for n, at in self._open.items() if event.round - MAX_OPEN_ROUNDS < n != event.round}
        elif number is not None and not self._rounds.is_closed(number):
            self._open.setdefault(number, offset)

    def _learn_kind(self, block: Block) -> None:
        """A source tells its kind behind the first events it gives, in one piece with them."""
        if self.header.role == "source" and self.source_kind is None:
            states = (event for event in block.events if isinstance(event, SourceState))
            self.source_kind = next((state.type for state in states), None)

    def _lines(self, block: Block) -> Iterator[bytes]:
        for event, offset in self._told(block):
            number = self.num_lines
            self.num_lines += 1
            self._fold(event, offset)
            if event is None or isinstance(event, UnknownEvent):
                continue
            point = self._point(event)
            if point is None:
                continue
            time = time_ns(event.ts, number)
            if time is None:
                self.num_untimed += 1
                continue
            text = line(*point, time)
            if text is not None:
                yield text

    def _point(self, event: AnyEvent) -> tuple[str, dict[str, str | None], Fields] | None:
        """Measurement, tags and fields of an event; None for one that is no measurement."""
        run = self._run_tags
        if isinstance(event, ClientUpdate):
            return "fl_training", {**run, "client_id": event.client_id, "role": self.header.role}, _update(event)
        if isinstance(event, RoundEnd):
            return "fl_training_global", {"experiment_id": self.header.run_id}, self._round(event)
        if isinstance(event, Metric):
            tags = {**run, "client_id": event.client_id or self.header.client_id}
            return "fl_training_steps", tags, {**_numbers({event.key: event.value}), "step": event.step}
        if isinstance(event, Sample):
            return self._measurement(event), {**run, "node": event.node}, _numbers(event.metrics)
        if isinstance(event, Topology):
            return "network_performance", {"source": event.source}, _topology(event)
        if isinstance(event, Policy):
            return "policy_events", _policy_tags(event, self.header.run_id), _policy(event)
        if isinstance(event, SourceState):
            up = {"up": 1.0, "down": 0.0}.get(event.state)
            return "system_metrics", {"source": event.source, "type": event.type}, {"up": up}
        return None

    def _measurement(self, sample: Sample) -> str:
        if self.header.role != "source":
            return "system_metrics"
        if self.source_kind in NETWORK_KINDS or not _NETWORK_KEYS.isdisjoint(sample.metrics):
            return "network_performance"
        return "policy_events" if self.source_kind == "policy" else "system_metrics"

    def _round(self, event: RoundEnd) -> Fields:
        summary = self._rounds.summary(event.round) if event.round in self._rounds.numbers() else None
        fields = _known(event, _ROUND_FIELDS)
        # Where no client was heard of, how many took part is not known.
        if summary is not None and self._rounds.updates(event.round):
            fields["participants"] = summary.num_completed
        return fields


def _numbers(metrics: dict[str, float] | None) -> Fields:
    """An application's own numbers, under names that are free."""
    return {f"{name}_value" if name in _NOT_FOR_METRICS else name: value for name, value in (metrics or {}).items()}


def _known(event: ClientUpdate | RoundEnd, names: dict[str, str]) -> Fields:
    """An event's own numbers, and over them the fields of the contract that it has."""
    fields = _numbers(event.metrics)
    for name, field in names.items():
        if (value := getattr(event, field)) is not None:
            fields[name] = value
    return fields


def _update(event: ClientUpdate) -> Fields:
    fields = _known(event, _UPDATE_FIELDS)
    if event.bytes_sent is not None and event.bytes_received is not None:
        fields["communication_bytes"] = event.bytes_sent + event.bytes_received
    return fields


def _topology(event: Topology) -> Fields:
    up = [link.get("up") for link in event.links]
    return {
        "devices": len(event.devices),
        "hosts": len(event.hosts),
        "links": len(event.links),
        "links_up": None if None in up else sum(map(bool, up)),
    }


def _policy_tags(event: Policy, run_id: str | None) -> dict[str, str | None]:
    return {
        "experiment_id": run_id,
        "type": event.type,
        "source": event.source,
        "component": event.component,
        "client_id": event.client_id,
        "policy_id": event.policy_id,
        "action": event.action,
        "result": event.result,
    }


def _policy(event: Policy) -> Fields:
    # `events` is there for databases that keep numbers only: they can count with it.
    return {
        **_numbers(event.metrics),
        "trust_score": event.trust_score,
        "reason": event.reason,
        "event_id": event.id,
        "events": 1.0,
    }
