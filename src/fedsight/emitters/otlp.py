"""`OTLPEmitter`: a run's figures as OpenTelemetry metrics, each with the time of its event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from fedsight.emitters.destination import Batch, Line, RunInfo, Totals
from fedsight.emitters.otlp_endpoint import OTLPEndpoint
from fedsight.emitters.series import (
    CLIENT_METRIC,
    CLIENT_SERIES,
    COUNTERS,
    ROUND_METRIC,
    ROUND_SERIES,
    STEP_METRIC,
    Series,
    add_line,
    known,
)
from fedsight.errors import MissingExtra, UsageError
from fedsight.events import ClientUpdate, Metric, RunEnd, RunStatus

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource

_POINTS_EACH = 5000
"""Points in a request: some 500 kB, far below the 20 MiB that a collector takes."""

_NANOS = 1_000_000_000


class OTLPEmitter:
    """Posts a run's figures to whatever takes OpenTelemetry metrics by OTLP over HTTP (docs/emitters/otlp.md).

    endpoint: like "http://127.0.0.1:4318" (to which /v1/metrics is added) or the whole URL of a path of your own. None is
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT, or localhost. Headers, timeout, compression
        and certificates are taken from OpenTelemetry's variables too.
    headers: further HTTP headers, a key for example.
    protocol: "http/protobuf", which is all there is.
    per_client: also each client's figures, with the attribute `fedsight.client.id`.

    Every point is made from one line of the journal and has its time: a batch that comes again repeats points equal
    in name, attributes, time and value, which most back ends keep once. The process's global MeterProvider is not used.
    Raises `UsageError` for values that can't be meant.
    """

    name: ClassVar[str] = "otlp"

    def __init__(
        self,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        protocol: str = "http/protobuf",
        per_client: bool = False,
    ) -> None:
        if protocol != "http/protobuf":
            raise UsageError(
                "protocol", f"protocol must be 'http/protobuf', the only one spoken here, not {protocol!r}."
            )
        if headers is not None and not (
            isinstance(headers, Mapping) and all(isinstance(each, str) for pair in headers.items() for each in pair)
        ):
            raise UsageError("headers", "headers must map names to values, both strings.")
        self._endpoint = OTLPEndpoint(endpoint, headers)
        self._per_client = per_client

    def identity(self) -> str:
        """The URL posted to."""
        return f"otlp:{self._endpoint.told_url}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """Nothing to open. Raises `MissingExtra` where the SDK isn't installed."""
        try:
            import opentelemetry.exporter.otlp.proto.common.metrics_encoder
            import opentelemetry.sdk.metrics.export  # noqa: F401
        except ImportError as error:
            raise MissingExtra("opentelemetry-sdk with opentelemetry-exporter-otlp-proto-common", "otlp") from error

    def deliver(self, batch: Batch) -> int:
        """Post the points of `batch`. Returns how many the receiver says it refused.

        Raises `OSError` where it can't take them now, `PointsRefused` where it never will.
        """
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

        points = [point for points in _points_by_line(batch, self._per_client) for point in points]
        if not points:
            return 0
        resource = _resource_of(batch.run)
        num_refused = 0
        for first in range(0, len(points), _POINTS_EACH):
            request = encode_metrics(_metrics_data(points[first : first + _POINTS_EACH], resource, batch.run))
            answer = self._endpoint.post(request.SerializeToString())
            num_refused += ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points
        return int(num_refused)

    def save(self) -> dict[str, Any] | None:
        """Nothing: points are made from lines, counters from the batch's totals."""
        return None

    def close(self, status: RunStatus | None) -> None:
        """Nothing is left to do: `deliver` keeps nothing back."""

    def where(self) -> str:
        """The URL posted to."""
        return f"OpenTelemetry metrics at {self._endpoint.told_url}"

    def sync_arguments(self) -> list[str]:
        """The options of `fedsight sync --to otlp`; headers come from the environment."""
        options = [f"endpoint={self._endpoint.told_url}", *(["per_client=true"] if self._per_client else [])]
        return [word for option in options for word in ("--set", option)]


class _Point(NamedTuple):
    series: Series
    value: float
    time_unix_nano: int
    attributes: tuple[tuple[str, str], ...] = ()


def _points_by_line(batch: Batch, per_client: bool) -> Iterator[list[_Point]]:
    totals = batch.totals
    for line in batch.lines:
        totals = add_line(totals, line)
        yield list(_points_of(line, totals, batch.run, per_client))


def _points_of(line: Line, totals: Totals, run: RunInfo, per_client: bool) -> Iterator[_Point]:
    """What one line has to say. totals: as of after it."""
    event = line.event
    is_sites = run.client_id is not None  # a site's own journal: no round ends there, and its client is the one
    if isinstance(event, Metric):
        whose = (("fedsight.client.id", event.client_id),) if event.client_id else ()
        yield _Point(STEP_METRIC, event.value, _nanos(event.ts), (*whose, ("fedsight.metric.name", event.key)))
    elif isinstance(event, ClientUpdate) and (per_client or is_sites):
        whose = (("fedsight.client.id", event.client_id),)
        for series, value in known(CLIENT_SERIES, event):
            yield _Point(series, value, _nanos(event.ts), whose)
        for name, value in (event.metrics or {}).items():
            yield _Point(CLIENT_METRIC, value, _nanos(event.ts), (*whose, ("fedsight.metric.name", name)))
    if line.report is not None:
        summary = line.report.summary
        for series, value in known(ROUND_SERIES, summary):
            yield _Point(series, value, _nanos(line.report.ts))
        for name, value in summary.metrics.items():
            yield _Point(ROUND_METRIC, value, _nanos(line.report.ts), (("fedsight.metric.name", name),))
    if line.report is not None or isinstance(event, RunEnd) or (is_sites and isinstance(event, ClientUpdate)):
        for series, value in known(COUNTERS, totals):
            yield _Point(series, value, _nanos(event.ts))


def _nanos(ts: float) -> int:
    """UTC epoch nanoseconds. Raises `ValueError` for a time that OTLP can't hold."""
    nanos = int(ts * _NANOS)
    if not 0 <= nanos < 1 << 63:
        raise ValueError(f"a time of {ts} s after 1970 can't be exported")
    return nanos


def _resource_of(run: RunInfo) -> Resource:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    about = {
        "service.name": "fedsight",
        # One writer a series: server and sites count for themselves.
        "service.instance.id": run.run_id if run.client_id is None else f"{run.run_id}/{run.client_id}",
        "fedsight.run.id": run.run_id,
        "fedsight.project": run.project,
        "fedsight.algorithm": run.algorithm,
        "fedsight.framework": run.framework,
        "fedsight.client.id": run.client_id,
    }
    ours = Resource({name: value for name, value in about.items() if value is not None})
    # OTEL_RESOURCE_ATTRIBUTES, without the thread pool of Resource.create, which a process that ends no longer has.
    return OTELResourceDetector().detect().merge(ours)


def _metrics_data(points: Sequence[_Point], resource: Resource, run: RunInfo) -> MetricsData:
    """In the SDK's own form: a metric a series, its points in the order of the journal."""
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
        Sum,
    )
    from opentelemetry.sdk.metrics.export import Metric as SDKMetric
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    start = 0 if run.started_at is None else _nanos(run.started_at)  # 0: not known
    by_series: dict[Series, list[NumberDataPoint]] = {}
    for point in points:
        by_series.setdefault(point.series, []).append(
            NumberDataPoint(dict(point.attributes), start, point.time_unix_nano, point.value)
        )
    metrics = [
        SDKMetric(
            series.name,
            series.description,
            series.unit,
            Sum(data, AggregationTemporality.CUMULATIVE, is_monotonic=True) if series in COUNTERS else Gauge(data),
        )
        for series, data in by_series.items()
    ]
    scope = InstrumentationScope("fedsight", _version())
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _version() -> str:
    from fedsight import __version__

    return __version__
