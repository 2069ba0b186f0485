"""The store's tables, and the names of the columns that more than one module needs.

Runs and clients have small numbers (`run_no`, `client_no`) in the big tables: they compress to
nothing and let DuckDB skip whole row groups. `version` is the number of the commit that wrote a row.
"""

from __future__ import annotations

import msgspec

from fedsight.events import UPDATE_NUMBERS, ClientUpdate

SCHEMA_VERSION = 3

_BASIC = {"ts", "extra", "client_id", "round", "base_round", "status", "metrics"}

CONTRACT: tuple[str, ...] = tuple(name for name in ClientUpdate.__struct_fields__ if name not in _BASIC)
"""The metadata contract: what a client may say of itself in an update, in the order of the event model."""

TEXT_FIELDS = frozenset({"city", "country"})
LOCATION = TEXT_FIELDS | {"lat", "lng"}
"""Where a client is: no metric of its training."""
NUMERIC = UPDATE_NUMBERS
"""The contract's fields that are numbers: each has a quantile band per round."""

BAND: tuple[str, ...] = (
    "n",
    "num_nonfinite",
    "mean",
    "min",
    "p5",
    "p25",
    "p50",
    "p75",
    "p95",
    "max",
)
"""The columns of a quantile band over the clients of one round (`n`: clients with a finite value)."""

RUN_COLUMNS: tuple[str, ...] = (
    "run_id",
    "project",
    "algorithm",
    "framework",
    "state",
    "error",
    "started_at",
    "ended_at",
    "last_event_at",
    "duration_sec",
    "current_round",
    "num_rounds",
    "num_clients",
    "num_updates",
    "global_accuracy",
    "global_loss",
    "best_accuracy",
    "total_bytes_up",
    "total_bytes_down",
)

ROUND_COLUMNS: tuple[str, ...] = (
    "round",
    "state",
    "started_at",
    "ended_at",
    "global_accuracy",
    "global_loss",
    "num_selected",
    "num_completed",
    "num_dropouts",
    "num_failures",
    "num_stragglers",
    "num_late",
    "participation_rate",
    "round_duration_sec",
    "aggregation_time_sec",
    "total_bytes_up",
    "total_bytes_down",
    "bytes_per_client",
    "gradient_norm_dispersion",
    "mean_staleness",
    "max_staleness",
    "metrics",
)

CLIENT_COLUMNS: tuple[str, ...] = (
    "client_id",
    "status",
    "last_round",
    "last_seen",
    "num_updates",
    "num_dropouts",
    "num_failures",
    "staleness",
    "base_round",
    *CONTRACT,
    "metrics",
)

UPDATE_COLUMNS: tuple[str, ...] = (
    "round",
    "client_id",
    "ts",
    "status",
    "base_round",
    "staleness",
    *CONTRACT,
    "metrics",
    "extra",
    "late",
)

NODE_COLUMNS: tuple[str, ...] = (
    "node",
    "run_id",
    "client_id",
    "journal",
    "role",
    "first_ts",
    "last_ts",
    "num_samples",
    "cpu_pct",
    "cpu_cores",
    "ram_mb",
    "memory_pct",
    "gpu_util_pct",
    "gpu_vram_mb",
    "power_w",
    "metrics",
)

EVENT_COLUMNS: tuple[str, ...] = ("ts", "kind", "event", "client_id", "round", "message", "data", "journal", "offset")

GLOBAL_NUMBERS: tuple[str, ...] = tuple(
    name for name in ROUND_COLUMNS if name not in {"round", "state", "started_at", "ended_at", "metrics"}
)
"""The round's own numbers that can be drawn as a curve (scope `global`), besides its `metrics`."""


def _contract_columns() -> str:
    return ", ".join(f"{name} {'VARCHAR' if name in TEXT_FIELDS else 'DOUBLE'}" for name in CONTRACT)


TABLES: dict[str, str] = {
    # One row. `dirty`: JSON pairs [run_no, round] whose roll-ups are not up to date.
    "meta": "epoch VARCHAR, schema_version INTEGER, commit_no BIGINT, dirty VARCHAR",
    "journals": "journal VARCHAR, run_no INTEGER, role VARCHAR, client_id VARCHAR",
    # `position`: the stream offset up to which the journal is indexed.
    "cursors": "journal VARCHAR, position BIGINT, last_contact DOUBLE, num_bad BIGINT",
    "runs": (
        "run_no INTEGER, run_id VARCHAR, project VARCHAR, algorithm VARCHAR, framework VARCHAR, state VARCHAR, "
        "error VARCHAR, started_at DOUBLE, ended_at DOUBLE, last_event_at DOUBLE, duration_sec DOUBLE, "
        "current_round BIGINT, num_rounds BIGINT, num_clients BIGINT, num_updates BIGINT, global_accuracy DOUBLE, "
        "global_loss DOUBLE, best_accuracy DOUBLE, total_bytes_up DOUBLE, total_bytes_down DOUBLE, "
        "ended BOOLEAN, told_by INTEGER, version BIGINT"
    ),
    "run_info": "run_no INTEGER, config VARCHAR, tags VARCHAR, server VARCHAR",
    "rounds": (
        "run_no INTEGER, round BIGINT, state VARCHAR, started_at DOUBLE, ended_at DOUBLE, global_accuracy DOUBLE, "
        "global_loss DOUBLE, num_selected DOUBLE, num_completed BIGINT, num_dropouts BIGINT, num_failures DOUBLE, "
        "num_stragglers DOUBLE, num_late BIGINT, participation_rate DOUBLE, round_duration_sec DOUBLE, "
        "aggregation_time_sec DOUBLE, total_bytes_up DOUBLE, total_bytes_down DOUBLE, bytes_per_client DOUBLE, "
        "gradient_norm_dispersion DOUBLE, mean_staleness DOUBLE, max_staleness BIGINT, "
        "metrics MAP(VARCHAR, DOUBLE), given VARCHAR, version BIGINT"
    ),
    "bands": (
        "run_no INTEGER, round BIGINT, metric VARCHAR, n BIGINT, num_nonfinite BIGINT, mean DOUBLE, min DOUBLE, "
        "p5 DOUBLE, p25 DOUBLE, p50 DOUBLE, p75 DOUBLE, p95 DOUBLE, max DOUBLE"
    ),
    # `ranks`: for each value, how new it is (see clients.py).
    "clients": (
        "run_no INTEGER, client_no INTEGER, client_id VARCHAR, status VARCHAR, last_round BIGINT, last_seen DOUBLE, "
        "num_updates BIGINT, num_dropouts BIGINT, num_failures BIGINT, staleness BIGINT, base_round BIGINT, "
        f"{_contract_columns()}, metrics MAP(VARCHAR, DOUBLE), ranks VARCHAR, version BIGINT"
    ),
    # `source`: 0 the client's own journal, 1 the server's. `place` tells updates without a round apart.
    "client_updates": (
        "run_no INTEGER, round BIGINT, client_no INTEGER, source UTINYINT, ts DOUBLE, status VARCHAR, "
        f"base_round BIGINT, {_contract_columns()}, metrics MAP(VARCHAR, DOUBLE), extra VARCHAR, "
        "late BOOLEAN, place INTEGER, version BIGINT"
    ),
    "samples": (
        "run_no INTEGER, journal VARCHAR, position BIGINT, client_id VARCHAR, node VARCHAR, key VARCHAR, "
        "step BIGINT, ts DOUBLE, value DOUBLE, version BIGINT"
    ),
    # One row a node and journal that has samples of it; `metrics`: the last value of each of its keys.
    "nodes": (
        "run_no INTEGER, journal VARCHAR, node VARCHAR, client_id VARCHAR, first_ts DOUBLE, last_ts DOUBLE, "
        "num_samples BIGINT, metrics MAP(VARCHAR, DOUBLE)"
    ),
    "events": (
        "run_no INTEGER, journal VARCHAR, position BIGINT, ts DOUBLE, kind VARCHAR, event VARCHAR, "
        "client_id VARCHAR, round BIGINT, message VARCHAR, data VARCHAR, version BIGINT"
    ),
    "dead_letters": (
        "journal VARCHAR, position BIGINT, run_id VARCHAR, reason VARCHAR, received_at DOUBLE, version BIGINT"
    ),
    # Which names have at least one value, the round's own numbers apart; `client_id` is null where it says nothing.
    "metric_names": "run_no INTEGER, scope VARCHAR, key VARCHAR, client_id VARCHAR",
}


class Marks(msgspec.Struct):
    """What `clients.ranks` holds as JSON: the rank of a client's status, of each field and of each metric."""

    status: int
    fields: dict[str, int]
    metrics: dict[str, int]
