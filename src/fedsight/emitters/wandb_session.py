"""The W&B run that is delivered to: the one that the user has open, or one that we start without a sound."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 (W&B needs it; at the interpreter's end, when a short program's run is delivered, it can't be imported any more)
import contextlib
import hashlib
import inspect
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from fedsight import lifecycle
from fedsight.emitters.destination import RunInfo
from fedsight.emitters.wandb_file import RunFile
from fedsight.emitters.wandb_rows import OFFSET
from fedsight.errors import MissingExtra, UsageError
from fedsight.events import RunStatus

logger = logging.getLogger("fedsight")

FINISH_TIMEOUT_SEC = 30.0
"""How long W&B's own upload may hold up a run's end. What is left lies in W&B's folder, for `wandb sync`."""

_EXIT_CODES: dict[RunStatus | None, int] = {"finished": 0, "failed": 1, "killed": 255, None: 0}
"""255 is W&B's own for a run that was interrupted."""

_FLUSHING = "x_transaction_log_flush_interval"

_QUIET = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "save_code": False,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "finish_timeout": FINISH_TIMEOUT_SEC,
    "finish_timeout_raises": True,
    _FLUSHING: 0.05,  # seconds
}


class Wanted(msgspec.Struct, frozen=True):
    """What the user asked of the W&B run."""

    project: str
    entity: str | None
    group: str | None
    job_type: str | None
    tags: list[str]
    config: dict[str, Any]
    mode: str | None


class Whereabouts(msgspec.Struct):
    """Which W&B run it was, for the next process. folder: W&B's own; is_open: it was not finished."""

    run_id: str
    project: str | None = None
    entity: str | None = None
    is_adopted: bool = False
    folder: str | None = None
    is_open: bool = True


class Session:
    """A W&B run, adopted where the process has one open (`wandb.init()` before `fedsight.init()`).

    An adopted run gets our config and tags and is never finished. Our own has an id made of the
    Fedsight run's, so that a later process goes on with it, and leaves `wandb.run` alone.
    Raises `MissingExtra`, `UsageError` where W&B has no API key, and what `wandb.init` raises.
    """

    def __init__(self, wanted: Wanted, info: RunInfo, before: Whereabouts | None) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtra("wandb", "wandb") from error
        self.wandb: Any = wandb
        self.run: Any = self.wandb.run
        config = _config(wanted, info)
        if self.run is not None:
            self.is_adopted = True
            self.run.config.update(config, allow_val_change=True)
            self.run.tags = tuple(dict.fromkeys([*(self.run.tags or ()), *wanted.tags]))
        else:
            self.run = _start(wandb, wanted, info, before, config)
            self.is_adopted = False
        self.run.define_metric("round", hidden=True)
        for names in ("round/*", "comm/*", "agg/*", "client/*", "sys/*", "event/*"):
            self.run.define_metric(names, step_metric="round")
        self.run.define_metric("fedsight/*", hidden=True)
        self._on_steps: set[str] = set()
        self._file = self._file_that_is_flushed()

    def _file_that_is_flushed(self) -> RunFile | None:
        """None where W&B writes none, or not in time: an adopted run's file is written every 15 s."""
        if self.is_adopted or self.run.disabled or _FLUSHING not in self.wandb.Settings.model_fields:
            return None
        return RunFile(Path(self.run.settings.sync_file))

    def log(self, records: Sequence[dict[str, Any]]) -> None:
        """Log rows, and wait until W&B has written them down."""
        for record in records:
            self.run.log(record)
        if records and self._file is not None and not self._file.wait_for(OFFSET, records[-1][OFFSET]):
            self._file = None
            logger.warning(
                "fedsight: W&B did not write a row down in time; from now on rows count as delivered when W&B has "
                "taken them, and those of the last seconds are lost if the process is killed."
            )

    def whereabouts(self) -> Whereabouts:
        """For the next process."""
        run = self.run
        return Whereabouts(run.id, run.project or None, run.entity or None, self.is_adopted, self._folder())

    def has_x_axis_step(self, name: str) -> None:
        """Chart `name`, a step-level curve, against `step`."""
        if name not in self._on_steps and "*" not in name:  # which would be a pattern
            self._on_steps.add(name)
            self.run.define_metric(name, step_metric="step")

    def where(self) -> str:
        """Its page, or its folder."""
        if not self.run.offline and self.run.url:  # asked offline, W&B prints a warning
            return str(self.run.url)
        return f"{self._folder()}, upload it with: wandb sync {self._folder()}"

    def _folder(self) -> str:
        return str(self.run.settings.sync_dir)

    def is_lost(self, error: Exception) -> bool:
        """Whether `error` says that this run takes nothing any more: the user finished it, or W&B's process is gone."""
        if isinstance(error, ConnectionError):
            # Only then does W&B start another process.
            with contextlib.suppress(ConnectionError):
                self.wandb.teardown()
            return True
        return isinstance(error, self.wandb.errors.UsageError)

    def finish(self, status: RunStatus | None) -> None:
        """End our own run."""
        if self.is_adopted:
            return
        try:
            self.run.finish(exit_code=_EXIT_CODES[status])
        except TimeoutError:
            logger.warning(
                "fedsight: W&B has not taken everything within %.0f s. It is kept; upload the rest with: wandb sync %s",
                FINISH_TIMEOUT_SEC,
                self._folder(),
            )


def _start(wandb: Any, wanted: Wanted, info: RunInfo, before: Whereabouts | None, config: dict[str, Any]) -> Any:
    if (wanted.mode or wandb.setup().settings.mode) == "online":
        _require_key(wandb)
    was_adopted = before is not None and before.is_adopted
    excepthook = sys.excepthook
    run = wandb.init(
        project=wanted.project if before is None else before.project or wanted.project,
        entity=wanted.entity if before is None else before.entity or wanted.entity,
        id=wandb_id(info) if before is None else before.run_id,
        name=None if was_adopted else _name(info),
        group=None if was_adopted else wanted.group or info.algorithm,
        job_type=None if was_adopted else wanted.job_type,
        tags=wanted.tags or None,
        config=config,
        mode=wanted.mode,
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(**{key: value for key, value in _QUIET.items() if key in wandb.Settings.model_fields}),
    )
    _print_tracebacks_once(excepthook)
    _end_our_runs_before_wandb()
    return run


def _require_key(wandb: Any) -> None:
    """Without a key `wandb.init` would ask for one on the terminal, in the midst of a training."""
    if "prompt" in inspect.signature(wandb.login).parameters:
        has_key = wandb.login(prompt=False)
    else:
        has_key = bool(wandb.api.api_key)
    if not has_key:
        raise UsageError(
            "mode", 'W&B has no API key: run "wandb login", set WANDB_API_KEY, or give WandbEmitter(mode="offline").'
        )


def _end_our_runs_before_wandb() -> None:
    """At the interpreter's end W&B stops its process; a run of ours that is still open has lines to deliver by then.

    What is registered last runs first, and W&B registers with its first run.
    """
    atexit.unregister(lifecycle._end_open_runs)  # noqa: SLF001
    atexit.register(lifecycle._end_open_runs)  # noqa: SLF001


def _print_tracebacks_once(earlier: Any) -> None:
    """W&B's hook, which it installs with its first run, prints an uncaught exception and has it printed once more."""
    hooks = getattr(sys.excepthook, "__self__", None)
    if sys.excepthook is earlier or not hasattr(hooks, "exit_code"):
        return

    def remember(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        hooks.exit_code = 255 if isinstance(error, KeyboardInterrupt) else 1  # type: ignore[union-attr]
        hooks.exception = error  # type: ignore[union-attr]
        earlier(kind, error, trace)

    sys.excepthook = remember


def _config(wanted: Wanted, info: RunInfo) -> dict[str, Any]:
    ours = {
        "fedsight/run_id": info.run_id,
        "fedsight/project": info.project,
        "fedsight/client_id": info.client_id,
        "fedsight/algorithm": info.algorithm,
        "fedsight/framework": info.framework,
        "fedsight/tags": info.tags or None,
    }
    return {**info.config, **wanted.config, **{key: value for key, value in ours.items() if value is not None}}


def _name(info: RunInfo) -> str:
    return info.run_id if info.client_id is None else f"{info.run_id} · {info.client_id}"


def wandb_id(info: RunInfo) -> str:
    """The id of a W&B run of ours: the same whenever the same Fedsight run is delivered, and of no other one."""
    told = "\0".join([info.run_id, info.client_id or "", repr(info.started_at)])
    readable = re.sub(r"[^A-Za-z0-9_-]", "-", info.run_id)[:80]
    return f"{readable}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
