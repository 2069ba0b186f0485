"""Questions about networks: what they looked like, and how they performed, as sources told it."""

from __future__ import annotations

from typing import Any

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Snapshot, check_limit, from_cursor, page_of, snapshot, span, text, to_cursor
from fedsight.store.queries.told import field

LATENCY, LOSS = "latency_ms", "packet_loss_rate"
PEAK = "peak_bandwidth_mbps"
TABLE_USE = "flow_table_utilization"
SHARES = ("fl_traffic_percentage", "control_traffic_percentage", "background_traffic_percentage")
CLASSES = ("high_priority_flows", "medium_priority_flows", "low_priority_flows", "priority_violations")
_COUNTED = ("hosts", "links")
"""What not every source can see: one that can says how many there are."""
_KEYS = (LATENCY, LOSS, PEAK, TABLE_USE, *SHARES, *CLASSES, *_COUNTED)

_SOURCE = field("source")
_MAX_COMPARED = 100
"""Topologies of one source that are looked through for its last change."""


class Topology(msgspec.Struct):
    """A network as one source last told it. `last_change`: when it became so, as far as is kept."""

    source: str
    ts: float
    last_change: float
    devices: list[dict[str, Any]]
    links: list[dict[str, Any]]
    hosts: list[dict[str, Any]]
    journal: str


class Topologies(msgspec.Struct):
    """One for each source, by name."""

    as_of: str
    topologies: list[Topology]
    next: str | None


class Performance(msgspec.Struct):
    """What was measured within a time, over all sources; None where nothing was.

    latency_ms, loss, shares: means. peak_mbps: the highest. table_use, classes: each source's last value; the highest of
    `table_use`, the sum of `classes`. counted: what (hosts, links) any source counted. last_ts: the last measurement.
    """

    as_of: str
    latency_ms: float | None
    loss: float | None
    peak_mbps: float | None
    table_use: float | None
    shares: dict[str, float | None]
    classes: dict[str, int | None]
    counted: set[str]
    last_ts: float | None


def topologies(
    store: Store, *, source: str | None = None, at: float | None = None, limit: int = 1000, cursor: str | None = None
) -> Topologies:
    """What each source (or one) last told of its network at or before `at`. Raises `BadQuery`."""
    check_limit(limit)
    where, params = f"kind = 'topology'{span('ts', None, at)}", []
    if source is not None:
        where += f" AND {_SOURCE} = ?"
        params.append(source)
    after = ""
    if cursor is not None:
        after = "WHERE source > ?"
        params += from_cursor(cursor, str)
    with snapshot(store) as view:
        found = view.columns(
            f"WITH t AS (SELECT {_SOURCE} AS source, journal, ts, position, data FROM events WHERE {where}) "
            "SELECT source, arg_max(journal, (ts, position)) AS journal FROM t "
            f"{after} GROUP BY source ORDER BY source LIMIT {limit + 1}",
            params,
        )
        found, more = page_of(found, limit)
        told = [
            _topology(view, name, journal, at) for name, journal in zip(found["source"], found["journal"], strict=True)
        ]
        return Topologies(view.as_of, told, to_cursor(found["source"][-1]) if more else None)


def _topology(view: Snapshot, source: str, journal: str, at: float | None) -> Topology:
    past = view.rows(
        f"SELECT ts, data FROM events WHERE kind = 'topology' AND journal = ? AND {_SOURCE} = ?{span('ts', None, at)} "
        f"ORDER BY ts DESC, position DESC LIMIT {_MAX_COMPARED}",
        [journal, source],
    )
    ts, line = past[0]
    now = msgspec.json.decode(line)
    seen = _seen(now)
    last_change = ts
    # A source that was restarted tells once more what it told before: that is no change.
    for earlier, data in past[1:]:
        if _seen(msgspec.json.decode(data)) != seen:
            break
        last_change = earlier
    return Topology(source, ts, last_change, *seen, journal=journal)


def _seen(told: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    return told.get("devices", []), told.get("links", []), told.get("hosts", [])


def performance(store: Store, from_: float, to: float, *, journal: str | None = None) -> Performance:
    """How the networks performed within [from_, to]; of one source's journal, or of all sources'."""
    where, params = f"j.role = 'source' AND s.key IN ({', '.join(map(text, _KEYS))})", []
    if journal is not None:
        where += " AND s.journal = ?"
        params.append(journal)
    with snapshot(store) as view:
        found = view.rows(
            "SELECT key, sum(mean * n) / sum(n), max(peak), max(last), sum(last), max(last_ts) FROM ("
            "  SELECT s.journal, s.node, s.key, avg(value) AS mean, count(*) AS n, max(value) AS peak, "
            "    arg_max(value, s.ts) AS last, max(s.ts) AS last_ts "
            f"  FROM samples s JOIN journals j USING (journal) WHERE {where} AND isfinite(value)"
            f"{span('s.ts', from_, to)} GROUP BY ALL) GROUP BY key",
            params,
        )
        mean, peak, highest, total, last = ({row[0]: row[i] for row in found} for i in range(1, 6))
        return Performance(
            as_of=view.as_of,
            latency_ms=mean.get(LATENCY),
            loss=mean.get(LOSS),
            peak_mbps=peak.get(PEAK),
            table_use=highest.get(TABLE_USE),
            shares={name: mean.get(name) for name in SHARES},
            classes={name: None if (n := total.get(name)) is None else round(n) for name in CLASSES},
            counted=set(_COUNTED) & set(total),
            last_ts=max(last.values(), default=None),
        )
