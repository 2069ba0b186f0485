"""Any program under a monitor, or a process that runs already, from beginning to end."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fedsight.errors import FedsightError, UsageError
from fedsight.events import Log, encode
from fedsight.journal import JournalWriter
from fedsight.journal.names import journal_path
from fedsight.monitor.monitor import Monitor
from fedsight.monitor.program import find_program
from fedsight.monitor.sampler import is_alive
from fedsight.monitor.settings import checked_pid

if TYPE_CHECKING:
    from fedsight.monitor.launch import Usage
    from fedsight.monitor.shipping import Shipping

logger = logging.getLogger("fedsight")

COMPONENT = "command"
"""The `component` of the `log` event that says how a program ended."""

DELIVER_SEC = 5.0
"""How long the end waits for a collector."""

_LOOK_SEC = 0.1


class WatchOptions(msgspec.Struct, kw_only=True):
    """How to measure. output: the journal's file. collector: a URL to ship it to. name: of the measured machine."""

    interval: float
    probes: Sequence[str] = ()
    output: Path | None = None
    collector: str | None = None
    token: str | None = None
    name: str | None = None


class Watched(msgspec.Struct, kw_only=True):
    """What came of it. `usage` and `exit_status` are None for a process that was not started here, `usage` on Windows.

    gate_rss_bytes: a peak of memory that is no higher may be this process's own.
    """

    command: list[str]
    pid: int
    duration_sec: float
    exit_status: int | None
    usage: Usage | None
    window: tuple[Path, int] | None
    metrics: dict[str, bool]
    has_ended: bool = True
    gate_rss_bytes: int = 0


class _CommandMonitor(Monitor):
    """Measures from a thread: this process is not the one that is measured."""

    def __init__(self, pid: int, options: WatchOptions) -> None:
        super().__init__(
            options.interval,
            pid=pid,
            probes=("disk", *(name for name in options.probes if name != "disk")),
            journal=_journal(options),
            node=options.name,
            form="thread",
        )
        # Of a shell that this was called from, this process is a descendant, and no part of its work.
        self._settings.excluded_pids = [os.getpid()]
        self.set_metrics(power=True)


def _journal(options: WatchOptions) -> Path | None:
    if options.output is not None:
        return options.output
    if options.collector is None:
        return None
    # It outlives this process where the collector is away.
    name = options.name or platform.node() or "localhost"
    return journal_path(Path("runs"), f"{name}-{secrets.token_hex(4)}", part="monitor")


@contextlib.contextmanager
def run_command(arguments: Sequence[str], options: WatchOptions) -> Iterator[Watched]:
    """Run a program under a monitor; what it has cost can be read within the `with`.

    Raises `NotStarted` where there is no such program, `UsageError` where the monitor can't begin.
    """
    program = find_program(arguments[0])
    if sys.platform == "win32":
        with _run_simply(program, arguments, options) as watched:
            yield watched
        return
    from fedsight.monitor.launch import Launched, shell_status

    launched = Launched(program, arguments)
    try:
        monitor = _CommandMonitor(launched.pid, options)
        monitor.start()
    except BaseException:
        launched.give_up()
        raise
    shipping = _ship(monitor, options)
    began_sec = time.monotonic()
    try:
        launched.begin()
    except FedsightError:
        monitor.stop()
        _deliver(shipping)
        raise
    launched.wait()
    duration_sec = time.monotonic() - began_sec
    stop_quietly(monitor)  # whom nobody has waited for yet, the kernel still knows
    usage = launched.finish()
    watched = Watched(
        command=list(arguments),
        pid=launched.pid,
        duration_sec=duration_sec,
        exit_status=shell_status(usage),
        usage=usage,
        window=monitor.window,
        metrics=monitor.metrics,
        gate_rss_bytes=launched.gate_rss_bytes,
    )
    _note_end(monitor, options, watched)
    yield watched
    _deliver(shipping)


@contextlib.contextmanager
def _run_simply(program: str, arguments: Sequence[str], options: WatchOptions) -> Iterator[Watched]:
    """Where there is no fork: the program's first instants pass before the first reading."""
    began_sec = time.monotonic()
    process = subprocess.Popen([program, *arguments[1:]])
    monitor = _CommandMonitor(process.pid, options)
    try:
        monitor.start()
    except FedsightError as error:  # it may have ended already
        logger.warning("fedsight: the program is not measured: %s", error)
    shipping = _ship(monitor, options)
    while process.poll() is None:
        with contextlib.suppress(KeyboardInterrupt):  # the program gets Ctrl-C, too
            process.wait()
    duration_sec = time.monotonic() - began_sec
    stop_quietly(monitor)
    watched = Watched(
        command=list(arguments),
        pid=process.pid,
        duration_sec=duration_sec,
        exit_status=process.returncode,
        usage=None,
        window=monitor.window,
        metrics=monitor.metrics,
    )
    _note_end(monitor, options, watched)
    yield watched
    _deliver(shipping)


@contextlib.contextmanager
def watch_pid(pid: int, options: WatchOptions) -> Iterator[Watched]:
    """Measure a process that runs already, until it ends, or until Ctrl-C or SIGTERM.

    Raises `UsageError` where it does not run, or may not be measured.
    """
    checked_pid(pid)
    monitor = _CommandMonitor(pid, options)
    command = _command_line(pid)
    monitor.start()
    shipping = _ship(monitor, options)
    began_sec = time.monotonic()
    has_ended = False
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _wait_for(pid)
        has_ended = True
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, earlier)
    duration_sec = time.monotonic() - began_sec
    stop_quietly(monitor)
    watched = Watched(
        command=command,
        pid=pid,
        duration_sec=duration_sec,
        exit_status=None,
        usage=None,
        window=monitor.window,
        metrics=monitor.metrics,
        has_ended=has_ended,
    )
    _note_end(monitor, options, watched)
    yield watched
    _deliver(shipping)


def _wait_for(pid: int) -> None:
    if hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:  # a kernel before 5.3, or one that forbids it
            pass
        else:
            try:
                select.select([fd], [], [])
            finally:
                os.close(fd)
            return
    while is_alive(pid):
        time.sleep(_LOOK_SEC)


def _command_line(pid: int) -> list[str]:
    import psutil  # only here

    try:
        process = psutil.Process(pid)
        return process.cmdline() or [process.name()]
    except psutil.Error:
        return []


def printable(argument: str) -> str:
    """An argument as valid Unicode: on Unix it may be any bytes."""
    return argument.encode("utf-8", "replace").decode()


def stop_quietly(monitor: Monitor) -> None:
    """What is the matter with a monitor harms neither the program's exit status nor the report."""
    try:
        monitor.stop()
    except (FedsightError, OSError) as error:
        logger.warning("fedsight: the monitor could not be stopped: %s", error)


# ── the journal ───────────────────────────────────────────────────────────────────────────────


def _note_end(monitor: _CommandMonitor, options: WatchOptions, watched: Watched) -> None:
    """Say in a journal that stays how it ended. The program's name alone: arguments may hold secrets."""
    if monitor.journal is None or (options.output is None and options.collector is None):
        return
    name = Path(printable(watched.command[0])).name if watched.command else f"process {watched.pid}"
    how = f"exit status {watched.exit_status}" if watched.exit_status is not None else "ended"
    extra = {
        "duration_sec": watched.duration_sec,
        **({} if watched.usage is None else msgspec.structs.asdict(watched.usage)),
    }
    event = Log(
        ts=time.time(),
        component=COMPONENT,
        event="ended" if watched.has_ended else "left",
        message=f"{name}: {how if watched.has_ended else 'runs on'} after {watched.duration_sec:.1f} s",
        extra={key: value for key, value in extra.items() if value is not None},
    )
    try:
        writer = JournalWriter(monitor.journal, role="monitor", run_id=None)
        writer.append(encode(event))
        writer.close()
    except (FedsightError, OSError) as error:
        logger.warning("fedsight: the journal does not say how it ended: %s", error)


def _ship(monitor: _CommandMonitor, options: WatchOptions) -> Shipping | None:
    """From here, and not from the monitor: the journal's last line is written after its end."""
    if options.collector is None or monitor.journal is None:
        return None
    from fedsight.monitor.shipping import Shipping  # HTTP and TLS, which only this needs

    # How it ended is written by another writer than the monitor.
    return Shipping(monitor.journal, options.collector, options.token, ends_with_writer=False)


def _deliver(shipping: Shipping | None) -> None:
    """Wait for the collector; what it can't take stays in the journal, and is said."""
    if shipping is None:
        return
    with contextlib.suppress(KeyboardInterrupt):
        shipping.finish(DELIVER_SEC)
    pending = shipping.pending()
    if pending is not None:
        logger.warning("fedsight: %s", pending)
    shipping.abandon()


def check_output(path: Path) -> None:
    """Raises `UsageError` for a name that no journal can have."""
    if path.suffix != ".jsonl":
        raise UsageError("output", f"--output {path}: a journal's name ends in .jsonl.")
