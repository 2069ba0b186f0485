"""An OTLP receiver on a port of its own, which reads what it is sent and answers as it is told."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)


class Point(NamedTuple):
    """One data point of a request."""

    name: str
    unit: str
    attributes: dict[str, str]
    value: float
    time_unix_nano: int
    start_time_unix_nano: int
    is_monotonic: bool


class OTLPReceiver:
    """Listens between entering and leaving; the port stays the same.

    answer: status of the next answers. num_rejected: points that a 200 says were refused.
    refuses: a text that no request may hold.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.answer = 200
        self.num_rejected = 0
        self.refuses: str | None = None
        self.num_requests = 0
        self.taken: list[ExportMetricsServiceRequest] = []
        self.headers: dict[str, str] = {}
        self.paths: set[str] = set()

    def __enter__(self) -> OTLPReceiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.num_requests += 1
                receiver.paths.add(self.path)
                receiver.headers = {name.lower(): value for name, value in self.headers.items()}
                is_refused = receiver.refuses is not None and receiver.refuses.encode() in body
                status = 400 if is_refused else receiver.answer
                answer = ExportMetricsServiceResponse()
                if status == 200:
                    receiver.taken.append(ExportMetricsServiceRequest.FromString(body))
                    answer.partial_success.rejected_data_points = receiver.num_rejected
                content = answer.SerializeToString() if status == 200 else b"not now"
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def resources(self) -> list[dict[str, str]]:
        """The resource of each request taken."""
        return [_plain(each.resource.attributes) for request in self.taken for each in request.resource_metrics]

    def points(self) -> list[Point]:
        """All data points taken, in order."""
        return [
            Point(
                metric.name,
                metric.unit,
                _plain(point.attributes),
                point.as_double,
                point.time_unix_nano,
                point.start_time_unix_nano,
                metric.sum.is_monotonic,
            )
            for request in self.taken
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in [*metric.gauge.data_points, *metric.sum.data_points]
        ]

    def values(self, name: str, **attributes: str) -> list[float]:
        """The values of one series in order of time (dots of attribute names are written __), repeated points once."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        found = {
            point.time_unix_nano: point.value for point in self.points() if point[0] == name and point[2] == wanted
        }
        return [found[time] for time in sorted(found)]


def _plain(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}
