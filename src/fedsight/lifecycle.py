"""How a run ends when nobody says so: at the interpreter's end, by its exception or Ctrl-C."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from fedsight.errors import UsageError
from fedsight.events import RunStatus

if TYPE_CHECKING:
    from fedsight.run import Run

logger = logging.getLogger("fedsight")

END_SEC = 30.0
"""How long the interpreter's end waits for deliveries, over all runs."""

_open_runs: list[Run] = []
_uncaught: BaseException | None = None
_installed = False
_is_ending = False
_why_no_runs: str | None = None


@contextlib.contextmanager
def no_new_runs(why: str) -> Iterator[None]:
    """Within it a new run is a `UsageError`: a module that is imported for what it defines must not train."""
    global _why_no_runs
    _why_no_runs = why
    try:
        yield
    finally:
        _why_no_runs = None


def check_new_run() -> None:
    """Raise `UsageError` where no run may begin."""
    if _why_no_runs is not None:
        raise UsageError("run", _why_no_runs)


def status_after(error: BaseException | None) -> tuple[RunStatus, str | None]:
    """The status of a run that ended with `error`, and what to say of it."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    if isinstance(error, KeyboardInterrupt):
        return "killed", "KeyboardInterrupt"
    return "failed", f"{type(error).__name__}: {error}"[:1000]


def watch(run: Run) -> None:
    """End `run` with the process, if it hasn't ended by then."""
    _install()
    _open_runs.append(run)


def forget(run: Run) -> None:
    """The run has ended by itself."""
    if run in _open_runs:
        _open_runs.remove(run)


def is_ending() -> bool:
    """Whether the interpreter ends: libraries can't be imported freely, nor start threads, any more."""
    return _is_ending


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    atexit.register(_end_open_runs)
    earlier_hook = sys.excepthook

    def remember(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _uncaught
        _uncaught = error
        earlier_hook(kind, error, trace)

    sys.excepthook = remember


def _end_open_runs() -> None:
    global _is_ending
    _is_ending = True
    deadline = time.monotonic() + END_SEC
    while _open_runs:
        run = _open_runs.pop()
        status, error = status_after(_uncaught)
        try:
            run.finish(status, error, timeout_sec=max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            deadline = time.monotonic()
        except Exception:  # the other runs must end too
            logger.exception("fedsight: run %s could not be ended", run.run_id)
