"""`/api/v1/fl/metrics`: a run's figures in the shape that the FLOPY-NET text gives, with what it normalises."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import Parameter

from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of
from fedsight.collector.api.reads import Cursor, FromTime, ToTime
from fedsight.collector.api.schemas import Number
from fedsight.collector.api.times import iso, time_of
from fedsight.collector.errors import Refused
from fedsight.store import queries


class Timerange(msgspec.Struct, rename={"from_": "from"}):
    """The times asked for, ISO 8601; null where open."""

    from_: str | None
    to: str | None


class GlobalMetrics(msgspec.Struct):
    """Columns of equal length, one entry a round; and of the run, its last figures and the slope of its accuracy."""

    rounds: list[int]
    global_accuracy: list[Number]
    global_loss: list[Number]
    participants_per_round: list[int | None]
    round_duration_seconds: list[Number]
    accuracy: Number
    loss: Number
    convergence_rate: float | None
    convergence_window: int


class ClientMetrics(msgspec.Struct):
    """One client's part: over the rounds asked for, and its last values in them."""

    participation_rate: float | None
    avg_local_accuracy: Number
    avg_training_time: Number
    data_contribution: Number
    local_accuracy: Number
    local_loss: Number
    training_time: Number
    data_samples: Number
    model_updates: int


class FlMetricsAnswer(msgspec.Struct):
    """A run's figures. `timestamp`: when it was last heard of. `next`: cursor of the following rounds and clients."""

    as_of: str
    experiment_id: str
    run_id: str
    timestamp: str | None
    round_number: int | None
    timerange: Timerange
    global_metrics: GlobalMetrics
    client_metrics: dict[str, ClientMetrics]
    next: str | None


@get(
    "/api/v1/fl/metrics",
    sync_to_thread=True,
    tags=["flopynet"],
    summary="A run's figures",
    responses=answers(FlMetricsAnswer, "Rounds as columns, and each client's part in them.", 400, 404),
)
def get_fl_metrics(
    request: AnyRequest,
    experiment_id: Annotated[str | None, Parameter(description="The run's id; without one, the newest run.")] = None,
    run_id: Annotated[str | None, Parameter(description="The same, by our name for it.")] = None,
    from_: FromTime = None,
    to: ToTime = None,
    window: Annotated[
        int, Parameter(ge=3, le=10_000, description="`convergence_rate` is taken over so many of the last rounds.")
    ] = 10,
    limit: Annotated[
        int, Parameter(ge=1, le=10_000, description="Rounds, and clients, in one answer at most.")
    ] = 10_000,
    cursor: Cursor = None,
) -> Response[bytes]:
    """Rounds that ended within the times asked for, what each client contributed, and how fast the accuracy moves.

    `convergence_rate` is the least-squares slope of the global accuracy per round, null for less than three rounds.
    """
    store = parts_of(request).store
    if experiment_id is not None and run_id is not None and experiment_id != run_id:
        raise Refused(400, f"experiment_id is {experiment_id!r} and run_id is {run_id!r}; give one.", field="run_id")
    start, end = time_of("from", from_), time_of("to", to)
    wanted = run_id if run_id is not None else experiment_id
    if wanted is None:
        wanted = queries.newest_run(store)
    if wanted is None:
        raise Refused(404, "There is no run yet.", field="run_id")
    found = queries.fl_metrics(store, wanted, from_=start, to=end, window=window, limit=limit, cursor=cursor)
    return json_answer(request, _answer(found, start, end), as_of=found.as_of)


def _answer(found: queries.FlMetrics, start: float | None, end: float | None) -> FlMetricsAnswer:
    rounds, clients = found.rounds, found.clients
    return FlMetricsAnswer(
        as_of=found.as_of,
        experiment_id=found.run_id,
        run_id=found.run_id,
        timestamp=iso(found.last_event_at),
        round_number=found.current_round,
        timerange=Timerange(iso(start), iso(end)),
        global_metrics=GlobalMetrics(
            rounds=rounds["round"],
            global_accuracy=rounds["global_accuracy"],
            global_loss=rounds["global_loss"],
            participants_per_round=rounds["num_completed"],
            round_duration_seconds=rounds["round_duration_sec"],
            accuracy=found.accuracy,
            loss=found.loss,
            convergence_rate=found.slope,
            convergence_window=found.num_slope_points,
        ),
        client_metrics=dict(zip(clients["client_id"], map(_client, *_columns(clients)), strict=True)),
        next=found.next,
    )


_CLIENT_COLUMNS = (
    "participation_rate",
    "avg_local_accuracy",
    "avg_training_time",
    "num_samples",
    "local_accuracy",
    "local_loss",
    "train_time_sec",
    "num_samples",
    "model_updates",
)
"""Of each field of `ClientMetrics`, in order, the column that it comes from."""


def _columns(clients: dict[str, list[Any]]) -> list[list[Any]]:
    return [clients[name] for name in _CLIENT_COLUMNS]


def _client(*values: Any) -> ClientMetrics:
    return ClientMetrics(*values)


HANDLERS: list[Any] = [get_fl_metrics]
