"""What NVFLARE's server sees of a job, as events of a run: rounds, tasks, results, aggregates, clients that come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedsight.integrations.nvflare.analytics import COMPONENT
from fedsight.integrations.nvflare.payload import payload_bytes
from fedsight.run import Run


class _Task(msgspec.Struct):
    """A task that a client is at."""

    name: str
    round: int | None
    num_bytes: int | None
    given_at_sec: float


class Federation:
    """Takes the server's events in, from whichever thread they come.

    accuracy_key, loss_key: which of the clients' and the aggregate's metrics are the accuracy and the loss.
    """

    def __init__(self, run: Run, accuracy_key: str | None, loss_key: str | None) -> None:
        self._run = run
        self._names = {accuracy_key: "accuracy", loss_key: "loss"}
        self._lock = threading.RLock()
        self._clients: set[str] = set()
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._members: set[str] = set()
        self._open_round: int | None = None
        self._aggregation_began_sec: float | None = None
        self.fatal_error: str | None = None
        self._take = {
            AppEventType.ROUND_STARTED: self._round_started,
            EventType.AFTER_TASK_DATA_FILTER: self._task_given,
            EventType.BEFORE_PROCESS_SUBMISSION: self._result_came,
            AppEventType.AFTER_CONTRIBUTION_ACCEPT: self._contribution_judged,
            AppEventType.BEFORE_AGGREGATION: self._aggregation_begins,
            AppEventType.AFTER_AGGREGATION: self._aggregated,
            AppEventType.ROUND_DONE: self._round_done,
            EventType.START_WORKFLOW: self._workflow_started,
            EventType.END_WORKFLOW: self._workflow_ended,
            EventType.CLIENT_DISCONNECTED: self._client_left,
            EventType.CLIENT_RECONNECTED: self._client_is_back,
            EventType.FATAL_SYSTEM_ERROR: self._failed,
        }

    def take(self, event_type: str, fl_ctx: FLContext) -> None:
        """Take one of the server's events in; others are passed over."""
        if take := self._take.get(event_type):
            with self._lock:
                take(fl_ctx)

    def meet(self, clients: Iterable[str]) -> None:
        """These take part; who was not known yet has joined."""
        with self._lock:
            for client in clients:
                if client not in self._clients:
                    self._clients.add(client)
                    self._run.log_client_event("joined", client)

    def end(self) -> None:
        """The job is over: no round stays open."""
        with self._lock:
            self._close_round()

    # ── rounds ────────────────────────────────────────────────────────────────────────────────

    def _round_started(self, fl_ctx: FLContext) -> None:
        number = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        if isinstance(number, int):
            self._begin_round(number)

    def _begin_round(self, number: int) -> None:
        if number == self._open_round:
            return
        self._close_round()
        self._open_round = number
        self._members = set()
        self._run.round_start(number)

    def _aggregation_begins(self, fl_ctx: FLContext) -> None:
        self._aggregation_began_sec = time.monotonic()

    def _aggregated(self, fl_ctx: FLContext) -> None:
        took_sec = None
        if self._aggregation_began_sec is not None:
            took_sec = time.monotonic() - self._aggregation_began_sec
            self._aggregation_began_sec = None
        model = model_of(fl_ctx.get_prop(AppConstants.AGGREGATION_RESULT))
        self._close_round(self._named(model, "global_"), took_sec)

    def _round_done(self, fl_ctx: FLContext) -> None:
        self._close_round()

    def _close_round(self, figures: dict[str, Any] | None = None, took_sec: float | None = None) -> None:
        """End the round that is open. Controllers differ in what they say at its end: the first word counts."""
        number, self._open_round = self._open_round, None
        if number is None:
            return
        for (client, _), task in self._tasks.items():
            if task.round == number:
                waited_sec = time.monotonic() - task.given_at_sec
                self._note(
                    "no_result", f"Round {number} ended without the result of {client}, given {waited_sec:.1f} s before",
                    "warning", client_id=client, round=number, task=task.name,
                )  # fmt: skip
        told: dict[str, Any] = {"num_selected": len(self._members) or None, "aggregation_time_sec": took_sec}
        self._run.log_round(number, **told, **_beside(told, figures or {}))

    def _workflow_started(self, fl_ctx: FLContext) -> None:
        workflow = fl_ctx.get_prop(FLContextKey.WORKFLOW)
        self._note("workflow_started", f"Workflow {workflow} started", workflow=workflow)

    def _workflow_ended(self, fl_ctx: FLContext) -> None:
        self._close_round()
        workflow = fl_ctx.get_prop(FLContextKey.WORKFLOW)
        self._note("workflow_ended", f"Workflow {workflow} ended", workflow=workflow)

    # ── tasks ─────────────────────────────────────────────────────────────────────────────────

    def _task_given(self, fl_ctx: FLContext) -> None:
        client, task_id, name = _peer(fl_ctx), fl_ctx.get_prop(FLContextKey.TASK_ID), _task_name(fl_ctx)
        if client is None or task_id is None:
            return
        self.meet([client])
        data = fl_ctx.get_prop(FLContextKey.TASK_DATA)
        number = _round_of(data)
        if number is not None and (self._open_round is None or number > self._open_round):
            self._begin_round(number)  # a controller that never says so
        num_bytes = payload_bytes(_content(data))
        self._tasks[client, task_id] = _Task(name, number, num_bytes, time.monotonic())
        if number is not None and number == self._open_round:
            self._members.add(client)
        self._note(
            "task_assigned", f"{client} was given {_called(name, number)}",
            client_id=client, task=name, task_id=task_id, round=number, bytes=num_bytes,
        )  # fmt: skip

    def _result_came(self, fl_ctx: FLContext) -> None:
        client, task_id, name = _peer(fl_ctx), fl_ctx.get_prop(FLContextKey.TASK_ID), _task_name(fl_ctx)
        result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        if client is None or not isinstance(result, Shareable):
            return
        self.meet([client])
        task = self._tasks.pop((client, task_id), None)
        number = task.round if task is not None else _round_of(result)
        return_code = result.get_return_code(ReturnCode.OK)
        told: dict[str, Any] = {
            "task": name,
            "task_id": task_id,
            "return_code": str(return_code),
            "error": result.get_header(ReservedHeaderKey.ERROR),
            "elapsed_sec": None if task is None else time.monotonic() - task.given_at_sec,
            "bytes_sent": payload_bytes(_content(result)),
            "bytes_received": None if task is None else task.num_bytes,
        }
        failed = return_code != ReturnCode.OK
        model = None if failed else model_of(result)
        if number is None:
            figures = {} if model is None else dict(model.metrics or {})
            self._note(
                "task_result", f"{client}: {name} came back {return_code}", "error" if failed else "info",
                client_id=client, **told, metrics=figures or None,
            )  # fmt: skip
            return
        told["status"] = "failed" if failed else None
        self._run.log_client_update(client, number, **told, **_beside(told, self._named(model, "local_")))

    def _contribution_judged(self, fl_ctx: FLContext) -> None:
        """The update was recorded when it came; now whether the aggregator took it is known."""
        client, number = _peer(fl_ctx), fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        accepted = fl_ctx.get_prop(AppConstants.AGGREGATION_ACCEPTED)
        if client is None or not isinstance(number, int) or accepted is None:
            return
        status = None if accepted else "failed"
        self._run.log_client_update(client, number, status=status, contribution_accepted=int(bool(accepted)))

    def _named(self, model: FLModel | None, prefix: str) -> dict[str, Any]:
        """A model's metrics, the accuracy and the loss by our names, and its number of steps."""
        if model is None:
            return {}
        metrics = model.metrics if isinstance(model.metrics, Mapping) else {}
        found = {
            f"{prefix}{self._names[key]}" if key in self._names else str(key): value for key, value in metrics.items()
        }
        if prefix == "local_" and (steps := (model.meta or {}).get("NUM_STEPS_CURRENT_ROUND")) is not None:
            found["num_steps"] = steps
        return found

    # ── clients, failures ─────────────────────────────────────────────────────────────────────

    def _client_left(self, fl_ctx: FLContext) -> None:
        client = fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME)
        if client:
            event = "left" if self._open_round is None else "dropout"
            self._run.log_client_event(event, client, self._open_round, "NVFLARE no longer hears of it")  # type: ignore[arg-type]

    def _client_is_back(self, fl_ctx: FLContext) -> None:
        client = fl_ctx.get_prop(FLContextKey.RECONNECTED_CLIENT_NAME)
        if client:
            self._clients.add(client)
            self._run.log_client_event("joined", client, reason="It is back")

    def _failed(self, fl_ctx: FLContext) -> None:
        self.fatal_error = str(fl_ctx.get_prop(FLContextKey.EVENT_DATA) or "fatal system error")
        self._note("fatal_error", self.fatal_error, "error")

    def _note(self, event: str, message: str, level: Any = "info", **more: Any) -> None:
        self._run.log_event(COMPONENT, event, message, level=level, **more)


_ARGUMENTS = frozenset({"self", "client_id", "round", "base_round", "algorithm_metadata"})


def _beside(told: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """A model's own figures; one whose name is taken stands as `metrics.<name>`."""
    return {f"metrics.{key}" if key in told or key in _ARGUMENTS else key: value for key, value in figures.items()}


def model_of(result: Any) -> FLModel | None:
    """What a client sent or the aggregator made, as NVFLARE's model; None where it is something else."""
    if isinstance(result, FLModel):
        return result
    if not isinstance(result, Shareable) or result.get_header(ReservedHeaderKey.CONTENT_TYPE) != "DXO":
        return None
    return FLModelUtils.from_shareable(result)


def _content(data: Any) -> Any:
    """A task's data or result without the headers and what the transport adds."""
    if not isinstance(data, Shareable):
        return data
    return {key: value for key, value in data.items() if key != ReservedHeaderKey.HEADERS}


def _round_of(data: Any) -> int | None:
    """The round that stands in the task itself: the context may still hold that of an earlier workflow."""
    if not isinstance(data, Shareable):
        return None
    number = data.get_header(AppConstants.CURRENT_ROUND)
    if number is None:
        number = data.get_cookie(AppConstants.CONTRIBUTION_ROUND)
    return number if isinstance(number, int) and number >= 0 else None


def _peer(fl_ctx: FLContext) -> str | None:
    peer = fl_ctx.get_peer_context()
    return (peer.get_identity_name() or None) if peer is not None else None


def _task_name(fl_ctx: FLContext) -> str:
    return str(fl_ctx.get_prop(FLContextKey.TASK_NAME))


def _called(task: str, number: int | None) -> str:
    return f"the task {task!r}" if number is None else f"the task {task!r} of round {number}"
