"""Reads: what the dashboard, notebooks and scripts ask."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Response, get
from litestar.params import Parameter

from fedsight.collector.api import schemas
from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of, path_id, table_answer
from fedsight.collector.api.times import FORMS, time_of
from fedsight.collector.errors import Refused
from fedsight.store import queries

RunId = Annotated[str, Parameter(description="The run's id, percent-encoded.")]
ClientId = Annotated[str, Parameter(description="The client's id, percent-encoded.")]
Limit = Annotated[int, Parameter(ge=1, le=10_000, description="Rows in one answer at most.")]
Cursor = Annotated[str | None, Parameter(description="`next` of the page before.")]
Order = Annotated[Literal["asc", "desc"], Parameter(description="Ascending or descending.")]
FromRound = Annotated[int | None, Parameter(query="from", description="First round (or step) wanted, itself included.")]
ToRound = Annotated[int | None, Parameter(query="to", description="Last round (or step) wanted, itself included.")]
FromTime = Annotated[
    str | None, Parameter(query="from", description=f"Earliest time wanted, itself included: {FORMS}.")
]
ToTime = Annotated[str | None, Parameter(query="to", description=f"Latest time wanted, itself included: {FORMS}.")]


@get(
    "/api/v1/runs",
    sync_to_thread=True,
    tags=["runs"],
    summary="All runs",
    responses=answers(schemas.RunsTable, "Runs, newest first unless sorted otherwise.", 400),
)
def list_runs(
    request: AnyRequest,
    project: Annotated[str | None, Parameter(description="Only runs of this project.")] = None,
    run_state: Annotated[
        Literal["running", "finished", "failed", "killed", "lost"] | None,
        Parameter(query="state", description="Only runs in this state."),
    ] = None,
    sort: Annotated[str | None, Parameter(description="Column to sort by; the start time when absent.")] = None,
    order: Order = "desc",
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """The runs that the collector knows."""
    table = queries.runs(
        parts_of(request).store, project=project, state=run_state, sort=sort, order=order, limit=limit, cursor=cursor
    )
    return table_answer(request, table)


@get(
    "/api/v1/runs/{run_id:str}",
    sync_to_thread=True,
    tags=["runs"],
    summary="One run",
    responses=answers(schemas.RunAnswer, "The run, its configuration, its journals and its metrics' names.", 404),
)
def get_run(request: AnyRequest, run_id: RunId) -> Response[bytes]:
    """One run: its row, what it was started with, and which journals tell of it."""
    run_id = path_id(run_id, "run_id")
    detail = queries.run(parts_of(request).store, run_id)
    if detail is None:
        raise Refused(404, f"There is no run {run_id!r}.", field="run_id")
    return json_answer(request, detail)


@get(
    "/api/v1/runs/{run_id:str}/rounds",
    sync_to_thread=True,
    tags=["runs"],
    summary="Rounds of a run",
    responses=answers(schemas.RoundsTable, "Rounds, ascending.", 400, 404),
)
def list_rounds(
    request: AnyRequest,
    run_id: RunId,
    from_: FromRound = None,
    to: ToRound = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """What each round came to."""
    table = queries.rounds(
        parts_of(request).store, path_id(run_id, "run_id"), from_=from_, to=to, limit=limit, cursor=cursor
    )
    return table_answer(request, table)


@get(
    "/api/v1/runs/{run_id:str}/clients",
    sync_to_thread=True,
    tags=["clients"],
    summary="Clients of a run",
    responses=answers(schemas.ClientsTable, "Clients with their last known values.", 400, 404),
)
def list_clients(
    request: AnyRequest,
    run_id: RunId,
    client_id: Annotated[
        list[str] | None, Parameter(description="Only these clients; may be given several times.")
    ] = None,
    status: Annotated[
        Literal["active", "idle", "dropped", "failed", "left", "joined"] | None,
        Parameter(description="Only clients of this status."),
    ] = None,
    sort: Annotated[str, Parameter(description="Column to sort by.")] = "client_id",
    order: Order = "asc",
    limit: Limit = 1000,
    cursor: Cursor = None,
    sparkline: Annotated[
        str | None,
        Parameter(description="A metric; adds the column `sparkline`, its last 30 values, oldest first."),
    ] = None,
) -> Response[bytes]:
    """The clients of a run, each with the last value of everything it told."""
    table = queries.clients(
        parts_of(request).store,
        path_id(run_id, "run_id"),
        client_ids=client_id,
        status=status,
        sort=sort,
        order=order,
        limit=limit,
        cursor=cursor,
        sparkline=sparkline,
        measured=True,
    )
    return table_answer(request, table)


@get(
    "/api/v1/runs/{run_id:str}/clients/{client_id:str}",
    sync_to_thread=True,
    tags=["clients"],
    summary="One client",
    responses=answers(schemas.ClientAnswer, "The client's row.", 404),
)
def get_client(request: AnyRequest, run_id: RunId, client_id: ClientId) -> Response[bytes]:
    """One client of a run."""
    client_id = path_id(client_id, "client_id")
    table = queries.clients(
        parts_of(request).store, path_id(run_id, "run_id"), client_ids=[client_id], limit=1, measured=True
    )
    rows = table.columns
    if not rows["client_id"]:
        raise Refused(404, f"The run has no client {client_id!r}.", field="client_id")
    client = {name: values[0] for name, values in rows.items()}
    return json_answer(request, {"as_of": table.as_of, "client": client}, as_of=table.as_of)


@get(
    "/api/v1/runs/{run_id:str}/updates",
    sync_to_thread=True,
    tags=["clients"],
    summary="Client updates",
    responses=answers(schemas.UpdatesTable, "Updates by round, then client; one row for a client and round.", 400, 404),
)
def list_updates(
    request: AnyRequest,
    run_id: RunId,
    client_id: Annotated[str | None, Parameter(description="Only this client's.")] = None,
    from_: FromRound = None,
    to: ToRound = None,
    fields: Annotated[str | None, Parameter(description="Only these columns, separated by commas.")] = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """Every client's contribution to every round."""
    table = queries.updates(
        parts_of(request).store,
        path_id(run_id, "run_id"),
        client_id=client_id,
        from_=from_,
        to=to,
        fields=names(fields),
        limit=limit,
        cursor=cursor,
        measured=True,
    )
    return table_answer(request, table)


@get(
    "/api/v1/runs/{run_id:str}/series",
    sync_to_thread=True,
    tags=["metrics"],
    summary="Curves",
    responses=answers(schemas.SeriesTable, "The index column and one column a metric, or the band's.", 400, 404),
)
def get_series(
    request: AnyRequest,
    run_id: RunId,
    of: Annotated[
        Literal["global", "client", "clients", "step"],
        Parameter(
            query="scope",
            description="`global`: the model's; `client`: one client's; `clients`: quantiles over the clients of each "
            "round; `step`: step-level points.",
        ),
    ],
    metric: Annotated[str, Parameter(description="Names of metrics, separated by commas; one for clients and step.")],
    client_id: Annotated[str | None, Parameter(description="Whose, for the scopes `client` and `step`.")] = None,
    from_: FromRound = None,
    to: ToRound = None,
    max_points: Annotated[
        int | None,
        Parameter(ge=2, description="Thin the curve to about so many points; each bucket's extremes stay."),
    ] = None,
) -> Response[bytes]:
    """Metrics over rounds or steps."""
    table = queries.series(
        parts_of(request).store,
        path_id(run_id, "run_id"),
        scope=of,
        metrics=names(metric) or [],
        client_id=client_id,
        from_=from_,
        to=to,
        max_points=max_points,
    )
    return table_answer(request, table)


@get(
    "/api/v1/runs/{run_id:str}/metrics",
    sync_to_thread=True,
    tags=["metrics"],
    summary="Names of metrics",
    responses=answers(schemas.MetricNamesAnswer, "Names with at least one value.", 404),
)
def list_metrics(request: AnyRequest, run_id: RunId) -> Response[bytes]:
    """Which metrics a run has."""
    found = queries.metric_names(parts_of(request).store, path_id(run_id, "run_id"))
    return json_answer(request, found, as_of=found.as_of)


@get(
    "/api/v1/runs/{run_id:str}/events",
    sync_to_thread=True,
    tags=["events"],
    summary="Events of a run",
    responses=answers(schemas.EventsTable, "Everything but updates, metrics and samples, newest first.", 400, 404),
)
def list_events(
    request: AnyRequest,
    run_id: RunId,
    kind: Annotated[list[str] | None, Parameter(description="Only events of this kind; may be repeated.")] = None,
    exclude_kind: Annotated[list[str] | None, Parameter(description="None of this kind; may be repeated.")] = None,
    client_id: Annotated[str | None, Parameter(description="Only this client's.")] = None,
    from_: FromTime = None,
    to: ToTime = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """What happened: starts and ends, dropouts, notes, checkpoints, and what Fedsight itself has to say."""
    table = queries.events(
        parts_of(request).store,
        path_id(run_id, "run_id"),
        kind=kind,
        exclude_kind=exclude_kind,
        client_id=client_id,
        from_=time_of("from", from_),
        to=time_of("to", to),
        limit=limit,
        cursor=cursor,
    )
    return table_answer(request, table)


@get(
    "/api/v1/dead-letters",
    sync_to_thread=True,
    tags=["events"],
    summary="Lines that are no valid events",
    responses=answers(schemas.DeadLettersTable, "Where they stand and why they are none.", 400),
)
def list_dead_letters(
    request: AnyRequest,
    run_id: Annotated[str | None, Parameter(description="Only this run's.")] = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """Lines of journals that could not be understood. They stay in the journal."""
    table = queries.dead_letters(parts_of(request).store, run_id=run_id, limit=limit, cursor=cursor)
    return table_answer(request, table)


def names(text: str | None) -> list[str] | None:
    """Names that are separated by commas."""
    if text is None:
        return None
    return [name for name in (part.strip() for part in text.split(",")) if name]


HANDLERS: list[Any] = [
    list_runs,
    get_run,
    list_rounds,
    list_clients,
    get_client,
    list_updates,
    get_series,
    list_metrics,
    list_events,
    list_dead_letters,
]
