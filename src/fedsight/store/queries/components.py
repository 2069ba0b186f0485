"""Questions about the systems around the federation: how each does, as its source told last."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from fedsight.store.duckdb import Store
from fedsight.store.queries.snapshot import Snapshot, snapshot

RATE_WINDOW_SEC = 600.0
"""Over how long the rate of policy events is taken."""

POLICY_TYPES = ("policy", "policy_engine")
_POLICIES = ("enabled_policy_count", "active_policies", "policy_count")
"""Keys of a policy engine's samples that say how many policies are active, the best first."""


class Component(msgspec.Struct):
    """One kind of system: the worst state of its sources (None: none is known), figures, and when it was last heard of."""

    state: str | None = None
    figures: dict[str, Any] = {}
    last_ts: float | None = None


class Components(msgspec.Struct):
    """The systems around the federation. `states`: of all sources, each by its name."""

    fl_server: Component
    policy_engine: Component
    sdn_controller: Component
    states: dict[str, str]


def components(store: Store, now: float) -> Components:
    """How the FL server, the policy engine and the network's controller do."""
    with snapshot(store) as view:
        told = _states(view)
        return Components(
            fl_server=_fl_server(view),
            policy_engine=_policy_engine(view, told, now),
            sdn_controller=_sdn_controller(view, told),
            states={name: state for name, _, state in told.values()},
        )


def _states(view: Snapshot) -> dict[str, tuple[str, str, str]]:
    """Of each source's journal: the source's name and type, and its last state."""
    found = view.rows(
        "SELECT journal, arg_max(data, position) FROM events WHERE kind = 'source_state' GROUP BY journal"
    )
    states = {journal: msgspec.json.decode(line) for journal, line in found}
    return {journal: (told["source"], told["type"], told["state"]) for journal, told in states.items()}


def _fl_server(view: Snapshot) -> Component:
    found = view.rows(
        "SELECT run_no, run_id, state, current_round, last_event_at FROM runs "
        "ORDER BY started_at DESC NULLS LAST, run_no DESC LIMIT 1"
    )
    if not found:
        return Component()
    run_no, run_id, state, current_round, last_event_at = found[0]
    (active,) = view.rows("SELECT count(*) FROM clients WHERE run_no = ? AND status = 'active'", [run_no])
    figures = {"run_id": run_id, "current_round": current_round, "active_clients": active[0]}
    return Component("training" if state == "running" else state, figures, last_event_at)


def _policy_engine(view: Snapshot, told: dict[str, tuple[str, str, str]], now: float) -> Component:
    journals = [journal for journal, (_, kind, _) in told.items() if kind in POLICY_TYPES]
    (events,) = view.rows(
        "SELECT count(*) FILTER (ts > ? AND ts <= ?), count(*), max(ts) FILTER (isfinite(ts)) FROM events "
        "WHERE kind = 'policy'",
        [now - RATE_WINDOW_SEC, now],
    )
    recent, ever, last_ts = events
    if not journals and not ever:
        return Component()
    figures: dict[str, Any] = {
        "active_policies": None,
        "events_per_minute": recent / (RATE_WINDOW_SEC / 60),
    }
    columns = ", ".join(f"metrics['{key}']" for key in _POLICIES)
    for heard, *counts in view.rows(
        f"SELECT last_ts, {columns} FROM nodes WHERE journal IN (SELECT unnest(?::VARCHAR[])) ORDER BY last_ts",
        [journals],
    ):
        known = [count for count in counts if count is not None and math.isfinite(count)]
        if known:
            figures["active_policies"] = round(known[0])
        last_ts = max(filter(None, (heard, last_ts)), default=None)
    return Component(_worst([told[j][2] for j in journals]) or "up", figures, last_ts)


def _sdn_controller(view: Snapshot, told: dict[str, tuple[str, str, str]]) -> Component:
    # What tells how many devices there are watches a network.
    found = view.rows(
        "SELECT n.journal, n.metrics['devices'], n.metrics['flows'], n.last_ts FROM nodes n "
        "JOIN journals j USING (journal) WHERE j.role = 'source' AND n.metrics['devices'] IS NOT NULL"
    )
    if not found:
        return Component()
    states = [told[journal][2] for journal, *_ in found if journal in told]
    figures = {"managed_devices": _sum([row[1] for row in found]), "active_flows": _sum([row[2] for row in found])}
    return Component(
        _worst(states) or "up", figures, max((row[3] for row in found if row[3] is not None), default=None)
    )


def _worst(states: list[str]) -> str | None:
    return next((state for state in ("down", "stale", "up") if state in states), None)


def _sum(values: list[float | None]) -> int | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return round(sum(known)) if known else None
