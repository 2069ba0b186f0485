"""Health, for people, load balancers and orchestrators."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import MediaType, Response, get
from litestar.openapi.datastructures import ResponseSpec

from fedsight.collector.api.answers import AnyRequest, answers, parts_of
from fedsight.collector.health import Component, Health, health_of, indexer_health, store_health

PATH = "/health"
PROBES = ("/health/live", "/health/ready")
"""Open to everybody: an orchestrator's probes come from anywhere, send no token, and are told nothing else."""

_HEADERS = {"cache-control": "no-store", "vary": "accept"}


@get(
    PATH,
    tags=["service"],
    summary="How the collector and its parts do",
    responses={
        **answers(Health, "Healthy or degraded."),
        503: ResponseSpec(Health, description="Unhealthy: nothing can be read.", generate_examples=False),
    },
)
async def get_health(request: AnyRequest) -> Response[bytes]:
    """Who asks for JSON is told of every component; everybody else gets the word `ok`, as HiveWatch has it."""
    health = await health_of(parts_of(request))
    status_code = 503 if health.status == "unhealthy" else 200
    if "application/json" in request.headers.get("accept", ""):
        body = msgspec.json.encode(health)
        return Response(body, status_code=status_code, media_type=MediaType.JSON, headers=_HEADERS)
    word = b"unhealthy" if status_code == 503 else b"ok"
    return Response(word, status_code=status_code, media_type=MediaType.TEXT, headers=_HEADERS)


@get(
    PROBES[0],
    tags=["service"],
    summary="Whether the collector lives",
    responses={
        200: ResponseSpec(Component, description="It answers.", generate_examples=False),
        503: ResponseSpec(Component, description="It must be restarted.", generate_examples=False),
    },
    security=[{}],
)
async def get_live(request: AnyRequest) -> Response[bytes]:
    """503 says: a restart would help."""
    return _probe(parts_of(request).indexer.is_running, "live")


@get(
    PROBES[1],
    tags=["service"],
    summary="Whether the collector can serve",
    responses={
        200: ResponseSpec(Component, description="It can.", generate_examples=False),
        503: ResponseSpec(Component, description="It can't at present.", generate_examples=False),
    },
    security=[{}],
)
async def get_ready(request: AnyRequest) -> Response[bytes]:
    """503 says: send requests elsewhere for now. What is not a part of the collector itself does not count."""
    parts = parts_of(request)
    store = await store_health(parts)
    return _probe(store.status == "healthy" and indexer_health(parts).status == "healthy", "ready")


def _probe(is_so: bool, word: str) -> Response[bytes]:
    body = msgspec.json.encode({"status": word if is_so else f"not {word}"})
    return Response(body, status_code=200 if is_so else 503, media_type=MediaType.JSON, headers=_HEADERS)


HANDLERS: list[Any] = [get_health, get_live, get_ready]
