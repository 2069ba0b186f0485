"""Which update came when, and which aggregation it went into: an APPFL training, told to a run.

A round is one aggregation: of all clients' updates (synchronous schedulers), of a group's, or of one.
It is numbered by the aggregations before it, from 0. Which one an update goes into is certain only when
the scheduler has taken it. So an update is held from its arrival until then, which takes milliseconds,
and recorded before anybody waits for the round's result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedsight.run import Run

_OTHER_NAMES = {
    "round": "client_round",
    "base_round": "client_base_round",
    "val_accuracy": "local_accuracy",
    "val_loss": "local_loss",
}
"""What clients send, by our name for it: the contract's, or one that says whose count it is."""
_TRANSPORT = frozenset({"max_message_size", "model_key", "model_url"})


@dataclass
class _Arrival:
    """One client's update on its way into an aggregation."""

    metadata: dict[str, Any]
    num_bytes: int | None
    at_sec: float = field(default_factory=time.monotonic)
    recorded_in: int | None = None


@dataclass
class Aggregation:
    """One call of the aggregator. is_last: not just a part of the models (they may come in parts)."""

    round: int
    clients: list[Any]
    is_last: bool
    began_sec: float = field(default_factory=time.monotonic)


class Rounds:
    """The rounds of one run. Safe to call from any thread; each call takes microseconds, and waits for nothing else."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._open = 0
        self._started: int | None = None
        self._arrivals: dict[Hashable, _Arrival] = {}
        self._part_bytes: dict[Hashable, int] = {}
        self._parts_sec = 0.0
        self._model_of: dict[Hashable, int] = {}
        """The round whose model each client was given last, to train on."""

    @property
    def is_started(self) -> bool:
        """Whether the round that updates now go into has begun."""
        return self._started == self._open

    @property
    def num_closed(self) -> int:
        """How many rounds are over."""
        return self._open

    def start(self) -> None:
        """Clients have the model to train on: the open round begins, unless it has."""
        with self._lock:
            self._start()

    def model_given(self, client_id: Hashable) -> None:
        """A client got the newest global model."""
        with self._lock:
            self._model_of[client_id] = self._open

    # ── updates ───────────────────────────────────────────────────────────────────────────────

    def arrived(self, client_id: Hashable, num_bytes: int | None, metadata: Mapping[str, Any]) -> None:
        """A client's update is here. metadata: what the client sent beside its model."""
        with self._lock:
            if "_chunk_idx" in metadata:
                num_bytes = self._part_bytes.pop(client_id, 0) + (num_bytes or 0)
                if not _is_last_part(metadata):
                    self._part_bytes[client_id] = num_bytes
                    return
            if (earlier := self._arrivals.get(client_id)) is not None:
                self._record(client_id, earlier)
            self._arrivals[client_id] = _Arrival(dict(metadata), num_bytes)

    def is_held(self, client_id: Hashable) -> bool:
        """Whether an update of this client has come and no scheduler has taken it."""
        arrival = self._arrivals.get(client_id)
        return arrival is not None and arrival.recorded_in is None

    def scheduled(self, client_id: Hashable, has_model: bool) -> None:
        """The scheduler has taken the update. has_model: it answered with a model at once."""
        with self._lock:
            arrival = self._arrivals.get(client_id)
            if arrival is None:
                return  # it is aggregated already, or only a part
            self._record(client_id, arrival)
            if has_model:
                self._model_of[client_id] = self._open

    def refused(self, client_id: Any, reason: str) -> None:
        """The update never came to the scheduler."""
        with self._lock:
            self._arrivals.pop(client_id, None)
            self.run.log_comm_failure(self._open, client_id, reason)

    def unused(self, client_id: Hashable) -> None:
        """The server answered without taking the update: the training was over when it came."""
        with self._lock:
            self._arrivals.pop(client_id, None)
            self.run.log_text("An update came after the training's end and was not used.")  # an id may be secret

    # ── aggregations ──────────────────────────────────────────────────────────────────────────

    def aggregation_begins(self, clients: list[Any], told: Mapping[str, Any]) -> Aggregation:
        """The aggregator is about to be called. told: what the scheduler tells it besides the clients' models."""
        with self._lock:
            aggregation = Aggregation(self._open, clients, _is_last_part(told))
            if aggregation.is_last:
                self._start()
                staleness = told.get("staleness")
                for client_id in clients:
                    own = staleness.get(client_id) if isinstance(staleness, Mapping) else staleness
                    self._waited(client_id, aggregation.began_sec, own)
                self._open += 1
            return aggregation

    def aggregation_failed(self, aggregation: Aggregation, error: BaseException) -> None:
        """The aggregator raised. Another attempt is the same round's."""
        with self._lock:
            if aggregation.is_last and self._open == aggregation.round + 1:
                self._open = aggregation.round
            self.run.log_text(f"The aggregation failed: {error!r}", round=aggregation.round)

    def aggregation_ended(self, aggregation: Aggregation, model_bytes: int | None) -> None:
        """The aggregator returned a model."""
        with self._lock:
            took_sec = time.monotonic() - aggregation.began_sec
            if not aggregation.is_last:
                self._parts_sec += took_sec
                return
            for client_id in aggregation.clients:
                self._model_of[client_id] = aggregation.round + 1
            self.run.log_round(
                aggregation.round,
                aggregation_time_sec=self._parts_sec + took_sec,
                num_aggregated=len(aggregation.clients) or None,
                global_model_bytes=model_bytes,
            )
            self._parts_sec = 0.0

    def validated(self, loss: float, accuracy: float, took_sec: float) -> None:
        """The server has evaluated the newest global model itself."""
        with self._lock:
            if self._open == 0:
                self.run.log_metric("initial_global_loss", loss)
                self.run.log_metric("initial_global_accuracy", accuracy)
            else:
                self.run.log_round(
                    self._open - 1, global_loss=loss, global_accuracy=accuracy, evaluation_time_sec=took_sec
                )

    # ── under the lock ────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if self._started != self._open:
            self._started = self._open
            self.run.round_start(self._open)

    def _record(self, client_id: Any, arrival: _Arrival, **more: Any) -> None:
        if arrival.recorded_in is not None:
            return
        self._start()
        arrival.recorded_in = self._open
        fields = {
            _OTHER_NAMES.get(key, key): value
            for key, value in arrival.metadata.items()
            if not key.startswith("_") and key not in _TRANSPORT
        }
        if arrival.num_bytes is not None:
            fields["bytes_sent"] = arrival.num_bytes
        # Before the first aggregation there is only one model to train on; later, a newcomer's is unknown.
        base_round = self._model_of.get(client_id, 0 if self._open == 0 else None)
        self.run.log_client_update(client_id, self._open, base_round, **fields, **more)

    def _waited(self, client_id: Any, until_sec: float, staleness: Any) -> None:
        arrival = self._arrivals.pop(client_id, None)
        if arrival is None:
            return
        told = {"wait_time_sec": until_sec - arrival.at_sec, "aggregated_staleness": staleness}
        if arrival.recorded_in is None:
            self._record(client_id, arrival, **told)
        else:
            self.run.log_client_update(client_id, arrival.recorded_in, **told)


def _is_last_part(told: Mapping[str, Any]) -> bool:
    """Models may come in parts, each aggregated by itself; what a client sent stands by client at the aggregator."""
    part, parts = told.get("_chunk_idx"), told.get("_total_chunks")
    if isinstance(part, dict) and isinstance(parts, dict):
        part, parts = next(iter(part.values()), None), next(iter(parts.values()), None)
    return part is None or parts is None or int(part) == int(parts) - 1
