"""Hooks on a strategy of Flower's older API (`flwr.server.strategy`: FitRes, ClientProxy), and on the end of its training."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fedsight.integrations.flower.message_strategies import argument, watching_of
from fedsight.integrations.flower.replies import Failure, Phase, Reply, bytes_of, failure_of, take_report

if TYPE_CHECKING:
    from fedsight.integrations.flower.watching import Watching

PHASES: dict[str, Phase] = {"fit": "train", "evaluate": "evaluate"}
WEIGHT_KEY = "num_examples"

_RESULTS = ("fitres.", "evaluateres.")


def hook(strategy: Any, watching: Watching) -> None:
    """Let `watching` hear of all that `strategy` does, and of the end of `Server.fit`, which is not the strategy's to know."""
    for name, phase in PHASES.items():
        configure, aggregate = f"configure_{name}", f"aggregate_{name}"
        strategy.__dict__[configure] = _configure(getattr(strategy, configure), phase, watching)
        strategy.__dict__[aggregate] = _aggregate(getattr(strategy, aggregate), phase, watching)
    strategy.__dict__["evaluate"] = _evaluate(strategy.evaluate, watching)
    _hook_server()


def _hook_server() -> None:
    """Once a process: a `Server` knows its strategy, but no strategy its server."""
    from flwr.server.server import Server

    if hasattr(Server.fit, "is_of_fedsight"):
        return
    original = Server.fit

    @functools.wraps(original)
    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        watching = watching_of(self.strategy, "configure_fit")
        if watching is None:
            return original(self, *args, **kwargs)
        with watching.guard("beginning the run"):
            watching.begin(argument(args, kwargs, 0, "num_rounds"), None)
        with watching.until_its_end():
            return original(self, *args, **kwargs)

    fit.is_of_fedsight = True  # type: ignore[attr-defined]
    Server.fit = fit


def _configure(original: Callable[..., Any], phase: Phase, watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def configure(*args: Any, **kwargs: Any) -> Any:
        rounds = watching.rounds
        with watching.guard("recording that clients are being chosen"):
            manager = argument(args, kwargs, 2, "client_manager")
            rounds.num_available = manager.num_available
            rounds.configure(phase, argument(args, kwargs, 0, "server_round"))
        pairs = original(*args, **kwargs)
        with watching.guard("recording whom the strategy chose"):
            for client, _ in pairs or ():
                watching.grid.attach(getattr(client, "grid", None), rounds)
            rounds.num_available = manager.num_available
            rounds.send({str(client.cid): _bytes_of_parameters(what.parameters) for client, what in pairs or ()})
            if not pairs:
                rounds.aggregated(None, 0.0)
                if phase == "evaluate":
                    rounds.close()
        return pairs

    configure.watching = watching  # type: ignore[attr-defined]
    return configure


def _bytes_of_parameters(parameters: Any) -> int:
    return sum(len(tensor) for tensor in parameters.tensors)


def read_reply(message: Any, node: str) -> Reply | None:
    """A reply that Flower translates into a FitRes or an EvaluateRes; None: a step of a secure aggregation."""
    if message.has_error():
        return Reply(node, failure=failure_of(message.error))
    report, content = take_report(message), message.content
    records = {name.split(".")[-1]: record for name, record in content.items() if name.startswith(_RESULTS)}
    if not records:
        return None
    status = records.get("status", {})
    if status.get("code"):
        return Reply(node, failure=_failure_of_status(status["code"], status.get("message")), report=report)
    metrics = dict(records.get("metrics", {}))
    for name in ("num_examples", "loss"):
        metrics.update(records.get(name, {}))
    return Reply(node, None, bytes_of(content), metrics, report)


def _failure_of_status(code: Any, message: str | None) -> Failure:
    return Failure(int(code), "STATUS", message or "the client's result says that it failed")


def _aggregate(original: Callable[..., Any], phase: Phase, watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def aggregate(*args: Any, **kwargs: Any) -> Any:
        with watching.guard("recording the results"):
            _take_results(watching, argument(args, kwargs, 1, "results"), argument(args, kwargs, 2, "failures"))
            watching.rounds.aggregate()
        started_sec = time.perf_counter()
        result = original(*args, **kwargs)
        took_sec = time.perf_counter() - started_sec
        with watching.guard("recording what was aggregated"):
            first, metrics = result
            if phase == "evaluate" and first is not None:
                metrics = {"loss": first, **metrics}
            watching.rounds.aggregated(metrics, took_sec)
            if phase == "evaluate":
                watching.rounds.close()
        return result

    return aggregate


def _take_results(watching: Watching, results: Any, failures: Any) -> None:
    """What the grid has not told already: clients that are reached by other ways than a grid."""
    for client, result in results or ():
        own = dict(result.metrics or {}) | {WEIGHT_KEY: result.num_examples}
        if hasattr(result, "loss"):
            own["loss"] = result.loss
        num_bytes = _bytes_of_parameters(result.parameters) if hasattr(result, "parameters") else None
        watching.rounds.reply(Reply(str(client.cid), None, num_bytes, own))
    for each in failures or ():
        if isinstance(each, tuple):
            client, result = each
            failure = _failure_of_status(result.status.code.value, result.status.message)
            watching.rounds.reply(Reply(str(client.cid), failure))


def _evaluate(original: Callable[..., Any], watching: Watching) -> Callable[..., Any]:
    @functools.wraps(original)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        started_sec = time.perf_counter()
        result = original(*args, **kwargs)
        took_sec = time.perf_counter() - started_sec
        with watching.guard("recording what the server's evaluation gave"):
            number = argument(args, kwargs, 0, "server_round")
            metrics = None if result is None else {"loss": result[0], **result[1]}
            watching.rounds.server_evaluated(number, metrics, took_sec)
            if number == 0:
                watching.rounds.close()
        return result

    return evaluate
