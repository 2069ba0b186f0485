"""`watch`: a Flower strategy, and with it the whole training, recorded as a run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import fedsight
from fedsight import lifecycle
from fedsight.errors import UsageError
from fedsight.fields import mapping_of
from fedsight.integrations.flower import legacy_strategies, message_strategies
from fedsight.integrations.flower.grid import GridHook
from fedsight.integrations.flower.guard import Guard
from fedsight.integrations.flower.replies import Phase, read_reply
from fedsight.integrations.flower.rounds import Rounds
from fedsight.run import Run

StrategyT = TypeVar("StrategyT")

WAITING_AFTER_SEC = 30.0


def watch(
    strategy: StrategyT, run: Run | None = None, *, waiting_after_sec: float = WAITING_AFTER_SEC, **init: Any
) -> StrategyT:
    """Record all that a strategy does, and give it back; the last thing before the strategy is used.

    strategy: any of `flwr.serverapp.strategy` or `flwr.server.strategy`; of wrapped ones (differential
        privacy) the outermost. Its methods are replaced on the object alone.
    run: where to record. It stays open. When None, a run is opened here by `fedsight.init` and ends
        with the training.
    waiting_after_sec: after how long without progress the training is said to be waiting.
    init: parameters of `fedsight.init`; `algorithm` is the strategy's class, `framework` "flower", and the
        strategy's own parameters stand in `config`, unless said otherwise.

    Raises `UsageError` for what is no strategy or run, or is watched already. Nothing raises while the training goes on:
    trouble of the bridge is logged once a place, and counted in a `log` event at the end.
    """
    if hasattr(strategy, "configure_train") and hasattr(strategy, "aggregate_train"):
        is_legacy = False
    elif hasattr(strategy, "configure_fit") and hasattr(strategy, "aggregate_fit"):
        is_legacy = True
    else:
        raise UsageError(
            "strategy",
            f"strategy must be a strategy of flwr.serverapp.strategy or flwr.server.strategy, not {strategy!r}. "
            "Give watch() the object itself: watch(FedAvg()).",
        )
    if inspect.isclass(strategy):
        raise UsageError("strategy", f"strategy must be an object, not the class {strategy.__name__}: watch(FedAvg()).")
    if message_strategies.watching_of(strategy, "configure_fit" if is_legacy else "configure_train") is not None:
        raise UsageError(
            "strategy", f"strategy is watched already: {type(strategy).__name__}. Call watch() on it once."
        )
    if run is not None and not isinstance(run, Run):
        raise UsageError(
            "run", f"run must be a fedsight.Run, not {run!r}: what fedsight.init() gives, or leave it out."
        )
    if run is not None and init:
        raise UsageError("init", f"watch() opens no run where one is given: leave out {', '.join(init)}, or run.")
    if not waiting_after_sec > 0:
        raise UsageError("waiting_after_sec", f"waiting_after_sec must be above 0, not {waiting_after_sec!r}.")
    watching = Watching(strategy, run, init, waiting_after_sec, is_legacy=is_legacy)
    (legacy_strategies if is_legacy else message_strategies).hook(strategy, watching)
    return strategy


class Watching:
    """A watched strategy: its run, its rounds, and what stands between it and the bridge's own errors.

    server_evaluates: the server's own evaluation is the last thing of each round.
    """

    def __init__(
        self, strategy: Any, run: Run | None, init: dict[str, Any], waiting_after_sec: float, *, is_legacy: bool
    ) -> None:
        self.guard = Guard()
        self.grid = GridHook(self.guard, legacy_strategies.read_reply if is_legacy else read_reply)
        self.server_evaluates = False
        self._strategy = strategy
        self._init = init
        self._owns_run = run is None
        self._waiting_after_sec = waiting_after_sec
        self._weight_key = (
            legacy_strategies.WEIGHT_KEY if is_legacy else _parameter(strategy, "weighted_by_key") or "num-examples"
        )
        self._run = run or self._open_run()
        self.rounds = self._new_rounds()

    def _open_run(self) -> Run:
        config = {**parameters_of(self._strategy), **(mapping_of(self._init.get("config"), "config") or {})}
        defaults = {"algorithm": type(self._strategy).__name__, "framework": "flower"}
        return fedsight.init(**{**defaults, **self._init, "config": config})

    def _new_rounds(self) -> Rounds:
        return Rounds(
            self._run,
            self.guard,
            weight_key=self._weight_key,
            num_wanted=self._num_wanted,
            waiting_after_sec=self._waiting_after_sec,
        )

    def _num_wanted(self, phase: Phase) -> int | None:
        legacy = "min_fit_clients" if phase == "train" else "min_evaluate_clients"
        names = ("min_available_nodes", f"min_{phase}_nodes", "min_available_clients", legacy)
        wanted = [value for name in names if isinstance(value := _parameter(self._strategy, name), int)]
        return max(wanted) if wanted else None

    def begin(self, num_rounds: int | None, grid: Any) -> None:
        """The training begins, perhaps not for the first time."""
        if self._owns_run and self._run.status is not None:
            self._run = self._open_run()
        self.rounds, self.server_evaluates = self._new_rounds(), False
        self.rounds.prepare()
        self.grid.attach(grid, self.rounds)
        import flwr

        flower_run = getattr(getattr(grid, "run", None), "run_id", None)
        self._run.set_server_metadata(
            flower_version=flwr.__version__,
            flower_run_id=None if flower_run is None else str(flower_run),
            num_rounds=num_rounds,
        )

    @contextmanager
    def until_its_end(self) -> Iterator[None]:
        """Around the training: whichever way it ends, the run ends so."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self.guard("ending the training"):
            self.grid.detach()
            self.rounds.end(is_failed=error is not None)
        if self._owns_run:
            with self.guard("finishing the run"):
                self._run.finish(*lifecycle.status_after(error))


def parameters_of(strategy: Any) -> dict[str, Any]:
    """The numbers and texts that a strategy holds by name, and those of the one that it wraps."""
    found: dict[str, Any] = {
        name: value
        for name, value in vars(strategy).items()
        if isinstance(value, (bool, int, float, str)) and not name.startswith("_")
    }
    inner = getattr(strategy, "strategy", None)
    if hasattr(inner, "__dict__") and inner is not strategy:
        found["strategy"] = {"class": type(inner).__name__, **parameters_of(inner)}
    return found


def _parameter(strategy: Any, name: str) -> Any:
    """An attribute of the strategy, or of the innermost one that it wraps and that has it."""
    for _ in range(10):
        if hasattr(strategy, name):
            return getattr(strategy, name)
        strategy = getattr(strategy, "strategy", None)
        if strategy is None:
            return None
    return None
