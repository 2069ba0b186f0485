"""`Monitor`: what user code talks to. The measuring itself is done by a thread or a child process."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import logging
import os
import platform
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from fedsight.errors import UsageError
from fedsight.monitor import endings, figures
from fedsight.monitor.commands import AnyCommand, AskPending, Flush, Look, Mark, Stop, Switch
from fedsight.monitor.forms import Form, FormName, MonitorLost, ProcessForm, ThreadForm
from fedsight.monitor.settings import HELD_SEC, METRICS, Settings, checked_interval, checked_metrics, checked_pid

logger = logging.getLogger("fedsight")

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound="Monitor")

Status = Literal["new", "running", "stopped", "ended", "failed"]

_TIDY_SEC = 0.02
"""How long stop() waits for the thread or child to be gone, which nothing depends on."""


class Monitor:
    """Measures a process and its children: `start()`, the work, `stop()`; or `with monitor:`; or `@monitor`.

    interval: seconds between readings. pid: of the process (default: this one). probes: further
    ones by name, beside those that `set_metrics` switches. journal: the file to record to
    (default: a temporary one, which goes with the monitor). node: what the measured machine is
    called (default: the host's name). concise: record the derived figures only. form: "process" or
    "thread".

    Each `start()` begins a new window; `stats()`, `summary()` and `phases()` speak of the latest.
    Raises `UsageError` for arguments that can't be meant. What can't be had (a file, a port, the
    process) `start()` says, in the same way.
    """

    form: ClassVar[FormName] = "process"

    def __init__(
        self,
        interval: float = 5,
        *,
        pid: int | None = None,
        probes: Sequence[str] = (),
        journal: str | os.PathLike[str] | None = None,
        run_id: str | None = None,
        client_id: str | None = None,
        node: str | None = None,
        concise: bool = False,
        form: FormName | None = None,
    ) -> None:
        self._form_name = form or self.form
        if self._form_name not in ("process", "thread"):
            raise UsageError("form", f"form must be 'process' or 'thread', not {form!r}.")
        self.interval = checked_interval(interval)
        self.metrics = dict(METRICS)
        self.port: int | None = None
        self._pid = checked_pid(pid)
        self._settings = Settings(
            pid=0,
            interval_sec=self.interval,
            journal="" if journal is None else str(Path(journal).absolute()),
            node=node or platform.node() or "localhost",
            metrics=self.metrics,
            probes=list(probes),
            run_id=run_id,
            client_id=client_id,
            concise=concise,
        )
        self._status: Status = "new"
        self._form: Form | None = None
        self._stopped_form: Form | None = None
        self._window: tuple[Path, int] | None = None
        self._phase_numbers = itertools.count(1)
        self._open_phases: dict[int, str] = {}
        self._lock = threading.RLock()
        self._abandon: weakref.finalize[Any, Any] | None = None
        _monitors.add(self)
        endings.watch()

    def set_metrics(self, **switches: bool) -> None:
        """Switch `cpu`, `memory`, `network` (on at first) and `power` (off at first), at any time.

        Raises `UsageError` (a `ValueError`) for another name, `TypeError` for what is no bool.
        """
        checked = checked_metrics(dict(switches))
        with self._lock:
            self.metrics.update(checked)
            self._call(Switch(metrics=dict(self.metrics)))

    # ── begin and end ─────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin. When it returns, the first reading is taken.

        Raises `UsageError` where it runs already, or can't begin; `field` names what is in the way.
        """
        with self._lock:
            if self._form is not None:
                raise UsageError("start", "this monitor runs already: stop() it first.")
            self._free_journal()
            settings = msgspec.structs.replace(
                self._settings,
                pid=self._pid or os.getpid(),
                journal=self._settings.journal or endings.temporary_journal(self),
                metrics=dict(self.metrics),
                excluded_pids=[*self._settings.excluded_pids, *_monitor_pids()],
            )
            form: Form = ProcessForm() if self._form_name == "process" else ThreadForm()
            ready = form.start(settings)
            self._form = form
            self._abandon = weakref.finalize(self, form.abandon)
            self._abandon.atexit = False  # the interpreter's end stops it properly
            self._window = (Path(ready.journal), ready.offset)
            self.port = ready.port
            self._open_phases.clear()
            self._status = "running"

    def stop(self) -> None:
        """Take the last reading, and end. Without a `start()`, or a second time, it does nothing."""
        with self._lock:
            self._call(Stop())
            form, self._form = self._form, None
            if form is None:
                return
            if self._status == "running":
                self._status = "stopped"
            if self._abandon is not None:
                self._abandon.detach()
            self._stopped_form = form
            if not form.finish(_TIDY_SEC):
                endings.wait_for(form)

    def _free_journal(self) -> None:
        """Whoever had it before is to be gone: a journal has one writer, and one who ships it."""
        if self._stopped_form is not None:
            endings.wait_no_longer(self._stopped_form)
            self._stopped_form = None

    def _call(self, command: AnyCommand) -> None:
        """Have a command carried out, where something runs."""
        if self._form is None:
            return
        try:
            if self._form.call(command).is_over:
                self._status = "ended"
        except MonitorLost as error:
            logger.warning("fedsight: the monitor is lost: %s. Its figures end with its last reading.", error)
            self._status = "failed"
            self._form.abandon()
            self._form = None

    @property
    def status(self) -> Status:
        """`new`, `running`, `stopped`, `ended` (the measured process has), or `failed` (the monitor has)."""
        with self._lock:
            if self._status == "running":
                self._call(AskPending())
            return self._status

    @property
    def journal(self) -> Path | None:
        """Where the latest window is recorded; None before the first."""
        return self._window[0] if self._window else None

    @property
    def window(self) -> tuple[Path, int] | None:
        """Where the latest window's readings are: the journal, and the offset they begin at; None before the first."""
        return self._window

    @property
    def child_pid(self) -> int | None:
        """Of the child process that measures; None where none does."""
        form = self._form
        return form.pid if isinstance(form, ProcessForm) else None

    def pending(self) -> str | None:
        """What the collector doesn't have yet, and how to deliver it; None where it has all, or there is none."""
        with self._lock:
            form = self._form or self._stopped_form
            return form.pending() if form is not None else None

    def __enter__(self: M) -> M:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __call__(self, function: F) -> F:
        """As a decorator: each call of `function`, which may be a coroutine function, is a window."""
        measured: Any
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def measured(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def measured(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return measured  # type: ignore[no-any-return]

    # ── phases ────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a part of the work: `with monitor.phase("round 3"):`, with a reading at both edges.

        Phases may be nested, overlap and come again. Raises `UsageError` where the monitor is not running.
        """
        number = self.begin_phase(name)
        try:
            yield
        finally:
            self.end_phase(number)

    def begin_phase(self, name: str) -> int:
        """For code that can't use `with phase(…)`: the phase's number, to be given to `end_phase`."""
        with self._lock:
            if self._status in ("new", "stopped"):
                raise UsageError("phase", f"phase {name!r}: the monitor is not running; start() it first.")
            number = next(self._phase_numbers)
            self._open_phases[number] = str(name)
            self._call(Mark(phase=str(name), number=number, edge="begin"))
            return number

    def end_phase(self, number: int) -> None:
        """The phase ends. Where the monitor was stopped meanwhile, it ended with it."""
        with self._lock:
            name = self._open_phases.pop(number, None)
            if name is not None:
                self._call(Mark(phase=name, number=number, edge="end"))

    # ── figures ───────────────────────────────────────────────────────────────────────────────

    def stats(self) -> dict[str, list[Any]]:
        """The figures interval by interval; keys and units are in docs/monitor.md."""
        return figures.stats(*self._read_from())

    def summary(self) -> dict[str, Any]:
        """The figures of the whole window, up to the latest reading; keys and units are in docs/monitor.md."""
        found = figures.summary(*self._read_from(), self.metrics)
        return {**found, "status": self.status}

    def phases(self) -> list[dict[str, Any]]:
        """A summary for each time a phase was entered, in that order."""
        return figures.phases(*self._read_from(), self.metrics)

    def _read_from(self) -> tuple[Path | None, int]:
        with self._lock:
            if self._window is None:
                return None, 0
            if self.interval < HELD_SEC:
                self._call(Flush())
            if self._form is not None and not figures.has_interval(*self._window):
                self._call(Look())  # who asks before the first interval is over gets what there is by now
            return self._window

    def _forget_after_fork(self) -> None:
        """In a forked child: what runs is the parent's. A window of its own can be begun."""
        self._lock = threading.RLock()
        for form in (self._form, self._stopped_form):
            if form is not None:
                form.forget_after_fork()
        self._form = self._stopped_form = None
        if self._abandon is not None:
            self._abandon.detach()
        if self._status == "running":
            self._status = "stopped"


_monitors: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _monitor_pids() -> list[int]:
    """The child processes that are monitors, and no part of the training."""
    return [pid for monitor in list(_monitors) if (pid := monitor.child_pid) is not None]


def stop_all() -> None:
    """Stop every monitor that runs. Called at the interpreter's end."""
    for monitor in list(_monitors):
        monitor.stop()


def _after_fork_in_child() -> None:
    for monitor in list(_monitors):
        monitor._forget_after_fork()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
