"""The calls of a server agent that tell something, wrapped on the instance.

`global_update` is called from many threads and blocks until the round is aggregated; `scheduler.schedule` inside
it takes the update and does not block; `aggregator.aggregate` is what every scheduler calls, once an aggregation,
from a client's thread or a timer's. Nothing here asks the scheduler anything while it may hold its own lock.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from fedsight.integrations.appfl.model_bytes import model_bytes
from fedsight.integrations.appfl.rounds import Aggregation, Rounds
from fedsight.run import Run

logger = logging.getLogger("fedsight")

T_ = TypeVar("T_")


def attach(server_agent: Any, rounds: Rounds, run_to_finish: Run | None) -> None:
    """Wrap what tells of updates, rounds and the end. run_to_finish: the run that ends with the server."""
    tell = _Telling()
    scheduler = server_agent.scheduler
    aggregator = getattr(scheduler, "aggregator", None) or server_agent.aggregator
    _wrap(server_agent, "get_parameters", lambda call: _get_parameters(call, rounds, tell))
    _wrap(server_agent, "global_update", lambda call: _global_update(call, server_agent, rounds, tell))
    _wrap(scheduler, "schedule", lambda call: _schedule(call, rounds, tell))
    _wrap(aggregator, "aggregate", lambda call: _aggregate(call, rounds, tell))
    _wrap(server_agent, "server_validate", lambda call: _server_validate(call, rounds, tell))
    if run_to_finish is not None:
        _wrap(server_agent, "clean_up", lambda call: _clean_up(call, run_to_finish, tell))
    server_agent.global_update.fedsight_rounds = rounds


class _Telling:
    """Calls what records; trouble with it is logged once, counted, and never the training's."""

    def __init__(self) -> None:
        self.num_failed = 0

    def __call__(self, record: Callable[..., T_], *args: Any) -> T_ | None:
        try:
            return record(*args)
        except Exception:
            self.num_failed += 1
            if self.num_failed == 1:
                logger.exception("fedsight: APPFL's training goes on, but something was not recorded (said once).")
            return None


def _wrap(target: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    call = getattr(target, name)
    setattr(target, name, functools.wraps(call)(wrapper(call)))


def _get_parameters(call: Callable[..., Any], rounds: Rounds, tell: _Telling) -> Callable[..., Any]:
    def get_parameters(*args: Any, **kwargs: Any) -> Any:
        model = call(*args, **kwargs)
        if rounds.num_closed == 0:
            tell(rounds.start)
        if (client_id := kwargs.get("client_id")) is not None:
            tell(rounds.model_given, client_id)
        return model

    return get_parameters


def _global_update(call: Callable[..., Any], server_agent: Any, rounds: Rounds, tell: _Telling) -> Callable[..., Any]:
    def global_update(client_id: Any, local_model: Any, *args: Any, **kwargs: Any) -> Any:
        metadata = {key: value for key, value in kwargs.items() if key != "blocking"}
        tell(_arrived, rounds, client_id, local_model, metadata)
        try:
            result = call(client_id, local_model, *args, **kwargs)
        except Exception as error:
            if rounds.is_held(client_id):
                tell(rounds.refused, client_id, f"its update was not taken: {error!r}")
            raise
        tell(_answered, rounds, client_id, server_agent)
        return result

    return global_update


def _arrived(rounds: Rounds, client_id: Any, local_model: Any, metadata: dict[str, Any]) -> None:
    rounds.arrived(client_id, model_bytes(local_model), metadata)


def _answered(rounds: Rounds, client_id: Any, server_agent: Any) -> None:
    if rounds.is_held(client_id):
        rounds.unused(client_id)
    if not rounds.is_started and not server_agent.training_finished():
        rounds.start()


def _schedule(call: Callable[..., Any], rounds: Rounds, tell: _Telling) -> Callable[..., Any]:
    def schedule(client_id: Any, local_model: Any, *args: Any, **kwargs: Any) -> Any:
        result = call(client_id, local_model, *args, **kwargs)
        tell(rounds.scheduled, client_id, not isinstance(result, Future))
        return result

    return schedule


def _aggregate(call: Callable[..., Any], rounds: Rounds, tell: _Telling) -> Callable[..., Any]:
    def aggregate(*args: Any, **kwargs: Any) -> Any:
        aggregation = tell(rounds.aggregation_begins, _clients_of(args, kwargs), kwargs)
        try:
            model = call(*args, **kwargs)
        except Exception as error:
            if aggregation is not None:
                tell(rounds.aggregation_failed, aggregation, error)
            raise
        if aggregation is not None:
            tell(_ended, rounds, aggregation, model)
        return model

    return aggregate


def _ended(rounds: Rounds, aggregation: Aggregation, model: Any) -> None:
    rounds.aggregation_ended(aggregation, model_bytes(model))


def _clients_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Whose updates an aggregator was given: one client's id and model, or models by client."""
    first = args[0] if args else kwargs.get("local_models")
    if first is None:
        first = kwargs.get("client_id")
    if isinstance(first, dict):
        return list(first)
    return [first] if isinstance(first, (str, int)) else []


def _server_validate(call: Callable[..., Any], rounds: Rounds, tell: _Telling) -> Callable[..., Any]:
    def server_validate(*args: Any, **kwargs: Any) -> Any:
        began_sec = time.monotonic()
        result = call(*args, **kwargs)
        if isinstance(result, tuple) and len(result) == 2:
            loss, accuracy = result
            tell(rounds.validated, loss, accuracy, time.monotonic() - began_sec)
        return result

    return server_validate


def _clean_up(call: Callable[..., Any], run: Run, tell: _Telling) -> Callable[..., Any]:
    def clean_up(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        if tell.num_failed:
            logger.warning("fedsight: %d things that APPFL's server did were not recorded.", tell.num_failed)
        tell(run.finish)
        return result

    return clean_up
