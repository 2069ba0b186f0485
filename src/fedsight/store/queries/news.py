"""What was told since a commit, one item an event or row, for readers who chose what they want to hear of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Snapshot, snapshot
from fedsight.store.queries.told import state_changes
from fedsight.store.schema import CONTRACT, ROUND_COLUMNS

Feed = Literal[
    "rounds",
    "updates",
    "machine_samples",
    "source_samples",
    "topology",
    "network_changes",
    "policy",
    "log",
    "source_state",
    "alert",
]

NETWORK_CHANGES = (
    "device_down",
    "device_up",
    "link_down",
    "link_up",
    "port_down",
    "port_up",
    "target_lost",
    "target_reached",
)
"""Names of the log events with which a source tells that a part of its network changed state."""

_UPDATE_COLUMNS = ("round", "ts", "status", "base_round", *CONTRACT, "metrics")
_OF_EVENTS: dict[Feed, str] = {
    "topology": "e.kind = 'topology'",
    "network_changes": f"e.kind = 'log' AND j.role = 'source' AND e.event IN {NETWORK_CHANGES}",
    "policy": "e.kind = 'policy'",
    "log": "e.kind = 'log'",
    "source_state": "e.kind = 'source_state'",
    "alert": "e.kind = 'alert'",
}
_ROLES: dict[Feed, str] = {"machine_samples": "j.role <> 'source'", "source_samples": "j.role = 'source'"}


class Item(msgspec.Struct):
    """One piece of news: columns of its row, or an event with where it stands (`journal`, `offset`)."""

    feed: Feed
    run_id: str | None
    values: dict[str, Any]
    commit: int = 0
    journal: str | None = None
    offset: int | None = None


class News(msgspec.Struct):
    """All news of (since, commit], in the order of their commits. `skipped`: how many older ones of a feed did not fit."""

    as_of: str
    commit: int
    items: list[Item]
    skipped: dict[Feed, int]


def news(store: Store, feeds: Collection[Feed], since: int, run_id: str | None, *, limit: int = 1000) -> News:
    """What was committed after `since`, of each feed the newest `limit` items.

    run_id: of other runs nothing is told; what belongs to no run (networks, policies, machines) still is.
    """
    with snapshot(store) as view:
        run_no = "NULL"
        if run_id is not None:
            found = view.rows("SELECT run_no FROM runs WHERE run_id = ?", [run_id])
            run_no = str(found[0][0]) if found else "-1"
        told = News(view.as_of, view.commit, [], {})
        for feed in sorted(feeds):
            items, total = _ASK[feed](view, feed, since, run_no, limit)
            told.items += reversed(items)
            if total > len(items):
                told.skipped[feed] = total - len(items)
        told.items.sort(key=lambda item: item.commit)
        return told


def _where(table: str, since: int, run_no: str) -> str:
    where = f"{table}.version > {since}"
    return where if run_no == "NULL" else f"{where} AND ({table}.run_no = {run_no} OR {table}.run_no IS NULL)"


def _rounds(view: Snapshot, feed: Feed, since: int, run_no: str, limit: int) -> tuple[list[Item], int]:
    columns = ", ".join(f"d.{name}" for name in ROUND_COLUMNS)
    return _items(
        view.columns(
            f"SELECT r.run_id, {columns}, d.version AS version_, count(*) OVER () AS total_ FROM rounds d JOIN runs r USING (run_no) "
            f"WHERE {_where('d', since, run_no)} ORDER BY d.version DESC, d.run_no DESC, d.round DESC LIMIT {limit}"
        ),
        feed,
    )


def _updates(view: Snapshot, feed: Feed, since: int, run_no: str, limit: int) -> tuple[list[Item], int]:
    columns = ", ".join(f"u.{name}" for name in _UPDATE_COLUMNS)
    return _items(
        view.columns(
            f"SELECT r.run_id, c.client_id, {columns}, CASE WHEN u.source = 1 THEN 'server' ELSE 'client' END AS told_by, "
            "u.version AS version_, count(*) OVER () AS total_ FROM client_updates u JOIN runs r USING (run_no) "
            f"JOIN clients c ON c.run_no = u.run_no AND c.client_no = u.client_no WHERE {_where('u', since, run_no)} "
            f"ORDER BY u.version DESC, u.run_no DESC, u.round DESC, u.client_no DESC LIMIT {limit}"
        ),
        feed,
    )


def _samples(view: Snapshot, feed: Feed, since: int, run_no: str, limit: int) -> tuple[list[Item], int]:
    return _items(
        view.columns(
            "WITH g AS (SELECT s.journal, s.position, any_value(s.run_no) AS run_no, any_value(s.client_id) AS client_id, "
            "  any_value(s.node) AS node, any_value(s.ts) AS ts, map(list(s.key), list(s.value)) AS metrics, "
            "  max(s.version) AS version FROM samples s JOIN journals j USING (journal) "
            f"  WHERE s.node IS NOT NULL AND {_ROLES[feed]} AND {_where('s', since, run_no)} GROUP BY s.journal, s.position) "
            "SELECT r.run_id, g.client_id, g.node, g.ts, g.metrics, g.journal AS journal_, g.position AS offset_, "
            "g.version AS version_, count(*) OVER () AS total_ FROM g LEFT JOIN runs r USING (run_no) "
            f"ORDER BY g.version DESC, g.journal DESC, g.position DESC LIMIT {limit}"
        ),
        feed,
    )


def _events(view: Snapshot, feed: Feed, since: int, run_no: str, limit: int) -> tuple[list[Item], int]:
    where = _OF_EVENTS[feed]
    if feed == "source_state":
        heard = f"journal IN (SELECT journal FROM events WHERE kind = 'source_state' AND version > {since})"
        where += f" AND (e.journal, e.position) IN ({state_changes(heard)})"
    return _items(
        view.columns(
            "SELECT r.run_id, e.data AS data_, e.journal AS journal_, e.position AS offset_, e.version AS version_, "
            "count(*) OVER () AS total_ "
            "FROM events e LEFT JOIN runs r USING (run_no) LEFT JOIN journals j ON e.journal = j.journal "
            f"WHERE {where} AND {_where('e', since, run_no)} "
            f"ORDER BY e.version DESC, e.journal DESC, e.position DESC LIMIT {limit}"
        ),
        feed,
    )


_ASK = {
    "rounds": _rounds,
    "updates": _updates,
    "machine_samples": _samples,
    "source_samples": _samples,
    **dict.fromkeys(_OF_EVENTS, _events),
}


def _items(columns: dict[str, list[Any]], feed: Feed) -> tuple[list[Item], int]:
    names = list(columns)
    items = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(names, values, strict=True))
        total, run_id, commit = row.pop("total_"), row.pop("run_id"), row.pop("version_")
        journal, offset = row.pop("journal_", None), row.pop("offset_", None)
        if (line := row.pop("data_", None)) is not None:
            row = msgspec.json.decode(line)
        items.append(Item(feed, run_id, {k: v for k, v in row.items() if v is not None}, commit, journal, offset))
    return items, total if items else 0
