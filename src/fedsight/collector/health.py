"""Whether the collector and what it leans on are well."""

from __future__ import annotations

import time

import anyio
import anyio.to_thread
import msgspec

from fedsight import __version__
from fedsight.collector.parts import Parts
from fedsight.collector.sources.state import SourceStatus
from fedsight.store import queries

STORE_TIMEOUT_SEC = 5.0


class Component(msgspec.Struct, omit_defaults=True):
    """One part. status: "healthy", "degraded", "unhealthy", or "starting" while nothing is known of it; error: why."""

    status: str
    error: str | None = None


class Health(msgspec.Struct):
    """The whole. status: "unhealthy" where nothing can be read, "degraded" where any part is not healthy."""

    status: str
    timestamp: float
    name: str
    version: str
    components: dict[str, Component]


async def health_of(parts: Parts) -> Health:
    """How everything does at this moment."""
    store = await store_health(parts)
    components = {"store": store, "indexer": indexer_health(parts)}
    for source in parts.sources.statuses():
        name = source.name if source.name not in (*components, "redis", "influxdb") else f"source {source.name}"
        components[name] = _source_health(source)
    if parts.redis is not None:
        redis = parts.redis.state()
        components["redis"] = _of_service(redis.is_up, redis.last_error)
    if parts.mirror is not None:
        mirror = parts.mirror.state()
        components["influxdb"] = _of_service(mirror.is_up, mirror.last_error)
    is_bad = any(component.status in ("degraded", "unhealthy") for component in components.values())
    status = "unhealthy" if store.status == "unhealthy" else "degraded" if is_bad else "healthy"
    return Health(status, time.time(), "fedsight", __version__, components)


async def store_health(parts: Parts) -> Component:
    """Whether the store can be read."""
    try:
        with anyio.fail_after(STORE_TIMEOUT_SEC):
            await anyio.to_thread.run_sync(queries.status, parts.store, abandon_on_cancel=True)
    except TimeoutError:
        return Component("unhealthy", f"the index has not answered within {STORE_TIMEOUT_SEC:g} s")
    except Exception as error:
        return Component("unhealthy", f"the index can't be read: {type(error).__name__}: {error}")
    return Component("healthy")


def indexer_health(parts: Parts) -> Component:
    """Whether what arrives is stored."""
    if not parts.indexer.is_running:
        return Component("unhealthy", "the index is not written any more; restart the collector")
    if parts.indexer.stalled is not None:
        return Component("unhealthy", parts.indexer.stalled)
    return Component("healthy")


def _source_health(source: SourceStatus) -> Component:
    if source.state == "starting":
        return Component("starting")
    if source.state == "up":
        return Component("healthy")
    return Component("degraded" if source.state == "stale" else "unhealthy", source.last_error)


def _of_service(is_up: bool | None, error: str | None) -> Component:
    """A service that the collector can do without. An error while it is up is of a part of its work."""
    if is_up is None:
        return Component("starting", error)
    if not is_up:
        return Component("unhealthy", error)
    return Component("degraded" if error is not None else "healthy", error)
