"""Networks, as sources tell of them: how they perform, and what they look like."""

from __future__ import annotations

import time
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Response, get
from litestar.params import Parameter

from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of
from fedsight.collector.api.reads import Cursor, Limit
from fedsight.collector.api.schemas import Number
from fedsight.collector.api.times import duration_of, iso, time_of
from fedsight.collector.producer import journal_id
from fedsight.store import Store, queries

SourceName = Annotated[str | None, Parameter(description="Only what this source tells.")]


class TopologyCounts(msgspec.Struct):
    """How much there is, each thing counted once however many sources tell of it; null where no source says."""

    devices: int | None
    hosts: int | None
    links: int | None
    last_change: str | None
    devices_down: int | None
    links_down: int | None


class PerformanceFigures(msgspec.Struct):
    """What was measured within the time frame; null where nobody measured it."""

    average_latency_ms: Number
    peak_bandwidth_mbps: Number
    packet_loss_rate: Number
    flow_table_utilization: Number


class TrafficShares(msgspec.Struct):
    """Whose traffic it was, in per cent."""

    fl_traffic_percentage: Number
    control_traffic_percentage: Number
    background_traffic_percentage: Number


class QosFigures(msgspec.Struct):
    """Flow entries of each class, and how often a class did not get what it should."""

    high_priority_flows: int | None
    medium_priority_flows: int | None
    low_priority_flows: int | None
    priority_violations: int | None


class NetworkMetricsAnswer(msgspec.Struct):
    """A network's figures. `last_update`: the last measurement within the time frame."""

    as_of: str
    timeframe: str
    last_update: str | None
    topology: TopologyCounts
    performance: PerformanceFigures
    traffic_analysis: TrafficShares
    qos_metrics: QosFigures


@get(
    "/api/v1/network/metrics",
    tags=["flopynet"],
    summary="How the network performs",
    responses=answers(
        NetworkMetricsAnswer, "Counts, performance, traffic and classes; null what nobody measured.", 400
    ),
)
async def get_network_metrics(
    request: AnyRequest,
    timeframe: Annotated[
        str, Parameter(description="How far back: a number and a unit (s, m, h, d, w), such as 1h.")
    ] = "1h",
    source: SourceName = None,
) -> Response[bytes]:
    """Performance within the time frame up to now, and the network as it was last seen."""
    parts = parts_of(request)
    span_sec = duration_of("timeframe", timeframe)
    if source is not None:
        return json_answer(request, await anyio.to_thread.run_sync(_figures, parts.store, timeframe, span_sec, source))
    kept = await parts.cache.aggregated(timeframe)
    if kept is None or kept.get("as_of") != parts.hub.as_of(parts.store.commit):
        figures = await anyio.to_thread.run_sync(_figures, parts.store, timeframe, span_sec, None)
        kept = msgspec.to_builtins(figures)
        await parts.cache.put_aggregated(timeframe, kept)
    return json_answer(request, kept)


def _figures(store: Store, timeframe: str, span_sec: float, source: str | None) -> NetworkMetricsAnswer:
    now = time.time()
    journal = None if source is None else journal_id("source", f"source {source}")
    seen = queries.topologies(store, source=source, limit=10_000).topologies
    measured = queries.performance(store, now - span_sec, now, journal=journal)
    return NetworkMetricsAnswer(
        as_of=measured.as_of,
        timeframe=timeframe,
        last_update=iso(measured.last_ts),
        topology=_counts(seen, measured.counted),
        performance=PerformanceFigures(measured.latency_ms, measured.peak_mbps, measured.loss, measured.table_use),
        traffic_analysis=TrafficShares(**measured.shares),
        qos_metrics=QosFigures(**measured.classes),
    )


def _counts(seen: list[queries.Topology], counted: set[str]) -> TopologyCounts:
    devices = _by_id([device for network in seen for device in network.devices])
    links = _by_id([link for network in seen for link in network.links])
    hosts = _by_id([host for network in seen for host in network.hosts])
    num_up, links_up = sum(devices.values()), sum(links.values())
    # A network without any may be one whose source can't see them.
    knows_links, knows_hosts = bool(links or "links" in counted), bool(hosts or "hosts" in counted)
    return TopologyCounts(
        devices=num_up if seen else None,
        hosts=len(hosts) if knows_hosts else None,
        links=links_up if knows_links else None,
        last_change=iso(max((network.last_change for network in seen), default=None)),
        devices_down=len(devices) - num_up if seen else None,
        links_down=len(links) - links_up if knows_links else None,
    )


def _by_id(things: list[dict[str, Any]]) -> dict[str, bool]:
    """Each thing's id, and whether any source sees it up."""
    found: dict[str, bool] = {}
    for thing in things:
        key = str(thing.get("id"))
        found[key] = found.get(key, False) or thing.get("up") is not False
    return found


@get(
    "/api/v1/network/topology",
    sync_to_thread=True,
    tags=["network"],
    summary="What networks look like",
    responses=answers(queries.Topologies, "Devices, links and hosts, for each source.", 400),
)
def get_topology(
    request: AnyRequest,
    source: SourceName = None,
    at: Annotated[
        str | None,
        Parameter(description="As it was then (ISO 8601 with a time zone or UTC epoch seconds); now when absent."),
    ] = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """Each source's network as it last told it. Ports and links over time: `/api/v1/samples?node=`."""
    found = queries.topologies(parts_of(request).store, source=source, at=time_of("at", at), limit=limit, cursor=cursor)
    return json_answer(request, found, as_of=found.as_of)


HANDLERS: list[Any] = [get_network_metrics, get_topology]
