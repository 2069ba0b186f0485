"""Fedsight: observability for federated learning.

    import fedsight

    fedsight.init(algorithm="FedAvg")
    fedsight.round_start(0)
    fedsight.log_client_update("hospital-1", round=0, local_accuracy=0.81, num_samples=512)
    fedsight.log_round(0, global_accuracy=0.83, global_loss=0.52)
    fedsight.finish()

The module's functions speak to one run, the one that `init` opened last; `Run` objects have the
same as methods. A process at a site records its own side of a run by `join`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsight.errors import FedsightError, NotInitialized, RunFinished, UsageError
from fedsight.events import ClientUpdate, RunStatus
from fedsight.journal.writer import Durability
from fedsight.run import Run

if TYPE_CHECKING:
    from fedsight.geo.precision import Precision

__version__ = "0.1.0"

__all__ = [
    "ClientUpdate",
    "FedsightError",
    "NotInitialized",
    "Run",
    "RunFinished",
    "UsageError",
    "finish",
    "init",
    "join",
    "log_checkpoint",
    "log_client_update",
    "log_comm_failure",
    "log_dropout",
    "log_metric",
    "log_round",
    "log_text",
    "round_start",
    "set_server_metadata",
]

_run: Run | None = None


def init(
    *,
    run_id: str | None = None,
    algorithm: str | None = "FedAvg",
    config: dict[str, Any] | None = None,
    emitters: Sequence[object] | None = None,
    verbose: bool = True,
    project: str = "default",
    framework: str | None = None,
    tags: dict[str, str] | None = None,
    runs_dir: str | Path = "runs",
    resume: bool = False,
    durability: Durability = "process",
    anonymize: str | bytes | None = None,
    precision: Precision = "exact",
    monitor: bool | float | Mapping[str, Any] | None = None,
) -> Run:
    """Begin a run on the server; parameters as of `Run`. One that is open is finished first."""
    global _run
    if _run is not None:
        _run.finish()
    _run = Run(
        run_id,
        algorithm,
        config,
        emitters,
        verbose,
        project=project,
        framework=framework,
        tags=tags,
        runs_dir=runs_dir,
        resume=resume,
        durability=durability,
        anonymize=anonymize,
        precision=precision,
        monitor=monitor,
    )
    return _run


def join(
    run_id: str,
    client_id: str | int,
    *,
    runs_dir: str | Path = "runs",
    emitters: Sequence[object] | None = None,
    verbose: bool = False,
    durability: Durability = "process",
    anonymize: str | bytes | None = None,
    precision: Precision = "exact",
    monitor: bool | float | Mapping[str, Any] | None = None,
) -> Run:
    """Record a site's own side of the server's run `run_id`, in a journal of its own.

    The same calls as of any `Run`, with this client as the default `client_id`. The module's
    functions are not affected, so that several sites can live in one process (a simulation).
    """
    return Run(
        run_id,
        None,
        None,
        emitters,
        verbose,
        runs_dir=runs_dir,
        resume=True,
        durability=durability,
        anonymize=anonymize,
        precision=precision,
        monitor=monitor,
        client_id=client_id,
    )


def _current() -> Run:
    if _run is None:
        raise NotInitialized("No run is open. Call fedsight.init() first.")
    return _run


def round_start(round: int, selected: Sequence[str | int] | None = None) -> None:
    """See `Run.round_start`."""
    _current().round_start(round, selected)


def log_client_update(
    client_id: str | int | None = None,
    round: int | None = None,
    base_round: int | None = None,
    **fields: Any,
) -> None:
    """See `Run.log_client_update`."""
    _current().log_client_update(client_id, round, base_round, **fields)


def log_round(round: int, **fields: Any) -> None:
    """See `Run.log_round`."""
    _current().log_round(round, **fields)


def log_dropout(round: int, client_id: str | int, reason: str | None = None) -> None:
    """See `Run.log_dropout`."""
    _current().log_dropout(round, client_id, reason)


def log_comm_failure(round: int, client_id: str | int, reason: str | None = None) -> None:
    """See `Run.log_comm_failure`."""
    _current().log_comm_failure(round, client_id, reason)


def log_checkpoint(round: int, path: str | Path, **metadata: Any) -> None:
    """See `Run.log_checkpoint`."""
    _current().log_checkpoint(round, path, **metadata)


def set_server_metadata(**metadata: Any) -> None:
    """See `Run.set_server_metadata`."""
    _current().set_server_metadata(**metadata)


def log_metric(key: str, value: Any, step: int | None = None, **more: Any) -> None:
    """See `Run.log_metric`."""
    _current().log_metric(key, value, step, **more)


def log_text(text: str, round: int | None = None, **more: Any) -> None:
    """See `Run.log_text`."""
    _current().log_text(text, round, **more)


def finish(status: RunStatus = "finished", error: str | None = None) -> None:
    """See `Run.finish`."""
    _current().finish(status, error)
