"""The systems that the collector asks, how they do, and what it is told to do: its configuration in force."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get

from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of
from fedsight.collector.settings import ConfigValue
from fedsight.collector.sources.config import masked


class SourceAnswer(msgspec.Struct):
    """One source. state: starting, up, down (the last poll failed) or stale (no news for three intervals)."""

    name: str
    kind: str
    url: str
    state: str
    since: float | None
    interval_sec: float
    timeout_sec: float
    last_success_at: float | None
    last_error: str | None
    last_error_at: float | None
    last_duration_sec: float | None
    next_poll_at: float | None
    clock_error: str | None
    num_cycles: int
    num_successes: int
    num_failures: int
    num_events: int


class SourcesAnswer(msgspec.Struct):
    """All sources, by name."""

    sources: list[SourceAnswer]


class ConfigAnswer(msgspec.Struct):
    """Every value in force and where it comes from; secrets are masked."""

    values: list[ConfigValue]
    sources: list[dict[str, Any]]


@get(
    "/api/v1/sources",
    tags=["sources"],
    summary="The systems that are asked, and how they do",
    responses=answers(SourcesAnswer, "All sources."),
)
async def get_sources(request: AnyRequest) -> Response[bytes]:
    """State, last success, last error and counts of every source."""
    statuses = parts_of(request).sources.statuses()
    return json_answer(
        request, SourcesAnswer([msgspec.convert(s, SourceAnswer, from_attributes=True) for s in statuses])
    )


@get(
    "/api/v1/config",
    tags=["service"],
    summary="The configuration in force",
    responses=answers(ConfigAnswer, "What is in force, and where it comes from."),
)
async def get_config(request: AnyRequest) -> Response[bytes]:
    """Flags, environment, `.env`, file and defaults, as they add up. No secret is shown."""
    settings = parts_of(request).settings
    return json_answer(
        request, ConfigAnswer(list(settings.in_force), [masked(table) for table in settings.source_tables])
    )


HANDLERS: list[Any] = [get_sources, get_config]
