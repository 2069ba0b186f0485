"""What systems say of themselves, and how sources do: over all runs, and outside of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.params import Parameter

from fedsight.collector.api.answers import AnyRequest, answers, parts_of, table_answer
from fedsight.collector.api.reads import Cursor, FromTime, Limit, ToTime
from fedsight.collector.api.schemas import Number
from fedsight.collector.api.times import time_of
from fedsight.store import queries
from fedsight.store.queries import Table

Level = Literal["info", "warning", "error"]
_LEVELS: dict[str, Level] = {"up": "info", "stale": "warning", "down": "error"}
"""How bad a source's state is."""


class SystemColumns(msgspec.Struct):
    """One row an event. A source's state has the source as `component`, the state as `event`, its error as `message`."""

    ts: list[Number]
    kind: list[Literal["log", "source_state"]]
    component: list[str]
    event: list[str]
    level: list[Level]
    message: list[str | None]
    run_id: list[str | None]
    client_id: list[str | None]
    extra: list[dict[str, Any] | None]
    journal: list[str]
    offset: list[int]


class SystemTable(msgspec.Struct):
    """System events, newest first."""

    as_of: str
    next: str | None
    columns: SystemColumns


@get(
    "/api/v1/system/events",
    sync_to_thread=True,
    tags=["system"],
    summary="System events",
    responses=answers(SystemTable, "What systems said, and how sources did, newest first.", 400),
)
def list_system_events(
    request: AnyRequest,
    kind: Annotated[
        Literal["log", "source_state"] | None, Parameter(description="Only log lines, or only sources' states.")
    ] = None,
    component: Annotated[str | None, Parameter(description="Only log lines of this component.")] = None,
    event: Annotated[str | None, Parameter(description="Only log lines of this name, as `link_down`.")] = None,
    level: Annotated[Level | None, Parameter(description="Only log lines of this level.")] = None,
    source: Annotated[str | None, Parameter(description="Only states of this source.")] = None,
    run_id: Annotated[str | None, Parameter(description="Only of this run.")] = None,
    from_: FromTime = None,
    to: ToTime = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """Components that started, stopped, recovered or failed, changed configurations, and sources up, stale and down."""
    found = queries.told(
        parts_of(request).store,
        ["log", "source_state"] if kind is None else [kind],
        run_id=run_id,
        given={"component": component, "event": event, "level": level, "source": source},
        from_=time_of("from", from_),
        to=time_of("to", to),
        limit=limit,
        cursor=cursor,
    )
    return table_answer(request, _table(found))


def _table(found: Table) -> Table:
    rows = found.columns
    told: list[dict[str, Any]] = rows["data"]
    columns: dict[str, list[Any]] = {
        "ts": rows["ts"],
        "kind": rows["kind"],
        "component": [line.get("component", line.get("source")) for line in told],
        "event": [line.get("event", line.get("state")) for line in told],
        "level": [_LEVELS.get(line.get("state", ""), line.get("level", "info")) for line in told],
        "message": [line.get("message", line.get("error")) for line in told],
        "run_id": rows["run_id"],
        "client_id": rows["client_id"],
        "extra": [line.get("extra") for line in told],
        "journal": rows["journal"],
        "offset": rows["offset"],
    }
    return Table(found.as_of, columns, found.next)


HANDLERS: list[Any] = [list_system_events]
