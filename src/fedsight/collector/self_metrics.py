"""The collector in Prometheus' words: how it does itself, and the newest figures of the runs that it was told of last.

Names of runs' figures are those of `PrometheusEmitter`, so that a chart of the one works with the other.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.samples import Sample

from fedsight import __version__
from fedsight.collector.parts import Parts
from fedsight.collector.sources.state import SourceStatus
from fedsight.collector.traffic_meter import BOUNDS_SEC
from fedsight.emitters.series import ROUND_METRIC, ROUND_SERIES
from fedsight.store import queries
from fedsight.store.queries.latest_rounds import LatestRound, latest_rounds

MAX_RUNS = 50
"""Runs whose figures are shown: those heard of last. Series stay few, however many runs the store has."""
MAX_ROUND_METRICS = 20
"""An application's own figures of a round that are shown."""
FRESH_SEC = 1.0
"""So long the store's figures are good: whoever scrapes more often gets the same."""
QUANTILES = (0.5, 0.9, 0.99)
_STATES = ("running", "finished", "failed", "killed", "lost")


def registry_of(parts: Parts) -> CollectorRegistry:
    """A registry of its own for one collector; process-wide ones hold what other libraries put in."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SelfMetrics(parts))
    ProcessCollector(registry=registry)
    return registry


class SelfMetrics:
    """Everything there is to know, gathered at a scrape. May be called in any thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._first_commit = parts.store.commit
        self._lock = threading.Lock()
        self._stored: tuple[float, queries.StoreStatus, list[LatestRound]] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: names follow from what there is."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The families of one scrape."""
        status, runs = self._read_store()
        yield InfoMetricFamily(
            "fedsight_build", "What runs here.", {"version": __version__, "mode": self._parts.settings.mode}
        )
        yield from self._traffic()
        yield from _sources(self._parts.sources.statuses())
        yield from self._storage(status)
        yield from self._followers()
        yield from self._shared()
        yield from _runs(runs)

    def _read_store(self) -> tuple[queries.StoreStatus, list[LatestRound]]:
        with self._lock:
            if self._stored is None or time.monotonic() - self._stored[0] > FRESH_SEC:
                store = self._parts.store
                self._stored = time.monotonic(), queries.status(store), latest_rounds(store, max_runs=MAX_RUNS)
            return self._stored[1:]

    def _traffic(self) -> Iterator[Metric]:
        meter = self._parts.traffic
        labels = ["method", "route", "code"]
        requests = CounterMetricFamily("fedsight_api_requests", "Requests that were answered.", labels=labels)
        for key, number in list(meter.requests.items()):
            requests.add_metric(key, number)
        yield requests
        durations = HistogramMetricFamily(
            "fedsight_api_request_duration_seconds", "Until an answer began.", labels=["route"]
        )
        for route, told in list(meter.durations.items()):
            counts, total = list(told.counts), 0
            buckets: list[Any] = []
            for bound, count in zip((*BOUNDS_SEC, math.inf), counts, strict=True):
                total += count
                buckets.append(("+Inf" if math.isinf(bound) else str(bound), total))
            durations.add_metric([route], buckets, told.sum_sec)
        yield durations
        open_ones = GaugeMetricFamily("fedsight_connections", "Open streams to readers.", labels=["kind"])
        open_ones.add_metric(["websocket"], meter.websockets)
        open_ones.add_metric(["event_stream"], meter.event_streams)
        yield open_ones
        yield GaugeMetricFamily("fedsight_api_requests_in_flight", "Requests under way.", meter.in_flight)
        yield CounterMetricFamily(
            "fedsight_stream_skipped",
            "Messages that slow readers were not told, but told of.",
            self._parts.newsroom.num_skipped,
        )

    def _storage(self, status: queries.StoreStatus) -> Iterator[Metric]:
        parts = self._parts
        indexer, store = parts.indexer, parts.store
        commits = store.commit - self._first_commit
        yield CounterMetricFamily("fedsight_store_commits", "Transactions of the index.", max(0, commits))
        yield GaugeMetricFamily(
            "fedsight_store_up", "1 while the index can be written, 0 while it can not.", float(indexer.stalled is None)
        )
        if store.path is not None and store.path.exists():
            yield GaugeMetricFamily("fedsight_store_size_bytes", "Size of the index.", store.path.stat().st_size)
        yield GaugeMetricFamily("fedsight_store_runs", "Runs in the index.", status.num_runs)
        yield GaugeMetricFamily("fedsight_store_journals", "Journals in the index.", status.num_journals)
        yield GaugeMetricFamily(
            "fedsight_store_dead_letters",
            "Lines that are no event, or not the index's to take.",
            status.num_dead_letters,
        )
        max_queue_bytes = parts.settings.max_queue_mb << 20
        yield GaugeMetricFamily(
            "fedsight_index_queue_bytes",
            "Decoded blocks that wait in memory for the index.",
            max(0, max_queue_bytes - indexer.room_bytes()),
        )
        if parts.ingest is not None:
            yield GaugeMetricFamily(
                "fedsight_index_backlog_bytes", "Journals' bytes that wait for the index.", indexer.backlog_bytes
            )

    def _followers(self) -> Iterator[Metric]:
        parts = self._parts
        lag_bytes = GaugeMetricFamily(
            "fedsight_follower_lag_bytes", "How far a follower is behind the journals.", labels=["follower"]
        )
        lag_sec = GaugeMetricFamily(
            "fedsight_follower_lag_seconds", "How long the oldest of that has waited, at least.", labels=["follower"]
        )
        lag_bytes.add_metric(["index"], max(0, parts.indexer.pending_bytes))
        lag_sec.add_metric(["index"], parts.indexer.lag_sec(time.time()))
        mirror = parts.mirror.state() if parts.mirror is not None else None
        if mirror is not None:
            lag_bytes.add_metric(["influxdb"], mirror.lag_bytes)
            lag_sec.add_metric(["influxdb"], mirror.lag_sec)
        yield lag_bytes
        yield lag_sec
        if mirror is not None:
            if mirror.is_up is not None:
                yield GaugeMetricFamily("fedsight_mirror_up", "1 while InfluxDB takes points.", float(mirror.is_up))
            yield CounterMetricFamily("fedsight_mirror_points", "Points that InfluxDB took.", mirror.num_points)
            yield CounterMetricFamily(
                "fedsight_mirror_points_refused", "Points that InfluxDB will never take.", mirror.num_refused
            )
            yield CounterMetricFamily(
                "fedsight_mirror_events_without_time", "Events whose time can't be written.", mirror.num_untimed
            )

    def _shared(self) -> Iterator[Metric]:
        link, fanout = self._parts.redis, self._parts.fanout
        if link is None or fanout is None:
            return
        state = link.state()
        if state.is_up is not None:
            yield GaugeMetricFamily("fedsight_redis_up", "1 while Redis answers.", float(state.is_up))
        yield CounterMetricFamily("fedsight_redis_failures", "Calls that failed.", state.num_failures)
        messages = CounterMetricFamily(
            "fedsight_fanout_messages", "News to and from other collectors.", labels=["direction"]
        )
        messages.add_metric(["told"], fanout.num_told)
        messages.add_metric(["heard"], fanout.others.num_heard)
        messages.add_metric(["unreadable"], fanout.others.num_bad)
        yield messages


def _sources(statuses: list[SourceStatus]) -> Iterator[Metric]:
    """Nothing where there are none."""
    if not statuses:
        return
    labels = ["source", "kind"]
    up = GaugeMetricFamily(
        "fedsight_source_up", "1 while the source answers, 0 while it is down or stale.", labels=labels
    )
    polls = CounterMetricFamily("fedsight_source_polls", "Collection cycles.", labels=labels)
    successes = CounterMetricFamily("fedsight_source_poll_successes", "Polls that worked.", labels=labels)
    failures = CounterMetricFamily("fedsight_source_poll_failures", "Polls that did not.", labels=labels)
    events = CounterMetricFamily("fedsight_source_events", "Events that the source gave.", labels=labels)
    newest = GaugeMetricFamily(
        "fedsight_source_last_success_timestamp_seconds", "When the source last answered.", labels=labels
    )
    durations = Metric("fedsight_source_poll_duration_seconds", "How long polls take, the newest 1000.", "summary")
    for status in statuses:
        key = [status.name, status.kind]
        if status.state != "starting":
            up.add_metric(key, float(status.state == "up"))
        polls.add_metric(key, status.num_cycles)
        successes.add_metric(key, status.num_successes)
        failures.add_metric(key, status.num_failures)
        events.add_metric(key, status.num_events)
        if status.last_success_at is not None:
            newest.add_metric(key, status.last_success_at)
        durations.samples += _quantiles(durations.name, dict(zip(labels, key, strict=True)), status)
    yield from (up, polls, successes, failures, events, newest, durations)


def _quantiles(name: str, labels: dict[str, str], status: SourceStatus) -> Iterator[Sample]:
    """Of the newest polls; the count is of all, and there is no sum of them."""
    ordered = sorted(status.durations_sec)
    for quantile in QUANTILES if ordered else ():
        value = ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
        yield Sample(name, {**labels, "quantile": str(quantile)}, value)
    yield Sample(f"{name}_count", labels, status.num_cycles)


def _runs(found: list[LatestRound]) -> Iterator[Metric]:
    info = InfoMetricFamily("fedsight_run", "What the run is.", labels=["run_id", "project", "algorithm", "framework"])
    states = GaugeMetricFamily(
        "fedsight_run_status", "1 for the status that the run has, 0 for the others.", labels=["run_id", "status"]
    )
    clients = GaugeMetricFamily("fedsight_run_clients", "Clients that the run has heard of.", labels=["run_id"])
    rounds = CounterMetricFamily("fedsight_rounds", "Rounds that were seen.", labels=["run_id"])
    updates = CounterMetricFamily("fedsight_client_updates", "Updates that clients contributed.", labels=["run_id"])
    figures = {
        series.field: GaugeMetricFamily(series.prometheus_name, series.description, labels=["run_id"])
        for series in ROUND_SERIES
    }
    own = GaugeMetricFamily(ROUND_METRIC.prometheus_name, ROUND_METRIC.description, labels=["run_id", "metric"])
    for each in found:
        run, last = each.run, each.round or {}
        run_id = run["run_id"]
        about = {name: run[name] or "" for name in ("project", "algorithm", "framework")}
        info.add_metric([run_id, *about.values()], {})
        for state in _STATES:
            states.add_metric([run_id, state], float(state == run["state"]))
        for family, value in (
            (clients, run["num_clients"]),
            (rounds, run["num_rounds"]),
            (updates, run["num_updates"]),
        ):
            if value is not None:
                family.add_metric([run_id], value)
        for series in ROUND_SERIES:
            if (value := last.get(series.field)) is not None:
                figures[series.field].add_metric([run_id], float(value) * series.scale)
        for name, value in list((last.get("metrics") or {}).items())[:MAX_ROUND_METRICS]:
            if value is not None:
                own.add_metric([run_id, name], value)
    yield from (family for family in (info, states, clients, rounds, updates, *figures.values(), own) if family.samples)
