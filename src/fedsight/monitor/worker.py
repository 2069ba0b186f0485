"""One window of measuring, from its first reading to its last, in whatever thread or process it is run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedsight.errors import FedsightError, JournalError, UsageError
from fedsight.journal import JournalWriter
from fedsight.monitor.clock import Schedule
from fedsight.monitor.commands import AnyCommand, AnyReply, AskPending, Done, Failed, Flush, Mark, Ready, Stop, Switch
from fedsight.monitor.plain_log import PlainLog
from fedsight.monitor.sampler import Reading, Sampler, TargetGone, is_alive
from fedsight.monitor.settings import HELD_SEC, Settings

if TYPE_CHECKING:
    from fedsight.monitor.prometheus import PrometheusEndpoint
    from fedsight.monitor.shipping import Shipping

_LONGEST_WAIT_SEC = 3600.0


class Inbox(Protocol):
    """Where commands come from."""

    def get(self, timeout_sec: float) -> AnyCommand | None:
        """The next command; None when none came in time, or when the measured process may have ended.

        Raises `EOFError` when there is nobody left to give any.
        """


class Worker:
    """Opens journal, probes and outputs; carries out commands. Raises `UsageError` naming what can't be had."""

    def __init__(self, settings: Settings, own_cpu_time: Callable[[], float]) -> None:
        self._settings = settings
        self._plain_log: PlainLog | None = None
        self._endpoint: PrometheusEndpoint | None = None
        self.shipping: Shipping | None = None
        self._sampler: Sampler | None = None
        self.is_over = False
        self._writer = _open_journal(settings)
        self._offset = self._writer.end
        try:
            self._open(settings, own_cpu_time)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: Settings, own_cpu_time: Callable[[], float]) -> None:
        if settings.plain_log is not None:
            try:
                self._plain_log = PlainLog(settings.plain_log)
            except OSError as error:
                raise _cant_write(settings.plain_log, error) from error
        try:
            self._sampler = Sampler(settings, self._writer, own_cpu_time=own_cpu_time, on_recorded=self._tell)
            first = self._sampler.take()
        except (ProcessLookupError, TargetGone) as error:
            raise UsageError("pid", f"pid: there is no process {settings.pid} that runs on this machine.") from error
        if self._plain_log is not None:
            self._plain_log.start(first.ts)
        if settings.port is not None:
            self._serve(settings, settings.port)
        if settings.collector is not None:
            from fedsight.monitor.shipping import Shipping  # HTTP and TLS, which only this needs

            self.shipping = Shipping(self._writer.path, settings.collector, settings.token)
        self._schedule = Schedule(settings.interval_sec, self._sampler.start_sec)

    def _serve(self, settings: Settings, port: int) -> None:
        from fedsight.monitor.prometheus import PrometheusEndpoint

        try:
            self._endpoint = PrometheusEndpoint(settings.addr, port, self._page)
        except OSError as error:
            raise UsageError(
                "port",
                f"port {port} of {settings.addr} can't be had ({error.strerror or error}): choose another one, or 0.",
            ) from error

    def _page(self) -> bytes:
        from fedsight.monitor.exposition import render

        sampler = self._sampler
        if sampler is None or sampler.last is None:
            return b""
        run = {"run_id": self._settings.run_id, "client_id": self._settings.client_id}
        return render(sampler.last, sampler.infos, {name: value for name, value in run.items() if value is not None})

    def ready(self) -> Ready:
        """What the monitor needs to know to read the window."""
        return Ready(str(self._writer.path), self._offset, self._endpoint.port if self._endpoint else None)

    # ── measuring ─────────────────────────────────────────────────────────────────────────────

    def wait_sec(self) -> float:
        """Seconds until the next reading is due."""
        return _LONGEST_WAIT_SEC if self.is_over else min(_LONGEST_WAIT_SEC, self._schedule.wait_sec(time.monotonic()))

    def tick(self) -> None:
        """Take the reading that is due, if one is; see whether there is still something to measure."""
        if self.is_over or self._sampler is None:
            return
        if not self._schedule.is_due(time.monotonic()):
            if not is_alive(self._settings.pid):
                # Until somebody waits for it, the kernel still tells what it has used.
                self._take(None)
                self._end()
            return
        self._sampler.num_missed = self._schedule.num_missed
        try:
            self._sampler.read()
        except TargetGone:
            self._end()
            return
        if self._sampler.held_sec + self._settings.interval_sec >= HELD_SEC:
            self._sampler.record()

    def carry_out(self, command: AnyCommand) -> Done:
        """Do what the monitor asks."""
        if isinstance(command, AskPending):
            return Done(seq=command.seq, is_over=self.is_over, text=self.pending())
        if not self.is_over:
            if isinstance(command, Mark):
                self._take({"phase": command.phase, "number": command.number, "edge": command.edge})
            elif isinstance(command, Switch):
                self._switch(command.metrics)
            elif isinstance(command, Flush):
                self._flush()
            else:
                self._take(None)
        answer = Done(seq=command.seq, is_over=self.is_over)
        if isinstance(command, Stop):
            self._stop_outputs()
        return answer

    def _switch(self, metrics: dict[str, bool]) -> None:
        assert self._sampler is not None
        try:
            self._sampler.switch(metrics)
        except TargetGone:
            self._end()

    def _flush(self) -> None:
        assert self._sampler is not None
        self._sampler.record()

    def _take(self, extra: dict[str, object] | None) -> None:
        assert self._sampler is not None
        try:
            self._sampler.take(extra)
        except TargetGone:
            self._end()

    def _tell(self, reading: Reading) -> None:
        if self._plain_log is not None and reading.interval_sec is not None:
            self._plain_log.sample(reading.figures)

    def _end(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._sampler is not None:
            self._sampler.log("ended", f"The process {self._settings.pid} has ended; the figures go up to there.")

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _stop_outputs(self) -> None:
        """What must be done when stop() returns."""
        if self._sampler is not None and not self.is_over:
            self._sampler.log("stopped", f"After {self._sampler.num_samples} readings.")
        self.is_over = True
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None
        if self._plain_log is not None:
            self._plain_log.close()
            self._plain_log = None

    def close(self) -> None:
        """Let everything go, the shipping apart: that ends by itself, when all is delivered."""
        self._stop_outputs()
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None
        self._writer.close()

    def pending(self) -> str | None:
        """A sentence on what is not at the collector yet; None where all is, or where there is no collector."""
        return None if self.shipping is None else self.shipping.pending()


def work(
    settings: Settings, inbox: Inbox, reply: Callable[[AnyReply], None], own_cpu_time: Callable[[], float]
) -> Worker | None:
    """Measure until told to stop, or until there is nobody left who could tell. None: it could not be started."""
    try:
        worker = Worker(settings, own_cpu_time)
    except UsageError as error:
        reply(Failed(error.field, str(error)))
        return None
    except (FedsightError, OSError) as error:
        reply(Failed("start", str(error)))
        return None
    try:
        reply(worker.ready())
        while True:
            try:
                command = inbox.get(worker.wait_sec())
            except EOFError:
                worker.carry_out(Stop())
                return worker
            if command is None:
                worker.tick()
                continue
            reply(worker.carry_out(command))
            if isinstance(command, Stop):
                return worker
    finally:
        worker.close()


def _open_journal(settings: Settings) -> JournalWriter:
    path = Path(settings.journal)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The writer would go on without recording, as training must; a monitor that is just being started can say so.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
        return JournalWriter(path, role="monitor", run_id=settings.run_id, client_id=settings.client_id)
    except OSError as error:
        raise _cant_write(settings.journal, error) from error
    except JournalError as error:
        raise UsageError("file", f"file: {error}") from error


def _cant_write(path: str, error: OSError) -> UsageError:
    return UsageError("file", f"file {path} can't be written ({error.strerror or error}): choose another place.")
