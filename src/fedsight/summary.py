"""What a round adds up to: the rules, in plain Python over a run's events.

The store works the same figures out in columns; a test holds the two against each other.

- A client counts once a round: of several updates the last non-null value of each field holds.
- Completed: clients with an update whose status is absent or "active".
- Dropouts and failures: clients with such an event, or with status "dropped" or "failed".
- Selected: what `log_round` or `round_start` said; unknown otherwise. Participation is completed by
  selected, or by the clients that were heard of where nobody said who was selected.
- Sums, means and the standard deviation of gradient norms (sample, n - 1) are over the finite
  values that were reported, and None where there are none.
- Late: clients whose first update arrived after the round's end. A round that starts again (a
  training that was resumed) is open again.
- What `log_round` gives wins over all that is derived.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import msgspec

from fedsight.events import ClientEvent, ClientUpdate, Event, RoundEnd, RoundStart


class RoundSummary(msgspec.Struct, kw_only=True):
    """A round in figures; None is unknown."""

    round: int
    closed: bool = False
    global_accuracy: float | None = None
    global_loss: float | None = None
    num_selected: float | None = None
    num_completed: int = 0
    num_dropouts: int = 0
    num_failures: float = 0
    num_stragglers: float | None = None
    num_late: int = 0
    participation_rate: float | None = None
    round_duration_sec: float | None = None
    aggregation_time_sec: float | None = None
    total_bytes_up: float | None = None
    total_bytes_down: float | None = None
    gradient_norm_dispersion: float | None = None
    mean_staleness: float | None = None
    max_staleness: int | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)


_GIVEN = frozenset(RoundSummary.__struct_fields__) & frozenset(RoundEnd.__struct_fields__) - {"round", "metrics"}


class _Client(msgspec.Struct):
    update: ClientUpdate | None = None
    dropped: bool = False
    failed: bool = False
    late: bool = False


class _Round(msgspec.Struct):
    summary: RoundSummary
    clients: dict[str, _Client] = msgspec.field(default_factory=dict)
    given: dict[str, float] = msgspec.field(default_factory=dict)


def summarize(events: Iterable[Event]) -> dict[int, RoundSummary]:
    """The rounds of a run, by number, from one journal's events in order."""
    fold = RoundFold(keep_updates=None)
    for event in events:
        fold.take(event)
    return {number: fold.summary(number) for number in fold.numbers()}


class RoundFold:
    """The rounds of one journal, taken in event by event.

    keep_updates: how many clients' updates the closed rounds may hold together before the oldest
    of them are let go (the two newest stay); None keeps all. An update for a round that was let go
    is not taken in.
    """

    def __init__(self, keep_updates: int | None = 20_000) -> None:
        self._rounds: dict[int, _Round] = {}
        self._gone: set[int] = set()
        self._keep_updates = keep_updates

    def take(self, event: Event) -> int | None:
        """Take one event in. The number of the round that it says something about, if that is still held."""
        if not isinstance(event, (RoundStart, RoundEnd, ClientUpdate, ClientEvent)) or event.round is None:
            return None
        number = event.round
        if number in self._gone and not isinstance(event, (RoundStart, RoundEnd)):
            return None
        self._gone.discard(number)
        state = self._rounds.setdefault(number, _Round(RoundSummary(round=number)))
        if isinstance(event, RoundStart):
            state.summary.closed = False
            if event.num_selected is not None:
                state.summary.num_selected = event.num_selected
            elif event.selected is not None:
                state.summary.num_selected = len(set(event.selected))
        elif isinstance(event, RoundEnd):
            _take_given(state, event)
            self._let_go()
        else:
            _take_client(state, event)
        return number

    def _let_go(self) -> None:
        if self._keep_updates is None:
            return
        closed = [number for number, state in self._rounds.items() if state.summary.closed]
        held = sum(len(self._rounds[number].clients) for number in closed)
        for number in closed[:-2]:
            if held <= self._keep_updates:
                return
            held -= len(self._rounds.pop(number).clients)
            self._gone.add(number)

    def numbers(self) -> list[int]:
        """The rounds that are held, ascending."""
        return sorted(self._rounds)

    def is_closed(self, number: int) -> bool:
        """Whether the round has ended (and did not begin again)."""
        return self._rounds[number].summary.closed

    def summary(self, number: int) -> RoundSummary:
        """The round in figures, as of now."""
        return _finished(self._rounds[number])

    def updates(self, number: int) -> list[ClientUpdate]:
        """The round's updates, one a client, each client's last non-null value per field."""
        return [client.update for client in self._rounds[number].clients.values() if client.update is not None]


def _take_given(state: _Round, event: RoundEnd) -> None:
    state.summary.closed = True
    for name in _GIVEN:
        if (value := getattr(event, name)) is not None:
            state.given[name] = value
    state.summary.metrics.update(event.metrics or {})


def _take_client(state: _Round, event: ClientUpdate | ClientEvent) -> None:
    client = state.clients.setdefault(event.client_id, _Client())
    if isinstance(event, ClientEvent):
        client.dropped |= event.event == "dropout"
        client.failed |= event.event == "comm_failure"
        return
    if client.update is None:
        client.late = state.summary.closed
        client.update = msgspec.structs.replace(event)
        return
    for name in event.__struct_fields__:
        if (value := getattr(event, name)) is not None:
            setattr(client.update, name, value)


def _finished(state: _Round) -> RoundSummary:
    summary, clients = msgspec.structs.replace(state.summary), state.clients.values()
    summary.metrics = dict(summary.metrics)
    updates = [client.update for client in clients if client.update is not None]
    summary.num_completed = sum(update.status in (None, "active") for update in updates)
    summary.num_dropouts = sum(_has(client, "dropped", client.dropped) for client in clients)
    summary.num_failures = sum(_has(client, "failed", client.failed) for client in clients)
    summary.num_late = sum(client.late for client in clients)
    summary.total_bytes_up = _sum(update.bytes_sent for update in updates)
    summary.total_bytes_down = _sum(update.bytes_received for update in updates)
    norms = _finite(update.gradient_norm for update in updates)
    if len(norms) > 1:
        summary.gradient_norm_dispersion = statistics.stdev(norms)
    if staleness := [update.staleness for update in updates if update.staleness is not None]:
        summary.mean_staleness = statistics.fmean(staleness)
        summary.max_staleness = max(staleness)
    for name, value in state.given.items():
        setattr(summary, name, value)
    selected = len(clients) if summary.num_selected is None else summary.num_selected
    summary.participation_rate = summary.num_completed / selected if selected > 0 else None
    return summary


def _has(client: _Client, status: str, by_event: bool) -> bool:
    return by_event or (client.update is not None and client.update.status == status)


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _sum(values: Iterable[float | None]) -> float | None:
    finite = _finite(values)
    return math.fsum(finite) if finite else None
