"""What a metric is called in the products that group by slashes: events and reports as {name: number}.

The names are HiveWatch's: `round/accuracy`, `client/<id>/accuracy`, `sys/<id>/cpu_pct`,
`comm/total_bytes_mb`, `agg/gradient_divergence`, `event/client_dropout`. What nobody reported is
left out. An application's own numbers stand beside the known ones, and under `custom/` where a
known one has their name. MB are 10^6 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedsight.emitters.batching import count
from fedsight.emitters.destination import Totals
from fedsight.events import AnyEvent, Checkpoint, ClientEvent, ClientUpdate, Metric, Sample
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


def update_metrics(update: ClientUpdate, *, per_client: bool = True, system: bool = True) -> dict[str, float]:
    """An update's numbers. per_client: `client/<id>/…`; system: `sys/<id>/…`. Where a client is, is not told."""
    client = id_part(update.client_id)
    found: dict[str, float] = {}
    if per_client:
        for name, field in _CLIENT_NAMES.items():
            if (value := getattr(update, field)) is not None:
                found[f"client/{client}/{name}"] = value
        for name, field in _CLIENT_MEGABYTES.items():
            if (value := getattr(update, field)) is not None:
                found[f"client/{client}/{name}"] = value / BYTES_PER_MB
        if (code := STATUS_CODES.get(update.status or "")) is not None:
            found[f"client/{client}/status"] = code
        _add_custom(found, f"client/{client}", update.metrics)
    if system:
        for name in _SYSTEM_NAMES:
            if (value := getattr(update, name)) is not None:
                found[f"sys/{client}/{name}"] = value
    return found


def round_metrics(summary: RoundSummary) -> dict[str, float]:
    """A round's figures. The total volume is the sum of what is known of up and down."""
    found: dict[str, float] = {}
    for name, field in _ROUND_NAMES.items():
        if (value := getattr(summary, field)) is not None:
            found[name] = value
    for way, volume in (("up", summary.total_bytes_up), ("down", summary.total_bytes_down)):
        if volume is not None:
            found[f"comm/total_bytes_{way}_mb"] = volume / BYTES_PER_MB
            found["comm/total_bytes_mb"] = found.get("comm/total_bytes_mb", 0.0) + volume / BYTES_PER_MB
    if summary.bytes_per_client is not None:
        found["comm/bytes_per_client_mb"] = summary.bytes_per_client / BYTES_PER_MB
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


def count_on(totals: Totals, event: AnyEvent) -> None:
    """Bring the totals before `event` up to after it. A checkpoint counts with its first line, which has no SHA-256 yet."""
    if not isinstance(event, Checkpoint) or event.sha256 is None:
        count(totals, event, {})


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
