"""What is left to do after monitors have stopped: deliveries, temporary journals, the interpreter's end."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedsight.monitor.forms import Form
    from fedsight.monitor.monitor import Monitor

logger = logging.getLogger("fedsight")

EXIT_SEC = 5.0
"""How long the interpreter's end waits for deliveries, over all monitors."""

_ending: list[Form] = []
_is_watching = False


def watch() -> None:
    """Have the interpreter's end stop what still runs."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        atexit.register(_at_exit)


def wait_for(form: Form) -> None:
    """`form` was stopped, and has something to deliver or to put away yet."""
    _ending[:] = [each for each in _ending if not each.finish(0)]
    _ending.append(form)


def wait_no_longer(form: Form) -> None:
    """Have `form` gone: it is given a moment to close its journal, but not to deliver it."""
    if form in _ending:
        _ending.remove(form)
    form.abandon()


def _at_exit() -> None:
    from fedsight.monitor.monitor import stop_all

    stop_all()
    deadline = time.monotonic() + EXIT_SEC
    for form in _ending:
        if not form.finish(max(0.0, deadline - time.monotonic())):
            pending = form.pending()
            if pending:
                logger.warning("fedsight: the monitor's journal: %s", pending)
            form.abandon()
    _ending.clear()


def temporary_journal(monitor: Monitor) -> str:
    """A place for a journal that nobody asked for; it is removed with `monitor`, or at the interpreter's end."""
    import tempfile  # it loads compression libraries, which nobody else needs

    folder = tempfile.mkdtemp(prefix="fedsight-monitor-")
    weakref.finalize(monitor, _remove, folder, os.getpid())
    return str(Path(folder) / "monitor.jsonl")


def _remove(folder: str, owner_pid: int) -> None:
    if os.getpid() == owner_pid:  # a forked child has a copy of this, but not of the folder
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _after_fork_in_child() -> None:
    for form in _ending:
        form.forget_after_fork()
    _ending.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
