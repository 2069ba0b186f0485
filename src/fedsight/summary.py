"""What a round adds up to: the rules, in plain Python over a run's events.

The store works the same figures out in columns; a test holds the two against each other.

- A client counts once a round: of several updates the last non-null value of each field holds.
- Completed: clients with an update whose status is absent or "active".
- Dropouts and failures: clients with such an event, or with status "dropped" or "failed".
- Selected: what `log_round` or `round_start` said; unknown otherwise. Participation is completed by
  selected, or by the clients that were heard of where nobody said who was selected.
- Sums, means and the standard deviation of gradient norms (sample, n - 1) are over the finite
  values that were reported, and None where there are none. What is beyond the largest float is infinite.
- Late: clients whose first update arrived after the round's end. A round that starts again (a
  training that was resumed) is open again.
- Bytes per client: the total up by those who completed.
- Stragglers: clients that completed and took more than twice the median of those who completed.
  What they took is the training time that they reported, or, in a round where too few reported
  one, the time from the round's start to their (last) update, by the server's clock. Too few is
  less than 3, or less than half of the selected (of the heard of, where unknown); with too few of
  either, nobody knows. Who never answered is no straggler, but missing from `num_completed`.
- What `log_round` gives wins over all that is derived.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from fedsight.events import ClientEvent, ClientUpdate, Event, RoundEnd, RoundStart

STRAGGLER_FACTOR = 2.0
"""A client that takes more than this many times the median is a straggler."""
MIN_COMPLETED = 3
"""Of fewer clients nobody is called a straggler."""
MIN_SHARE_COMPLETED = 0.5
"""Nor before this share of the selected is in."""


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
    bytes_per_client: float | None = None
    gradient_norm_dispersion: float | None = None
    mean_staleness: float | None = None
    max_staleness: int | None = None
    staleness: dict[int, int] = {}
    """How many clients were how many rounds behind, ascending."""
    algorithm_metadata: dict[str, Any] = {}
    metrics: dict[str, float] = {}

    @property
    def gradient_divergence(self) -> float | None:
        """The older name of `gradient_norm_dispersion`."""
        return self.gradient_norm_dispersion

    def to_dict(self) -> dict[str, Any]:
        """Everything by name, the application's own `metrics` beside the rest (and over it); None is unknown."""
        known: dict[str, Any] = msgspec.structs.asdict(self)
        metrics = known.pop("metrics")
        return {**known, **metrics}


_GIVEN = frozenset(RoundSummary.__struct_fields__) & frozenset(RoundEnd.__struct_fields__) - {"round", "metrics"}


_KEPT_SHARE = 0.75
_TICK_SEC = 1e-3
"""What products' time stamps can tell apart."""


class _Client(msgspec.Struct):
    update: ClientUpdate | None = None
    dropped: bool = False
    failed: bool = False
    late: bool = False


class _Round(msgspec.Struct):
    summary: RoundSummary
    started_at: float | None = None
    stamp: float = -math.inf
    clients: dict[str, _Client] = {}
    given: dict[str, Any] = {}


def summarize(events: Iterable[Event]) -> dict[int, RoundSummary]:
    """The rounds of a run, by number, from one journal's events in order."""
    fold = RoundFold(keep_updates=None)
    for event in events:
        fold.take(event)
    return {number: fold.summary(number) for number in fold.numbers()}


class RoundFold:
    """The rounds of one journal, taken in event by event.

    keep_updates: how many clients' updates the closed rounds may hold together before the oldest
    of them are let go (the two newest stay); None keeps all. An update for a round that was let go,
    or for one before it that nobody has heard of, is not taken in.
    """

    def __init__(self, keep_updates: int | None = 20_000) -> None:
        self._rounds: dict[int, _Round] = {}
        self._gone_through: float = -math.inf
        self._num_clients = 0
        self._keep_updates = math.inf if keep_updates is None else keep_updates

    def take(self, event: Event) -> int | None:
        """Take one event in. The number of the round that it says something about, if that is still held."""
        if not isinstance(event, (RoundStart, RoundEnd, ClientUpdate, ClientEvent)) or event.round is None:
            return None
        number = event.round
        state = self._rounds.get(number)
        if state is None:
            if number <= self._gone_through and not isinstance(event, (RoundStart, RoundEnd)):
                return None
            state = self._rounds[number] = _Round(RoundSummary(round=number))
        if isinstance(event, RoundStart):
            _take_start(state, event)
        elif isinstance(event, RoundEnd):
            _take_given(state, event)
            if self._num_clients > self._keep_updates:
                self._let_go()
        else:
            if event.client_id not in state.clients:
                state.clients[event.client_id] = _Client()
                self._num_clients += 1
            _take_client(state, event)
        return number

    def _let_go(self) -> None:
        """Forget the oldest closed rounds, and some more than must be: not to come here at every round's end."""
        closed = [number for number, state in self._rounds.items() if state.summary.closed]
        held = sum(len(self._rounds[number].clients) for number in closed)
        if held <= self._keep_updates:
            return
        for number in closed[:-2]:
            if held <= self._keep_updates * _KEPT_SHARE:
                return
            num_clients = len(self._rounds.pop(number).clients)
            held -= num_clients
            self._num_clients -= num_clients
            self._gone_through = max(self._gone_through, number)

    def numbers(self) -> list[int]:
        """The rounds that are held, ascending."""
        return sorted(self._rounds)

    def is_closed(self, number: int) -> bool:
        """Whether the round has ended (and did not begin again)."""
        return self._rounds[number].summary.closed

    def revised_at(self, number: int, ts: float) -> float:
        """When figures that `ts` brought were revised: later than the round's end and all its earlier revisions.

        Journals of one run are read one after the other, so what comes later may have happened before.
        """
        state = self._rounds[number]
        state.stamp = ts if ts > state.stamp else state.stamp + _TICK_SEC
        return state.stamp

    def summary(self, number: int) -> RoundSummary:
        """The round in figures, as of now."""
        return _finished(self._rounds[number])

    def updates(self, number: int) -> list[ClientUpdate]:
        """The round's updates, one a client, each client's last non-null value per field."""
        return [client.update for client in self._rounds[number].clients.values() if client.update is not None]


def _take_start(state: _Round, event: RoundStart) -> None:
    state.summary.closed = False
    state.started_at = event.ts
    if event.num_selected is not None:
        state.summary.num_selected = event.num_selected
    elif event.selected is not None:
        state.summary.num_selected = len(set(event.selected))


def _take_given(state: _Round, event: RoundEnd) -> None:
    state.summary.closed = True
    state.stamp = max(state.stamp, event.ts)
    for name in _GIVEN:
        if (value := getattr(event, name)) is not None:
            state.given[name] = value
    state.summary.metrics.update(event.metrics or {})


def _take_client(state: _Round, event: ClientUpdate | ClientEvent) -> None:
    client = state.clients[event.client_id]
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
            if name in ("metrics", "extra"):
                value = {**(getattr(client.update, name) or {}), **value}
            setattr(client.update, name, value)


def _finished(state: _Round) -> RoundSummary:
    summary, clients = msgspec.structs.replace(state.summary), state.clients.values()
    summary.metrics = dict(summary.metrics)
    updates = [client.update for client in clients if client.update is not None]
    completed = [update for update in updates if update.status in (None, "active")]
    summary.num_completed = len(completed)
    summary.num_dropouts = sum(_has(client, "dropped", client.dropped) for client in clients)
    summary.num_failures = sum(_has(client, "failed", client.failed) for client in clients)
    summary.num_late = sum(client.late for client in clients)
    summary.total_bytes_up = _sum(update.bytes_sent for update in updates)
    summary.total_bytes_down = _sum(update.bytes_received for update in updates)
    summary.gradient_norm_dispersion = dispersion(update.gradient_norm for update in updates)
    if staleness := [update.staleness for update in updates if update.staleness is not None]:
        summary.mean_staleness = statistics.fmean(staleness)
        summary.max_staleness = max(staleness)
        summary.staleness = dict(sorted(Counter(staleness).items()))
    for name, value in state.given.items():
        setattr(summary, name, value)
    selected = len(clients) if summary.num_selected is None else summary.num_selected
    if summary.num_stragglers is None:
        summary.num_stragglers = count_stragglers(
            selected,
            [t for t in _finite(update.train_time_sec for update in completed) if t >= 0],
            lambda: arrivals(state.started_at, [update.ts for update in completed]),
        )
    summary.participation_rate = summary.num_completed / selected if selected > 0 else None
    summary.bytes_per_client = bytes_per_client(summary.total_bytes_up, summary.num_completed)
    return summary


def count_stragglers(
    num_selected: float, train_times_sec: Sequence[float], arrivals_sec: Callable[[], Sequence[float]]
) -> int | None:
    """How many of the clients that completed a round were stragglers (the rule stands above); None: unknown.

    train_times_sec: what they reported. arrivals_sec: from the round's start to each one's update;
    asked for only where too few reported a time. All finite and at least 0.
    """

    def are_enough(times_sec: Sequence[float]) -> bool:
        return len(times_sec) >= MIN_COMPLETED and len(times_sec) >= MIN_SHARE_COMPLETED * num_selected

    times_sec = train_times_sec
    if not are_enough(times_sec):
        times_sec = arrivals_sec()
        if not are_enough(times_sec):
            return None
    limit_sec = STRAGGLER_FACTOR * statistics.median(times_sec)
    return sum(time_sec > limit_sec for time_sec in times_sec)


def arrivals(started_at: float | None, times: Iterable[float]) -> list[float]:
    """Seconds from a round's start to each of `times`, without those that are no time after it."""
    if started_at is None:
        return []
    return [after for time in times if (after := time - started_at) >= 0 and math.isfinite(after)]


def bytes_per_client(total_bytes_up: float | None, num_completed: int) -> float | None:
    """What a client sent on average; None where that is unknown."""
    return total_bytes_up / num_completed if total_bytes_up is not None and num_completed > 0 else None


def dispersion(norms: Iterable[float | None]) -> float | None:
    """The sample standard deviation of the finite ones, None for fewer than two."""
    finite = _finite(norms)
    try:
        return statistics.stdev(finite) if len(finite) > 1 else None
    except OverflowError:
        return math.inf


def _has(client: _Client, status: str, by_event: bool) -> bool:
    return by_event or (client.update is not None and client.update.status == status)


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _sum(values: Iterable[float | None]) -> float | None:
    finite = _finite(values)
    try:
        return math.fsum(finite) if finite else None
    except OverflowError:  # beyond the largest float
        return sum(finite)
