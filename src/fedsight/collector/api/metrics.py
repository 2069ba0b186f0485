"""The collector for Prometheus to scrape."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from fedsight.collector.api.answers import AnyRequest, answers

PATH = "/metrics"


@get(
    PATH,
    sync_to_thread=True,
    tags=["service"],
    summary="Metrics of the collector itself, and the newest figures of the newest runs",
    responses=answers(str, "Prometheus' text format, or OpenMetrics where asked for.", media_type="text/plain"),
)
def get_metrics(request: AnyRequest) -> Response[bytes]:
    """Who may read may scrape; elsewhere than on this machine, give Prometheus a viewer's token (`authorization`)."""
    registry: CollectorRegistry = request.app.state.metrics_registry
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(
        encode(registry), headers={"content-type": content_type, "cache-control": "no-store", "vary": "accept"}
    )


HANDLERS: list[Any] = [get_metrics]
