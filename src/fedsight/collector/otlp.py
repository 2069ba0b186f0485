"""OTLP metrics as samples: what anything that is instrumented with OpenTelemetry reports, in our words.

Format: opentelemetry-proto, `ExportMetricsServiceRequest`, as protobuf or as protobuf's JSON.
A node is a resource ("<service.name>@<host.name>"), a key is a metric's name with its attributes, as in `http.requests{code=200}`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from fedsight.events import Sample

MAX_KEY_CHARS = 512
MAX_NODE_CHARS = 200
MAX_METRICS_EACH = 500
"""In a sample: its line in the journal has 1 MiB at most."""

NO_RECORDED_VALUE = 1
"""Of a point's flags: it says that there is no value."""

_IN_KEY = re.compile(r"[,={}]")
_NANOS = 1e9


class Unreadable(ValueError):
    """The body is no OTLP request; the message says why not."""


class Node(msgspec.Struct):
    """What one resource reports. num_points: data points; num_rejected: of them, those that can't be kept."""

    name: str
    samples: list[Sample]
    num_points: int
    num_rejected: int


def nodes_of(body: bytes, *, is_json: bool) -> list[Node]:
    """The samples of a request, by node.

    Raises `Unreadable`.
    """
    request = ExportMetricsServiceRequest()
    try:
        if is_json:
            # Fields of a newer version are passed over, as OTLP asks.
            json_format.Parse(body, request, ignore_unknown_fields=True, max_recursion_depth=50)
        else:
            request.ParseFromString(body)
    except (json_format.ParseError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error) or type(error).__name__) from error
    now = time.time()
    return [_node(resource, now) for resource in request.resource_metrics]


def _node(resource: Any, now: float) -> Node:
    told = {each.key: _text(each.value) for each in resource.resource.attributes}
    service, host = told.get("service.name", ""), told.get("host.name", "")
    name = f"{service}@{host}" if service and host else service or host or "unknown_service"
    by_time: dict[float, dict[str, float]] = {}
    num_points = num_rejected = 0
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in _points(metric):
                num_points += 1
                if any(len(key) > MAX_KEY_CHARS for key, _ in point.values):
                    num_rejected += 1
                    continue
                # A time of 0 is "unknown".
                ts = point.time_ns / _NANOS if point.time_ns else now
                by_time.setdefault(ts, {}).update(point.values)
    samples = [
        Sample(ts=ts, node=name[:MAX_NODE_CHARS], metrics=part)
        for ts, metrics in sorted(by_time.items())
        for part in _parts(metrics)
    ]
    return Node(name[:MAX_NODE_CHARS], samples, num_points, num_rejected)


def _parts(metrics: dict[str, float]) -> Iterator[dict[str, float]]:
    items = list(metrics.items())
    for first in range(0, len(items), MAX_METRICS_EACH):
        yield dict(items[first : first + MAX_METRICS_EACH])


class _Point(NamedTuple):
    time_ns: int
    values: list[tuple[str, float]]


def _points(metric: Any) -> Iterator[_Point]:
    """The data points of a metric; those without a value have no values."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    for point in getattr(metric, kind).data_points:
        if point.flags & NO_RECORDED_VALUE:
            yield _Point(point.time_unix_nano, [])
        elif kind in ("gauge", "sum"):
            which = point.WhichOneof("value")
            value = [] if which is None else [(_key(metric.name, point), float(getattr(point, which)))]
            yield _Point(point.time_unix_nano, value)
        else:
            yield _Point(point.time_unix_nano, list(_of_distribution(metric.name, kind, point)))


def _of_distribution(name: str, kind: str, point: Any) -> Iterator[tuple[str, float]]:
    """A histogram or summary in few numbers: its buckets are not kept."""
    yield _key(f"{name}.count", point), float(point.count)
    if kind == "summary":
        yield _key(f"{name}.sum", point), point.sum
        for quantile in point.quantile_values:
            yield _key(name, point, (("quantile", f"{quantile.quantile:g}"),)), quantile.value
        return
    for field in ("sum", "min", "max"):
        if point.HasField(field):
            yield _key(f"{name}.{field}", point), getattr(point, field)


def _key(name: str, point: Any, more: Iterable[tuple[str, str]] = ()) -> str:
    """A metric's key: its name, and its attributes in order."""
    attributes = sorted([*((each.key, _text(each.value)) for each in point.attributes), *more])
    if not attributes:
        return _quoted(name)
    return _quoted(name) + "{" + ",".join(f"{_quoted(k)}={_quoted(v)}" for k, v in attributes) + "}"


def _quoted(text: str) -> str:
    return _IN_KEY.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _text(value: Any) -> str:
    """An attribute's value as text."""
    which = value.WhichOneof("value")
    if which is None:
        return ""
    told = getattr(value, which)
    if which == "bool_value":
        return "true" if told else "false"
    if which in ("string_value", "int_value", "double_value"):
        return str(told)
    return str(json_format.MessageToJson(value, indent=None))
