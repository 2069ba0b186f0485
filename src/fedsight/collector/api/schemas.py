"""Shapes of the API's answers, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Number: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"] | None
"""A number as it stands in an answer: JSON has no NaN, so it is spelled out; missing is null."""

RunState = Literal["running", "finished", "failed", "killed", "lost"]


class RunsColumns(msgspec.Struct):
    """One row a run."""

    run_id: list[str]
    project: list[str | None]
    algorithm: list[str | None]
    framework: list[str | None]
    state: list[RunState]
    error: list[str | None]
    started_at: list[Number]
    ended_at: list[Number]
    last_event_at: list[Number]
    duration_sec: list[Number]
    current_round: list[int | None]
    num_rounds: list[int]
    num_clients: list[int]
    num_updates: list[int]
    global_accuracy: list[Number]
    global_loss: list[Number]
    best_accuracy: list[Number]
    total_bytes_up: list[Number]
    total_bytes_down: list[Number]


class RoundsColumns(msgspec.Struct):
    """One row a round."""

    round: list[int]
    state: list[Literal["open", "closed"]]
    started_at: list[Number]
    ended_at: list[Number]
    global_accuracy: list[Number]
    global_loss: list[Number]
    num_selected: list[Number]
    num_completed: list[Number]
    num_dropouts: list[Number]
    num_failures: list[Number]
    num_stragglers: list[Number]
    num_late: list[Number]
    participation_rate: list[Number]
    round_duration_sec: list[Number]
    aggregation_time_sec: list[Number]
    total_bytes_up: list[Number]
    total_bytes_down: list[Number]
    bytes_per_client: list[Number]
    gradient_norm_dispersion: list[Number]
    mean_staleness: list[Number]
    max_staleness: list[Number]
    metrics: list[dict[str, Number] | None]


class _ContractColumns(msgspec.Struct, kw_only=True):
    local_accuracy: list[Number]
    local_loss: list[Number]
    num_samples: list[Number]
    gradient_norm: list[Number]
    gradient_magnitude: list[Number]
    sparsity: list[Number]
    compression_ratio: list[Number]
    bytes_sent: list[Number]
    bytes_received: list[Number]
    network_latency_ms: list[Number]
    train_time_sec: list[Number]
    cpu_pct: list[Number]
    ram_mb: list[Number]
    gpu_util_pct: list[Number]
    gpu_vram_mb: list[Number]
    lat: list[Number]
    lng: list[Number]
    city: list[str | None]
    country: list[str | None]
    metrics: list[dict[str, Number] | None]


class ClientsColumns(_ContractColumns, kw_only=True):
    """One row a client: the last known value of everything."""

    client_id: list[str]
    status: list[Literal["active", "idle", "dropped", "failed", "left", "joined"]]
    last_round: list[int | None]
    last_seen: list[Number]
    num_updates: list[int]
    num_dropouts: list[int]
    num_failures: list[int]
    staleness: list[int | None]
    base_round: list[int | None]
    location_precision: list[Literal["given", "city", "country"] | None]
    measured: list[list[str]]
    sparkline: list[list[Number]] | msgspec.UnsetType = msgspec.UNSET


class UpdatesColumns(_ContractColumns, kw_only=True):
    """One row for a client and a round."""

    round: list[int | None]
    client_id: list[str]
    ts: list[Number]
    status: list[str | None]
    base_round: list[int | None]
    staleness: list[int | None]
    extra: list[dict[str, Any] | None]
    late: list[bool]
    energy_j: list[Number]
    measured: list[list[str]]


class NodesColumns(msgspec.Struct):
    """One row a node and journal that has samples of it."""

    node: list[str]
    run_id: list[str | None]
    client_id: list[str | None]
    journal: list[str]
    role: list[str]
    first_ts: list[Number]
    last_ts: list[Number]
    num_samples: list[int]
    cpu_pct: list[Number]
    cpu_cores: list[Number]
    ram_mb: list[Number]
    memory_pct: list[Number]
    gpu_util_pct: list[Number]
    gpu_vram_mb: list[Number]
    power_w: list[Number]
    metrics: list[dict[str, Number] | None]


class EventsColumns(msgspec.Struct):
    """One row an event that is no update, metric or sample."""

    ts: list[Number]
    kind: list[str]
    event: list[str | None]
    client_id: list[str | None]
    round: list[int | None]
    message: list[str | None]
    data: list[Any]
    journal: list[str]
    offset: list[int]


class DeadLettersColumns(msgspec.Struct):
    """One row a line that is no valid event."""

    journal: list[str]
    offset: list[int]
    run_id: list[str | None]
    reason: list[str]
    received_at: list[Number]


class _Table(msgspec.Struct, kw_only=True):
    as_of: str
    next: str | None


class RunsTable(_Table, kw_only=True):
    """Runs, newest first unless sorted otherwise."""

    columns: RunsColumns


class RoundsTable(_Table, kw_only=True):
    """Rounds of a run, ascending."""

    columns: RoundsColumns


class ClientsTable(_Table, kw_only=True):
    """Clients of a run."""

    columns: ClientsColumns


class UpdatesTable(_Table, kw_only=True):
    """Client updates, by round, then client."""

    columns: UpdatesColumns


class SeriesTable(_Table, kw_only=True):
    """Curves: an index column (`round`, or `step` and `ts`) and one column a metric, or the band's."""

    columns: dict[str, list[Number]]


class NodesTable(_Table, kw_only=True):
    """Nodes, the most lately heard of first."""

    columns: NodesColumns


class SamplesTable(_Table, kw_only=True):
    """What was measured over time: the column `ts` and one column a metric."""

    columns: dict[str, list[Number]]


class EventsTable(_Table, kw_only=True):
    """Events of a run, newest first."""

    columns: EventsColumns


class DeadLettersTable(_Table, kw_only=True):
    """Lines that are no valid events."""

    columns: DeadLettersColumns


class JournalRow(msgspec.Struct):
    """One journal that tells of a run."""

    journal: str
    role: str
    client_id: str | None
    offset: int
    last_contact: Number
    num_bad: int


class RunMetrics(msgspec.Struct, rename={"for_global": "global"}):
    """Names that have at least one value."""

    for_global: list[str]
    client: list[str]
    step: list[Any]


class RunAnswer(msgspec.Struct):
    """One run: its row, what it was started with, and what tells of it."""

    as_of: str
    run: dict[str, Any]
    config: dict[str, Any]
    tags: dict[str, str]
    server: dict[str, Any] | None
    journals: list[JournalRow]
    metrics: RunMetrics


class StepMetric(msgspec.Struct):
    """A step-level curve: of a client, or the server's own (`client_id` null)."""

    key: str
    client_id: str | None


class MetricNamesAnswer(msgspec.Struct, rename={"for_global": "global"}):
    """The metrics of a run that have at least one value."""

    as_of: str
    for_global: list[str]
    client: list[str]
    step: list[StepMetric]


class ClientAnswer(msgspec.Struct):
    """One client's row."""

    as_of: str
    client: dict[str, Any]


class FlServerStatus(msgspec.Struct):
    """The newest run: "training", how it ended, or "unknown" where there is none."""

    status: str
    run_id: str | None
    current_round: int | None
    active_clients: int | None
    last_update: str | None


class PolicyEngineStatus(msgspec.Struct):
    """Is it "active", "down", "stale", or "unknown" where none is asked? The rate is that of the last ten minutes."""

    status: str
    active_policies: int | None
    events_per_minute: float | None
    last_update: str | None


class SdnControllerStatus(msgspec.Struct):
    """Is it "connected", "down", "stale", or "unknown" where no network is watched? Figures are over all that are."""

    status: str
    managed_devices: int | None
    active_flows: int | None
    last_update: str | None


class StatusComponents(msgspec.Struct):
    """The systems around the federation, as they were last heard of."""

    fl_server: FlServerStatus
    policy_engine: PolicyEngineStatus
    sdn_controller: SdnControllerStatus


class StatusAnswer(msgspec.Struct):
    """What the collector is, and how it does. `index_error` says why nothing new can be shown, else null.

    `system_health` is "degraded" while the index can't be written or a source is not up. `timestamp` is ISO 8601.
    """

    name: str
    version: str
    mode: Literal["serve", "view"]
    as_of: str
    started_at: float
    num_runs: int
    num_journals: int
    pending_bytes: int
    num_dead_letters: int
    index_error: str | None
    timestamp: str
    system_health: Literal["healthy", "degraded"]
    components: StatusComponents


class OffsetAnswer(msgspec.Struct):
    """How far the collector's copy of the journal goes now; all before it is on disk."""

    offset: int


class TicketAnswer(msgspec.Struct):
    """Opens one stream, once, until `expires_at` (UTC epoch seconds)."""

    ticket: str
    expires_at: float


class LoginAnswer(msgspec.Struct):
    """Who you are now."""

    role: str
    name: str | None
