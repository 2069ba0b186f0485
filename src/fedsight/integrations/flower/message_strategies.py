"""Hooks on a strategy of Flower's message API (`flwr.serverapp.strategy`): replaced on the object, none of its classes."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fedsight.integrations.flower.replies import Phase, bytes_of

if TYPE_CHECKING:
    from fedsight.integrations.flower.watching import Watching

PHASES: tuple[Phase, ...] = ("train", "evaluate")


def hook(strategy: Any, watching: Watching) -> None:
    """Let `watching` hear of all that `strategy` does."""
    for phase in PHASES:
        strategy.__dict__[f"configure_{phase}"] = _configure(getattr(strategy, f"configure_{phase}"), phase, watching)
        strategy.__dict__[f"aggregate_{phase}"] = _aggregate(getattr(strategy, f"aggregate_{phase}"), phase, watching)
    strategy.__dict__["start"] = _start(strategy.start, watching)


def argument(args: tuple[Any, ...], kwargs: dict[str, Any], index: int, name: str) -> Any:
    """What a caller gave for a parameter, by position or by name."""
    return args[index] if len(args) > index else kwargs.get(name)


def _configure(original: Callable[..., Any], phase: Phase, watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def configure(*args: Any, **kwargs: Any) -> Any:
        with watching.guard("listening to the grid"):
            watching.grid.attach(argument(args, kwargs, 3, "grid"), watching.rounds)
        with watching.guard(f"configure_{phase}"):
            watching.rounds.configure(phase, argument(args, kwargs, 0, "server_round"))
        messages = original(*args, **kwargs)
        if messages is not None and not isinstance(messages, (list, tuple)):
            messages = list(messages)
        with watching.guard(f"recording whom configure_{phase} chose"):
            watching.rounds.send(_bytes_down(messages or ()))
        return messages

    configure.watching = watching  # type: ignore[attr-defined]
    return configure


def watching_of(strategy: Any, configure: str) -> Watching | None:
    """Who watches a strategy, by its method `configure`; None: nobody."""
    watching: Watching | None = getattr(getattr(strategy, configure, None), "watching", None)
    return watching


def _bytes_down(messages: Any) -> dict[str, int | None]:
    """Node → bytes of the records for it. Strategies send all clients the same ones, so those are counted once."""
    counted: dict[int, int] = {}
    sent: dict[str, int | None] = {}
    for message in messages:
        content = message.content
        if id(content) not in counted:
            counted[id(content)] = bytes_of(content)
        node = str(message.metadata.dst_node_id)
        sent[node] = (sent.get(node) or 0) + counted[id(content)]
    return sent


def _aggregate(original: Callable[..., Any], phase: Phase, watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def aggregate(*args: Any, **kwargs: Any) -> Any:
        replies = argument(args, kwargs, 1, "replies")
        if replies is not None and not isinstance(replies, (list, tuple)):
            replies = list(replies)
            if "replies" in kwargs:
                kwargs["replies"] = replies
            else:
                args = (args[0], replies, *args[2:])
        for message in replies or ():
            with watching.guard("recording a reply"):
                watching.grid.take(message)
        with watching.guard("recording who is missing"):
            watching.rounds.aggregate()
        started_sec = time.perf_counter()
        result = original(*args, **kwargs)
        took_sec = time.perf_counter() - started_sec
        with watching.guard(f"recording what aggregate_{phase} gave"):
            metrics = result[1] if phase == "train" else result
            watching.rounds.aggregated(metrics, took_sec)
            if phase == "evaluate" and not watching.server_evaluates:
                watching.rounds.close()
        return result

    return aggregate


def _start(original: Callable[..., Any], watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(*args: Any, **kwargs: Any) -> Any:
        with watching.guard("beginning the run"):
            bound = inspect.signature(original).bind(*args, **kwargs)
            bound.apply_defaults()
            given = bound.arguments
            watching.begin(given.get("num_rounds"), given.get("grid"))
            if (evaluate := given.get("evaluate_fn")) is not None:
                watching.server_evaluates = True
                given["evaluate_fn"] = _evaluate(evaluate, watching)
            args, kwargs = bound.args, bound.kwargs
        with watching.until_its_end():
            return original(*args, **kwargs)

    return start


def _evaluate(original: Callable[..., Any], watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        started_sec = time.perf_counter()
        metrics = original(*args, **kwargs)
        took_sec = time.perf_counter() - started_sec
        with watching.guard("recording what evaluate_fn gave"):
            watching.rounds.server_evaluated(argument(args, kwargs, 0, "server_round"), metrics, took_sec)
            watching.rounds.close()
        return metrics

    return evaluate
