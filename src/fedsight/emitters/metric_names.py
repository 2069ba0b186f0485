"""What a metric is called in the products that group by slashes: events and reports as {name: number}.

The names are HiveWatch's: `round/accuracy`, `client/<id>/accuracy`, `sys/<id>/cpu_pct`,
`comm/total_bytes_mb`, `agg/gradient_divergence`, `event/client_dropout`. What nobody reported is
left out. An application's own numbers stand beside the known ones, and under `custom/` where a
known one has their name. MB are 10^6 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedsight.emitters.destination import Totals
from fedsight.events import ClientEvent, ClientUpdate, Metric, Sample
from fedsight.summary import RoundSummary

BYTES_PER_MB = 1e6

DROPOUTS = "event/client_dropout"
COMM_FAILURES = "event/comm_failure"
CHECKPOINTS = "event/checkpoint"

STATUS_CODES = {"active": 0.0, "idle": 1.0, "dropped": 2.0, "failed": 3.0}
"""`client/<id>/status` as a number; any other status is left out."""

_CLIENT_NAMES = {
    "accuracy": "local_accuracy",
    "loss": "local_loss",
    "num_samples": "num_samples",
    "gradient_norm": "gradient_norm",
    "gradient_magnitude": "gradient_magnitude",
    "sparsity": "sparsity",
    "compression_ratio": "compression_ratio",
    "network_latency_ms": "network_latency_ms",
    "train_time_sec": "train_time_sec",
    "staleness": "staleness",
}
_CLIENT_MEGABYTES = {"bytes_sent_mb": "bytes_sent", "bytes_received_mb": "bytes_received"}
_SYSTEM_NAMES = ("cpu_pct", "ram_mb", "gpu_util_pct", "gpu_vram_mb")
_ROUND_NAMES = {
    "round/accuracy": "global_accuracy",
    "round/loss": "global_loss",
    "round/participation_rate": "participation_rate",
    "round/num_selected": "num_selected",
    "round/num_completed": "num_completed",
    "round/num_stragglers": "num_stragglers",
    "round/num_failures": "num_failures",
    "round/num_dropouts": "num_dropouts",
    "round/num_late": "num_late",
    "round/duration_sec": "round_duration_sec",
    "round/mean_staleness": "mean_staleness",
    "round/max_staleness": "max_staleness",
    "agg/aggregation_time_sec": "aggregation_time_sec",
    "agg/gradient_norm_dispersion": "gradient_norm_dispersion",
    "agg/gradient_divergence": "gradient_norm_dispersion",
}


def id_part(any_id: str) -> str:
    """A client's or node's id as one part of a name: "/" and "%" are percent-encoded, nothing else."""
    return any_id.replace("%", "%25").replace("/", "%2F")


def client_figures(update: ClientUpdate) -> dict[str, float]:
    """What an update says of the training, by the names without the client's prefix; nothing of the application's own."""
    found: dict[str, float] = {}
    for name, field in _CLIENT_NAMES.items():
        if (value := getattr(update, field)) is not None:
            found[name] = value
    for name, field in _CLIENT_MEGABYTES.items():
        if (value := getattr(update, field)) is not None:
            found[name] = value / BYTES_PER_MB
    if (code := STATUS_CODES.get(update.status or "")) is not None:
        found["status"] = code
    return found


def system_figures(update: ClientUpdate) -> dict[str, float]:
    """What an update says of its machine."""
    return {name: value for name in _SYSTEM_NAMES if (value := getattr(update, name)) is not None}


def update_metrics(update: ClientUpdate, *, per_client: bool = True, system: bool = True) -> dict[str, float]:
    """An update's numbers. per_client: `client/<id>/…`; system: `sys/<id>/…`. Where a client is, is not told."""
    client = id_part(update.client_id)
    found: dict[str, float] = {}
    if per_client:
        found = {f"client/{client}/{name}": value for name, value in client_figures(update).items()}
        _add_custom(found, f"client/{client}", update.metrics)
    if system:
        found |= {f"sys/{client}/{name}": value for name, value in system_figures(update).items()}
    return found


def round_figures(summary: RoundSummary) -> dict[str, float]:
    """A round's figures, without the application's own. The total volume is the sum of what is known of up and down."""
    found: dict[str, float] = {}
    for name, field in _ROUND_NAMES.items():
        if (value := getattr(summary, field)) is not None:
            found[name] = value
    up, down = summary.total_bytes_up, summary.total_bytes_down
    volumes = {
        "comm/total_bytes_up_mb": up,
        "comm/total_bytes_down_mb": down,
        "comm/total_bytes_mb": None if up is None and down is None else (up or 0.0) + (down or 0.0),
        "comm/bytes_per_client_mb": summary.bytes_per_client,
    }
    return found | {name: volume / BYTES_PER_MB for name, volume in volumes.items() if volume is not None}


def round_metrics(summary: RoundSummary) -> dict[str, float]:
    """All of a round's figures."""
    found = round_figures(summary)
    _add_numbers(found, "agg/algo", summary.algorithm_metadata)
    _add_custom(found, "round", summary.metrics)
    return found


def _add_custom(found: dict[str, float], prefix: str, metrics: Mapping[str, float] | None) -> None:
    for key, value in (metrics or {}).items():
        name = f"{prefix}/{key}"
        found[f"{prefix}/custom/{key}" if name in found else name] = value


def _add_numbers(found: dict[str, float], prefix: str, tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, (int, float)):  # a bool counts as 0 or 1
            found[f"{prefix}/{key}"] = float(value)
        elif isinstance(value, dict):
            _add_numbers(found, f"{prefix}/{key}", value)


def point_name(metric: Metric) -> str:
    """What a step-level point is called: its own key, under `client/<id>/` where a site logged it."""
    return metric.key if metric.client_id is None else f"client/{id_part(metric.client_id)}/{metric.key}"


def sample_metrics(sample: Sample) -> dict[str, float]:
    """A monitor's measurements, `sys/<node>/…`."""
    return {f"sys/{id_part(sample.node)}/{name}": value for name, value in sample.metrics.items()}


def counters(totals: Totals) -> dict[str, float]:
    """The counters that stand with every round's figures: 0 is known to be 0."""
    return {DROPOUTS: totals.num_dropouts, COMM_FAILURES: totals.num_comm_failures}


def counted(event: ClientEvent, totals: Totals) -> dict[str, float]:
    """The counter that `event` moved; totals: as of after it."""
    if event.event == "dropout":
        return {DROPOUTS: totals.num_dropouts}
    if event.event == "comm_failure":
        return {COMM_FAILURES: totals.num_comm_failures}
    return {}
