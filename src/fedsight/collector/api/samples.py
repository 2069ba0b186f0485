"""Reads of what resource monitors measured."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from litestar import Response, get
from litestar.params import Parameter

from fedsight.collector.api import schemas
from fedsight.collector.api.answers import AnyRequest, answers, parts_of, path_id, table_answer
from fedsight.collector.api.reads import Cursor, FromTime, Limit, RunId, ToTime, names
from fedsight.collector.api.times import time_of
from fedsight.store import queries

MetricKeys = Annotated[
    str, Parameter(description="Keys of metrics, separated by commas (those within braces belong to a key).")
]
MaxPoints = Annotated[
    int | None, Parameter(ge=2, description="Thin the curve to about so many points; each bucket's extremes stay.")
]
Node = Annotated[str | None, Parameter(description="Of this node; needed where there are several.")]

_COMMA = re.compile(r",(?![^{]*\})")


@get(
    "/api/v1/nodes",
    sync_to_thread=True,
    tags=["samples"],
    summary="What is measured",
    responses=answers(schemas.NodesTable, "Nodes with their last known values, the most lately heard of first.", 400),
)
def list_nodes(
    request: AnyRequest,
    run_id: Annotated[str | None, Parameter(description="Only of this run.")] = None,
    client_id: Annotated[str | None, Parameter(description="Only this client's.")] = None,
    node: Annotated[str | None, Parameter(description="Only of this name.")] = None,
    journal: Annotated[str | None, Parameter(description="Only what this journal tells of.")] = None,
    role: Annotated[
        Literal["server", "client", "monitor", "source"] | None,
        Parameter(description="Only what such journals tell of: a machine's `monitor`, a polled `source`."),
    ] = None,
    fields: Annotated[str | None, Parameter(description="Only these columns, separated by commas.")] = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """Every node that has samples: a row for each journal that tells of it."""
    table = queries.nodes(
        parts_of(request).store,
        run_id=run_id,
        client_id=client_id,
        node=node,
        journal=journal,
        role=role,
        fields=names(fields),
        limit=limit,
        cursor=cursor,
    )
    return table_answer(request, table)


@get(
    "/api/v1/runs/{run_id:str}/samples",
    sync_to_thread=True,
    tags=["samples"],
    summary="Resources over time",
    responses=answers(schemas.SamplesTable, "The column `ts` and one column a metric.", 400, 404),
)
def get_run_samples(
    request: AnyRequest,
    run_id: RunId,
    metric: MetricKeys,
    client_id: Annotated[str | None, Parameter(description="Whose monitor; the server's own when absent.")] = None,
    node: Node = None,
    from_: FromTime = None,
    to: ToTime = None,
    max_points: MaxPoints = None,
) -> Response[bytes]:
    """What the monitor of a client, or of the server, measured."""
    table = queries.samples(
        parts_of(request).store,
        path_id(run_id, "run_id"),
        client_id=client_id,
        node=node,
        metrics=metric_keys(metric),
        from_=time_of("from", from_),
        to=time_of("to", to),
        max_points=max_points,
    )
    return table_answer(request, table)


@get(
    "/api/v1/samples",
    sync_to_thread=True,
    tags=["samples"],
    summary="Resources of a node outside of runs",
    responses=answers(schemas.SamplesTable, "The column `ts` and one column a metric.", 400),
)
def get_samples(
    request: AnyRequest,
    node: Annotated[str, Parameter(description="Of this node.")],
    metric: MetricKeys,
    from_: FromTime = None,
    to: ToTime = None,
    max_points: MaxPoints = None,
) -> Response[bytes]:
    """What a monitor measured that belongs to no run."""
    table = queries.samples(
        parts_of(request).store,
        None,
        node=node,
        metrics=metric_keys(metric),
        from_=time_of("from", from_),
        to=time_of("to", to),
        max_points=max_points,
    )
    return table_answer(request, table)


def metric_keys(text: str) -> list[str]:
    """Keys separated by commas, without doubles; `a{b=1,c=2}` is one."""
    return list(dict.fromkeys(name for part in _COMMA.split(text) if (name := part.strip())))


HANDLERS: list[Any] = [list_nodes, get_run_samples, get_samples]
