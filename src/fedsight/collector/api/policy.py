"""What policy engines decided, noticed and scored."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import Parameter

from fedsight.collector.api.answers import AnyRequest, answers, parts_of, table_answer
from fedsight.collector.api.reads import Cursor, FromTime, Limit, ToTime
from fedsight.collector.api.schemas import Number
from fedsight.collector.api.times import time_of
from fedsight.events import Policy
from fedsight.store import queries
from fedsight.store.queries import Table

_FIELDS = tuple(name for name in Policy.__struct_fields__ if name not in ("ts", "client_id", "metrics", "extra"))


class PolicyColumns(msgspec.Struct):
    """One row an event. `id` is the engine's own; `metrics` its numbers, `extra` all else that it told."""

    ts: list[Number]
    type: list[str]
    source: list[str | None]
    id: list[str | None]
    component: list[str | None]
    policy_id: list[str | None]
    action: list[str | None]
    result: list[str | None]
    reason: list[str | None]
    trust_score: list[Number]
    client_id: list[str | None]
    run_id: list[str | None]
    metrics: list[dict[str, Number] | None]
    extra: list[dict[str, Any] | None]
    journal: list[str]
    offset: list[int]


class PolicyTable(msgspec.Struct):
    """Policy events, newest first."""

    as_of: str
    next: str | None
    columns: PolicyColumns


@get(
    "/api/v1/policy/events",
    sync_to_thread=True,
    tags=["policy"],
    summary="Policy events",
    responses=answers(PolicyTable, "Decisions, violations, trust scores and audit records, newest first.", 400),
)
def list_policy_events(
    request: AnyRequest,
    type_: Annotated[
        str | None, Parameter(query="type", description="Only such, as `decision` or `violation`.")
    ] = None,
    source: Annotated[str | None, Parameter(description="Only of this source.")] = None,
    component: Annotated[str | None, Parameter(description="Only about this component.")] = None,
    policy_id: Annotated[str | None, Parameter(description="Only of this policy.")] = None,
    result: Annotated[str | None, Parameter(description="Only with this result.")] = None,
    client_id: Annotated[str | None, Parameter(description="Only about this client.")] = None,
    run_id: Annotated[str | None, Parameter(description="Only of this run.")] = None,
    from_: FromTime = None,
    to: ToTime = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """What was decided about whom, and why: the audit trail, and the history of trust scores."""
    given = {
        "type": type_,
        "source": source,
        "component": component,
        "policy_id": policy_id,
        "result": result,
        "client_id": client_id,
    }
    found = queries.told(
        parts_of(request).store,
        ["policy"],
        run_id=run_id,
        given=given,
        from_=time_of("from", from_),
        to=time_of("to", to),
        limit=limit,
        cursor=cursor,
    )
    return table_answer(request, _table(found))


def _table(found: Table) -> Table:
    rows = found.columns
    told: list[dict[str, Any]] = rows["data"]
    columns: dict[str, list[Any]] = {"ts": rows["ts"]}
    columns |= {name: [line.get(name) for line in told] for name in _FIELDS}
    columns |= {"client_id": rows["client_id"], "run_id": rows["run_id"]}
    columns |= {name: [line.get(name) for line in told] for name in ("metrics", "extra")}
    columns |= {"journal": rows["journal"], "offset": rows["offset"]}
    return Table(found.as_of, columns, found.next)


HANDLERS: list[Any] = [list_policy_events]
