"""A run as time series: what is exported of rounds, clients and counters, in base units, for Prometheus and OpenTelemetry.

Names are OpenTelemetry's (dots, unit beside the name). Prometheus' names follow from them by OpenTelemetry's own rule
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/): dots become underscores, the
unit becomes a suffix, counters end in `_total`. So a chart works with either road.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fedsight.emitters.batching import count_alone
from fedsight.emitters.destination import Line, Totals
from fedsight.events import ClientUpdate
from fedsight.summary import RoundSummary

_SUFFIXES = {"1": "_ratio", "s": "_seconds", "By": "_bytes"}

BYTES_PER_MB = 1e6
"""Of the contract's `_mb` fields."""


class Series(msgspec.Struct, frozen=True):
    """One exported figure.

    field: of `RoundSummary`, `ClientUpdate` or `Totals`.
    unit: UCUM: "1" a ratio, "s" seconds, "By" bytes; in braces, or empty: a plain number.
    scale: from the field's unit to this one.
    """

    field: str
    name: str
    unit: str
    description: str
    scale: float = 1.0

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus; a counter's without `_total`."""
        return self.name.replace(".", "_") + _SUFFIXES.get(self.unit, "")

    def value_in(self, figures: object) -> float | None:
        """The value in base units that `figures` has for it; None where unknown."""
        value = getattr(figures, self.field)
        return None if value is None else float(value) * self.scale


ROUND_SERIES = (
    Series("round", "fedsight.round.number", "", "Number of the round that ended last."),
    Series("global_accuracy", "fedsight.round.accuracy", "1", "Accuracy of the global model after the round."),
    Series("global_loss", "fedsight.round.loss", "", "Loss of the global model after the round."),
    Series("num_selected", "fedsight.round.clients.selected", "{client}", "Clients asked to take part in the round."),
    Series("num_completed", "fedsight.round.clients.completed", "{client}", "Clients whose update counted."),
    Series(
        "num_dropouts", "fedsight.round.clients.dropped", "{client}", "Clients that left in the midst of the round."
    ),
    Series("num_failures", "fedsight.round.clients.failed", "{client}", "Clients that failed or could not be reached."),
    Series("num_stragglers", "fedsight.round.clients.straggling", "{client}", "Clients that were too slow."),
    Series("num_late", "fedsight.round.clients.late", "{client}", "Clients whose update came after the round's end."),
    Series("participation_rate", "fedsight.round.participation", "1", "Completed by selected clients."),
    Series("round_duration_sec", "fedsight.round.duration", "s", "How long the round took."),
    Series("aggregation_time_sec", "fedsight.round.aggregation.duration", "s", "How long the aggregation took."),
    Series("total_bytes_up", "fedsight.round.upload", "By", "Sent by the round's clients."),
    Series("total_bytes_down", "fedsight.round.download", "By", "Received by the round's clients."),
    Series(
        "gradient_norm_dispersion",
        "fedsight.round.gradient_norm.dispersion",
        "",
        "Standard deviation of the clients' gradient norms.",
    ),
    Series(
        "mean_staleness", "fedsight.round.staleness.mean", "{round}", "Mean age in rounds of the models trained on."
    ),
    Series("max_staleness", "fedsight.round.staleness.max", "{round}", "Greatest age in rounds of a model trained on."),
)
"""Of the round that ended last, by the fields of `RoundSummary`."""

ROUND_METRIC = Series("metrics", "fedsight.round.metric", "", "A further figure that was logged with the round.")
STEP_METRIC = Series("value", "fedsight.metric", "", "The newest point of a curve logged by steps.")

CLIENT_SERIES = (
    Series("round", "fedsight.client.round", "", "Round of the client's newest update."),
    Series("staleness", "fedsight.client.staleness", "{round}", "Age in rounds of the model the client trained on."),
    Series("local_accuracy", "fedsight.client.accuracy", "1", "Accuracy of the client's model on its own data."),
    Series("local_loss", "fedsight.client.loss", "", "Loss of the client's model on its own data."),
    Series("num_samples", "fedsight.client.samples", "{sample}", "Samples the client trained on."),
    Series("gradient_norm", "fedsight.client.gradient_norm", "", "L2 norm of the client's update."),
    Series("gradient_magnitude", "fedsight.client.gradient_magnitude", "", "Mean size of the client's update."),
    Series("sparsity", "fedsight.client.sparsity", "1", "Share of zeros in the client's update."),
    Series("compression_ratio", "fedsight.client.compression", "1", "Size of the update before by after compression."),
    Series("bytes_sent", "fedsight.client.upload", "By", "Sent by the client in the round."),
    Series("bytes_received", "fedsight.client.download", "By", "Received by the client in the round."),
    Series("network_latency_ms", "fedsight.client.network.latency", "s", "Round-trip time to the server.", 1e-3),
    Series("train_time_sec", "fedsight.client.train.duration", "s", "How long the client trained."),
    Series("cpu_pct", "fedsight.client.cpu.utilization", "1", "The client's CPU utilization.", 1e-2),
    Series("ram_mb", "fedsight.client.memory.usage", "By", "The client's memory in use.", BYTES_PER_MB),
    Series("gpu_util_pct", "fedsight.client.gpu.utilization", "1", "The client's GPU utilization.", 1e-2),
    Series("gpu_vram_mb", "fedsight.client.gpu.memory.usage", "By", "The client's GPU memory in use.", BYTES_PER_MB),
)
"""Of a client's newest update, by the fields of `ClientUpdate`. Where a client is stays out of metrics."""

CLIENT_METRIC = Series("metrics", "fedsight.client.metric", "", "A further figure that was logged with an update.")

COUNTERS = (
    Series("num_rounds", "fedsight.rounds", "{round}", "Rounds that ended."),
    Series("num_updates", "fedsight.client.updates", "{update}", "Updates that clients contributed."),
    Series(
        "num_dropouts", "fedsight.client.dropouts", "{dropout}", "Times that a client left in the midst of a round."
    ),
    Series("num_comm_failures", "fedsight.comm.failures", "{failure}", "Times that a client could not be reached."),
    Series("num_checkpoints", "fedsight.checkpoints", "{checkpoint}", "Checkpoints that were logged."),
    Series("bytes_up", "fedsight.upload", "By", "Sent by clients since the run began."),
    Series("bytes_down", "fedsight.download", "By", "Received by clients since the run began."),
)
"""Of the whole run, by the fields of `Totals`."""


def known(table: tuple[Series, ...], figures: RoundSummary | ClientUpdate | Totals) -> Iterator[tuple[Series, float]]:
    """What `figures` has values for. Byte counters begin with the first byte: until then nobody may have measured."""
    for series in table:
        value = series.value_in(figures)
        if value is None or (value == 0 and series.field in ("bytes_up", "bytes_down")):
            continue
        yield series, value


def add_line(totals: Totals, line: Line) -> Totals:
    """The counters after `line`, as far as it alone tells."""
    after = msgspec.structs.replace(totals)
    count_alone(after, line.event)
    return after
