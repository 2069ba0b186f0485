"""What Prometheus is shown: the newest state of runs, as metric families.

A scrape is built from whole snapshots, so the figures of a round always belong together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from fedsight.emitters.destination import Batch, RunInfo, Totals
from fedsight.emitters.series import (
    CLIENT_METRIC,
    CLIENT_SERIES,
    COUNTERS,
    ROUND_METRIC,
    ROUND_SERIES,
    STEP_METRIC,
    Series,
    add_line,
    known,
)
from fedsight.events import ClientUpdate, Metric, RoundEnd, RunEnd, RunStart, RunStatus
from fedsight.summary import RoundSummary

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

_STATUSES = ("running", "finished", "failed", "killed")


class Snapshot(msgspec.Struct):
    """A run's state as of now, or one site's side of it. Never changed once shown: `after` makes the next one.

    metrics: newest points of step-level curves, by client ("" is the server) and key.
    clients: each client's newest update, where clients are exported.
    hidden: ids beyond the limit, where there is one; grows only.
    """

    run: RunInfo
    totals: Totals
    status: RunStatus | None = None
    ended_at: float | None = None
    round: RoundSummary | None = None
    round_ended_at: float | None = None
    metrics: dict[str, dict[str, float]] = {}
    clients: dict[str, ClientUpdate] = {}
    hidden: set[str] | None = None

    def after(self, batch: Batch, max_clients: int) -> Snapshot:
        """The state after `batch`. Taking the same lines in again changes nothing.

        max_clients: how many clients are shown one by one; 0 is none.
        """
        new = msgspec.structs.replace(
            self,
            run=batch.run,
            totals=batch.totals,
            metrics={client_id: dict(points) for client_id, points in self.metrics.items()},
            clients=dict(self.clients),
        )
        for line in batch.lines:
            new.totals = add_line(new.totals, line)
            event = line.event
            if isinstance(event, RunStart):
                new.status = new.ended_at = None
            elif isinstance(event, RunEnd):
                new.status, new.ended_at = event.status, event.ts
            elif isinstance(event, Metric):
                new.metrics.setdefault(event.client_id or "", {})[event.key] = event.value
            elif isinstance(event, ClientUpdate) and max_clients > 0:
                _take_update(new, event, max_clients)
            if line.report is not None:
                summary = line.report.summary
                if not line.report.is_revision or isinstance(event, RoundEnd):
                    new.round, new.round_ended_at = summary, event.ts
                elif new.round is not None and new.round.round == summary.round:
                    new.round = summary
        return new


def _take_update(shown: Snapshot, update: ClientUpdate, max_clients: int) -> None:
    before = shown.clients.get(update.client_id)
    if before is None and len(shown.clients) >= max_clients:
        if shown.hidden is not None:
            shown.hidden.add(update.client_id)
    elif before is None or before.round != update.round:
        shown.clients[update.client_id] = update
    else:  # of one round the last non-null value holds
        told = {name: value for name in update.__struct_fields__ if (value := getattr(update, name)) is not None}
        if before.metrics and update.metrics:
            told["metrics"] = {**before.metrics, **update.metrics}
        shown.clients[update.client_id] = msgspec.structs.replace(before, **told)


class Exposition:
    """A collector for `prometheus_client` over the snapshots of any number of emitters, one each.

    Where emitters share it, the figures of a run that has ended stay until another run is shown.
    """

    def __init__(self) -> None:
        self._shown: dict[object, Snapshot] = {}
        self._over: set[object] = set()
        self._lock = threading.Lock()

    def show(self, owner: object, snapshot: Snapshot) -> None:
        """From the next scrape on `owner` has this to show; what is over makes room."""
        with self._lock:
            for each in self._over - {owner}:
                self._shown.pop(each, None)
            self._over.clear()
            self._shown[owner] = snapshot

    def mark_over(self, owner: object) -> None:
        """What `owner` shows is final: it stays until somebody else has something to show."""
        with self._lock:
            self._over.add(owner)

    def drop(self, owner: object) -> None:
        """Show nothing more of `owner`."""
        with self._lock:
            self._shown.pop(owner, None)
            self._over.discard(owner)

    def collect(self) -> Iterable[Family]:
        """The families of one scrape."""
        with self._lock:
            snapshots = list(self._shown.values())
        families = _Families()
        for snapshot in snapshots:
            _fill(families, snapshot)
        return families.finished()


class _Families:
    """Metric families in the making."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, str], dict[tuple[tuple[str, str], ...], float]] = {}

    def put(self, kind: str, name: str, description: str, labels: dict[str, str], value: float) -> None:
        samples = self._samples.setdefault((name, kind, description), {})
        samples[tuple(labels.items())] = value

    def finished(self) -> Iterator[Family]:
        from prometheus_client.core import Metric as Family
        from prometheus_client.core import Sample

        suffixes = {"counter": "_total", "info": "_info"}
        for (name, kind, description), samples in self._samples.items():
            family = Family(name, description, kind)
            sample_name = name + suffixes.get(kind, "")
            family.samples = [Sample(sample_name, dict(labels), value) for labels, value in samples.items()]
            yield family


def _fill(families: _Families, snapshot: Snapshot) -> None:
    labels = {"run_id": snapshot.run.run_id}
    if snapshot.run.client_id is not None:
        labels["client_id"] = snapshot.run.client_id
    _fill_run(families, snapshot, labels)
    for series, value in known(COUNTERS, snapshot.totals):
        families.put("counter", series.prometheus_name, series.description, labels, value)

    def gauge(series: Series, value: float, **more: str) -> None:
        families.put("gauge", series.prometheus_name, series.description, {**labels, **more}, value)

    if snapshot.round is not None:
        for series, value in known(ROUND_SERIES, snapshot.round):
            gauge(series, value)
        for metric, value in snapshot.round.metrics.items():
            gauge(ROUND_METRIC, value, metric=metric)
    for client_id, points in snapshot.metrics.items():
        whose = {"client_id": client_id} if client_id else {}
        for metric, value in points.items():
            gauge(STEP_METRIC, value, metric=metric, **whose)
    for client_id, update in snapshot.clients.items():
        for series, value in known(CLIENT_SERIES, update):
            gauge(series, value, client_id=client_id)
        for metric, value in (update.metrics or {}).items():
            gauge(CLIENT_METRIC, value, client_id=client_id, metric=metric)


def _fill_run(families: _Families, snapshot: Snapshot, labels: dict[str, str]) -> None:
    run = snapshot.run
    about = {"project": run.project, "algorithm": run.algorithm or "", "framework": run.framework or ""}
    families.put("info", "fedsight_run", "What the run is.", {**labels, **about}, 1.0)
    for status in _STATUSES:
        is_it = float(status == (snapshot.status or "running"))
        text = "1 for the status that the run has, 0 for the others."
        families.put("gauge", "fedsight_run_status", text, {**labels, "status": status}, is_it)
    for name, text, moment in (
        ("fedsight_run_start_timestamp_seconds", "When the run began.", run.started_at),
        ("fedsight_run_end_timestamp_seconds", "When the run ended.", snapshot.ended_at),
        ("fedsight_round_end_timestamp_seconds", "When the newest round ended.", snapshot.round_ended_at),
    ):
        if moment is not None:
            families.put("gauge", name, text, labels, moment)
    if snapshot.hidden is not None:
        text = "Clients beyond max_clients, which have no series of their own."
        families.put("gauge", "fedsight_clients_not_exported", text, labels, float(len(snapshot.hidden)))
