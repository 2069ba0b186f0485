"""The rows of `nodes`: what has samples, since when, and the last value of everything measured of it."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from fedsight.events import JournalHeader, Sample
from fedsight.store import columns
from fedsight.store.columns import INTEGER, NUMBER, SMALL, TEXT
from fedsight.store.rows import insert_table

INTERVAL = "interval_sec"
"""The key of a sample's metrics that says how many seconds before `ts` its figures over time begin."""


class NodeState(msgspec.Struct):
    """What one journal told of one node."""

    run_no: int | None
    client_id: str | None
    first_ts: float | None = None
    last_ts: float | None = None
    num_samples: int = 0
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    since: float = math.inf
    """From when on the samples of this commit speak of the node; not stored."""

    def take(self, sample: Sample) -> None:
        """One sample more, the newest."""
        self.num_samples += 1
        self.metrics.update(sample.metrics)
        if math.isfinite(sample.ts):
            if self.first_ts is None:
                self.first_ts = sample.ts
            self.last_ts = sample.ts
            self.since = min(self.since, sample.ts - sample.metrics.get(INTERVAL, 0.0))


class NodeRows:
    """The nodes of one commit, as rows in the making."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._nodes: dict[tuple[str, str], NodeState] = {}

    def take(self, run_no: int | None, header: JournalHeader, sample: Sample) -> None:
        """Take in a sample; those of a journal come in its order."""
        key = header.journal, sample.node
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = NodeState(run_no, header.client_id)
        node.take(sample)

    def write(self, commit: int) -> None:
        """Put the new over what the table has, and have the clients sent again whose last update they cover."""
        if not self._nodes:
            return
        keys = columns.table(
            dict(zip(("journal", "node"), ((TEXT, k) for k in zip(*self._nodes, strict=True)), strict=True))
        )
        for journal, name, first_ts, last_ts, num_samples, metrics in _take_out(self._con, keys):
            node = self._nodes[journal, name]
            node.first_ts = node.first_ts if first_ts is None else first_ts
            node.last_ts = last_ts if node.last_ts is None else node.last_ts
            node.num_samples += num_samples
            node.metrics = {**(metrics or {}), **node.metrics}
        nodes = list(self._nodes.values())
        kinds = {"run_no": SMALL, "client_id": TEXT, "first_ts": NUMBER, "last_ts": NUMBER, "num_samples": INTEGER}
        told = columns.table({name: (kind, [getattr(node, name) for node in nodes]) for name, kind in kinds.items()})
        new = keys
        for name in kinds:
            new = new.append_column(name, told[name])
        insert_table(self._con, "nodes", new.append_column("metrics", columns.maps([node.metrics for node in nodes])))
        since = pa.array([node.since for node in nodes], NUMBER)
        _send_again(self._con, told.append_column("since", since), commit)


def _take_out(con: duckdb.DuckDBPyConnection, keys: pa.Table) -> list[tuple[Any, ...]]:
    """Remove rows from the table, and return what they held."""
    same = "n.journal = k.journal AND n.node = k.node"
    names = "n.journal, n.node, n.first_ts, n.last_ts, n.num_samples, n.metrics"
    found = con.execute(f"SELECT {names} FROM nodes n JOIN keys k ON {same}").fetchall()
    if found:
        con.execute(f"DELETE FROM nodes n USING keys k WHERE {same}")
    return found


def _send_again(con: duckdb.DuckDBPyConnection, told: pa.Table, commit: int) -> None:
    """A client's row is new when the reading arrives in which its last training ended: reads fill figures from it."""
    con.execute(
        f"UPDATE clients SET version = {commit} FROM told t WHERE clients.run_no = t.run_no "
        "AND clients.client_id = t.client_id AND clients.last_seen BETWEEN t.since AND t.last_ts"
    )
