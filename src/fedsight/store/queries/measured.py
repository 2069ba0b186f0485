"""What a client's own monitor measured while it trained: fills in what its updates don't say.

Worked out when read, for the rows of one page. The interval of an update is told by the update
itself (`train_time_sec` up to its `ts`), or else it is the time since the client's update before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from fedsight.store import columns
from fedsight.store.nodes import INTERVAL
from fedsight.store.queries.snapshot import RunKey, Snapshot, text

MEASURED = ("cpu_pct", "ram_mb", "gpu_util_pct", "gpu_vram_mb")
"""Fields of the contract that are filled. The bytes of the machine's network are not the update's: they stay."""
ENERGY = "energy_j"
"""What there is of updates besides."""

MIN_COVERED = 0.5
"""A mean is told where the readings speak of this share of the interval at least."""
MIN_COVERED_BY_SUM = 0.9
"""A sum misses what is not covered, so it is told of this share at least."""

_LEAST_MARGIN_SEC = 60.0
_MARGIN_READINGS = 3.0

_READ = (*MEASURED, ENERGY, INTERVAL, "elapsed_sec")


class Interval:
    """When a client trained for an update: [since, until], epoch seconds by `source`'s clock; `since` None: not said."""

    __slots__ = ("client_no", "since", "source", "until")

    def __init__(self, client_no: int, source: int, ts: float | None, train_time_sec: float | None) -> None:
        self.client_no = client_no
        self.source = source
        self.until = ts if ts is not None and math.isfinite(ts) else None
        self.since: float | None = None
        if self.until is not None and train_time_sec is not None and 0 < train_time_sec < math.inf:
            self.since = self.until - train_time_sec


class Monitored:
    """The clients of a run that have a monitor of their own."""

    def __init__(self, view: Snapshot, run: RunKey) -> None:
        self._view = view
        self._run = run
        self._client_ids: dict[int, str] = {}
        self._margin_sec = _LEAST_MARGIN_SEC
        of_clients = "run_no = ? AND client_id IS NOT NULL"
        (found,) = view.rows(
            "SELECT count(*), max((last_ts - first_ts) / greatest(num_samples - 1, 1)) FROM nodes WHERE " + of_clients,
            [run.run_no],
        )
        num_nodes, spacing_sec = found
        if num_nodes:
            self._margin_sec = max(self._margin_sec, _MARGIN_READINGS * (spacing_sec or 0.0))
            self._client_ids = dict(
                view.rows(
                    "SELECT client_no, client_id FROM clients WHERE run_no = ? "
                    f"AND client_id IN (SELECT client_id FROM nodes WHERE {of_clients})",
                    [run.run_no, run.run_no],
                )
            )

    def __bool__(self) -> bool:
        return bool(self._client_ids)

    def __contains__(self, client_no: int) -> bool:
        return client_no in self._client_ids

    def fill(self, found: dict[str, list[Any]], intervals: Sequence[Interval | None]) -> list[list[str]]:
        """Put what was measured in each row's interval where `found` has None. Returns which names, row by row."""
        filled: list[list[str]] = [[] for _ in intervals]
        wanted = {
            row: interval
            for row, interval in enumerate(intervals)
            if interval is not None and interval.until is not None and interval.client_no in self._client_ids
        }
        self._since_the_update_before(wanted)
        for row, *values in self._readings(wanted):
            for name, value in zip((*MEASURED, ENERGY), values, strict=True):
                if value is not None and name in found and found[name][row] is None:
                    found[name][row] = value
                    filled[row].append(name)
        return filled

    def last_intervals(self, client_nos: Sequence[int]) -> list[Interval | None]:
        """Each client's interval of its last update; None for who has no monitor."""
        wanted = sorted(self._client_ids.keys() & set(client_nos))
        if not wanted:
            return [None] * len(client_nos)
        last = {
            client_no: Interval(client_no, source, ts, train_time_sec)
            for client_no, source, ts, train_time_sec in self._view.rows(
                "SELECT u.client_no, u.source, u.ts, "
                "coalesce(u.train_time_sec, max(u.train_time_sec) OVER (PARTITION BY u.client_no, u.round)) "
                "FROM client_updates u JOIN clients c ON u.client_no = c.client_no "
                "AND u.round IS NOT DISTINCT FROM c.last_round "
                "WHERE u.run_no = ? AND c.run_no = ? AND c.client_no IN (SELECT unnest(?)) "
                "QUALIFY row_number() OVER (PARTITION BY u.client_no ORDER BY u.source, u.ts DESC) = 1",
                [self._run.run_no, self._run.run_no, wanted],
            )
        }
        return [last.get(client_no) for client_no in client_nos]

    def _since_the_update_before(self, wanted: dict[int, Interval]) -> None:
        """Where nobody said how long the training took. A client's first update then has no interval."""
        rows = [(row, i.client_no, i.source, i.until) for row, i in wanted.items() if i.since is None]
        if rows:
            kinds = {"row": columns.SMALL, "client_no": columns.SMALL, "source": columns.TINY, "until": columns.NUMBER}
            nos = ", ".join({str(client_no) for _, client_no, _, _ in rows})
            for row, since in self._view.of(
                _table(kinds, rows),
                "SELECT w.row, u.ts FROM given w ASOF JOIN (SELECT client_no, source, ts FROM client_updates "
                f"WHERE run_no = {self._run.run_no} AND client_no IN ({nos}) AND isfinite(ts)) u "
                "ON w.client_no = u.client_no AND w.source = u.source AND w.until > u.ts",
            ):
                wanted[row].since = since
        for row in [row for row, interval in wanted.items() if interval.since is None]:
            del wanted[row]

    def _readings(self, wanted: dict[int, Interval]) -> list[tuple[Any, ...]]:
        """Each row's figures, in the order of `MEASURED` and the energy."""
        rows = [(row, self._client_ids[i.client_no], i.since, i.until) for row, i in wanted.items()]
        if not rows:
            return []
        kinds = {"row": columns.SMALL, "client_id": columns.TEXT, "since": columns.NUMBER, "until": columns.NUMBER}
        first = min(since for _, _, since, _ in rows if since is not None) - self._margin_sec
        last = max(until for _, _, _, until in rows if until is not None) + self._margin_sec
        keys = ", ".join(map(text, _READ))
        pivot = ", ".join(f"max(value) FILTER (key = {text(name)}) AS {name}" for name in _READ)
        # `sec`: how long before `ts` a reading's figures begin. A window's first reading has none.
        return self._view.of(
            _table(kinds, rows),
            f"""
            WITH readings AS (
                SELECT client_id, journal, node, ts, {pivot} FROM samples
                WHERE run_no = {self._run.run_no} AND ts BETWEEN {first!r} AND {last!r} AND key IN ({keys})
                AND isfinite(value) AND node IS NOT NULL AND client_id IN (SELECT client_id FROM given)
                GROUP BY ALL
            ), spans AS (
                SELECT *, coalesce(lag(gpu_util_pct) OVER w, gpu_util_pct) AS gpu_before,
                CASE WHEN {INTERVAL} IS NOT NULL THEN {INTERVAL}
                WHEN elapsed_sec IS NULL THEN ts - lag(ts) OVER w
                WHEN elapsed_sec > lag(elapsed_sec) OVER w THEN elapsed_sec - lag(elapsed_sec) OVER w END AS sec
                FROM readings WINDOW w AS (PARTITION BY journal, node ORDER BY ts)
            ), parts AS (
                SELECT g.row, g.until - g.since AS wanted_sec, s.*, s.ts <= g.until AS is_within,
                CASE WHEN sec > 0 THEN least(s.ts, g.until) - greatest(s.ts - s.sec, g.since) END AS shared_sec
                FROM given g JOIN spans s
                ON g.client_id = s.client_id AND s.ts >= g.since AND s.ts - coalesce(s.sec, 0) <= g.until
            )
            SELECT row, {_mean("cpu_pct", "cpu_pct")}, {_peak("ram_mb")},
            {_mean("(gpu_util_pct + gpu_before) / 2", "gpu_util_pct")}, {_peak("gpu_vram_mb")},
            CASE WHEN {_shared(ENERGY)} >= {MIN_COVERED_BY_SUM} * any_value(wanted_sec)
            THEN sum({ENERGY} * shared_sec / sec) END
            FROM parts GROUP BY row
            """,
        )


def _shared(name: str) -> str:
    return f"sum(shared_sec) FILTER ({name} IS NOT NULL)"


def _mean(figure: str, name: str) -> str:
    """Over time, of a figure that speaks of the `sec` up to its reading."""
    return (
        f"CASE WHEN {_shared(name)} >= {MIN_COVERED} * any_value(wanted_sec) "
        f"THEN sum({figure} * shared_sec) / {_shared(name)} END"
    )


def _peak(name: str) -> str:
    """The highest reading; where none falls into a short interval, the next one after."""
    return f"coalesce(max({name}) FILTER (is_within), max({name}))"


def _table(kinds: dict[str, pa.DataType], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    parts = zip(kinds.items(), zip(*rows, strict=True), strict=True)
    return columns.table({name: (kind, values) for (name, kind), values in parts})
