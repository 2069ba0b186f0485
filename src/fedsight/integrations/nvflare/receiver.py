"""`FedsightReceiver`: a job's server records what every site logs, and what it sees itself, as a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ProcessType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.widgets.streaming import AnalyticsReceiver

from fedsight.emitters.registry import make
from fedsight.errors import UsageError
from fedsight.events import RunStatus
from fedsight.integrations.nvflare import analytics
from fedsight.integrations.nvflare.federation import Federation
from fedsight.integrations.nvflare.job import Job, job_of
from fedsight.integrations.nvflare.late_events import keep_late_events
from fedsight.integrations.nvflare.shipping import collector_emitters
from fedsight.integrations.nvflare.site import RUN_ID_PROP, FedsightSite
from fedsight.run import Run

logger = logging.getLogger("fedsight")

_FAILING_SEC = 1.0
"""What a job's end waits for an emitter that is failing anyway."""


class FedsightReceiver(AnalyticsReceiver):
    """Records an NVFLARE job as a run: put it on the server, `job.to_server(FedsightReceiver(), id="fedsight")`.

    All that `save` does is append to the journal, so nothing is lost while a destination hangs.
    Arguments can be exported with the job; secrets can't, and are not among them (`FEDSIGHT_TOKEN`, or `token_file`).

    run_id: default, the job's id; in the simulator, the job's name and the time. runs_dir: where the
    journal goes; relative to the server's workspace. project: default, the job's name. tags: of the run.
    collector: the URL of a Fedsight collector; default `FEDSIGHT_COLLECTOR`. token_file: a file on the
    server that holds its token. emitters: further destinations by name, with their options:
    `{"tensorboard": {}}`. accuracy_key, loss_key: which of the models' metrics are the accuracy and the
    loss. monitor: measure the server's process: True, seconds, or a dict of the parameters of
    `Run.monitor`. drain_sec: how long the job's end waits, at most, for the destinations. events: what is
    listened to; default, what sites and the server's own process log.
    """

    def __init__(
        self,
        run_id: str | None = None,
        runs_dir: str = "runs",
        project: str | None = None,
        tags: dict[str, str] | None = None,
        collector: str | None = None,
        token_file: str | None = None,
        emitters: dict[str, dict[str, Any]] | None = None,
        accuracy_key: str | None = "accuracy",
        loss_key: str | None = "loss",
        monitor: Any = None,
        drain_sec: float = 10.0,
        events: list[str] | None = None,
    ) -> None:
        super().__init__(events=events)
        if emitters is not None and not isinstance(emitters, Mapping):
            raise UsageError(
                "emitters", f"emitters must be names with their options, not {emitters!r}: {{'mlflow': {{}}}}."
            )
        # Of the same names: NVFLARE exports an argument by the attribute of its name.
        self.run_id = run_id
        self.runs_dir = runs_dir
        self.project = project
        self.tags = tags
        self.collector = collector
        self.token_file = token_file
        self.emitters = emitters
        self.accuracy_key = accuracy_key
        self.loss_key = loss_key
        self.monitor = monitor
        self.drain_sec = drain_sec
        self._run: Run | None = None
        self._federation: Federation | None = None
        self._site: FedsightSite | None = None
        self._is_aborted = False
        self._num_failed = 0
        self._said: set[str] = set()

    # ── what NVFLARE calls ────────────────────────────────────────────────────────────────────

    def initialize(self, fl_ctx: FLContext) -> None:
        """The job starts: open the run. Nothing is waited for."""
        job = job_of(fl_ctx)
        if fl_ctx.get_process_type() == ProcessType.CLIENT_JOB:
            self._site = self._as_site(job)
            return
        self._run = run = Run(
            self.run_id or job.run_id,
            job.algorithm,
            job.config,
            self._emitters(job),
            verbose=False,
            project=self.project or job.name or "default",
            framework="nvflare",
            tags={"job_id": job.id, **({"job_name": job.name} if job.name else {}), **(self.tags or {})},
            runs_dir=job.workspace / self.runs_dir,
            resume=False,
            monitor=self.monitor,
        )
        # Goes along with every answer to a client: what its own component joins.
        fl_ctx.set_prop(RUN_ID_PROP, run.run_id, private=False, sticky=True)
        self._federation = Federation(run, self.accuracy_key, self.loss_key)
        self._federation.meet(job.clients)
        if keep_late_events(fl_ctx):
            run.log_event(
                analytics.COMPONENT, "late_events_kept", "This NVFLARE drops events that overtake one another: not here"
            )
        self.log_info(fl_ctx, f"fedsight: run {run.run_id} → {run.path}", fire_event=False)

    def save(self, fl_ctx: FLContext, shareable: Shareable, record_origin: str) -> None:
        """Append what a site logged to the journal."""
        if self._run is None:
            return
        client_id = None if record_origin == fl_ctx.get_identity_name() else record_origin
        try:
            analytics.write(self._run, analytics.record_of(shareable), client_id, received_at=time.time())
        except Exception as error:
            self._trouble(fl_ctx, f"a record of {record_origin}", error)

    def finalize(self, fl_ctx: FLContext) -> None:
        """The job is over: say how it ended, and give the destinations a little time."""
        if self._run is None or self._federation is None:
            return
        self._federation.end()
        status, error = self._status()
        if self._num_failed:
            self._note(f"Not recorded, in all: {self._num_failed}", "error")
        failing = any(emitter.state().failing_since is not None for emitter in self._run.emitters)
        self._run.finish(status, error, timeout_sec=min(_FAILING_SEC, self.drain_sec) if failing else self.drain_sec)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """All events of the server come by here."""
        super().handle_event(event_type, fl_ctx)
        if self._site is not None:
            self._site.handle_event(event_type, fl_ctx)
            return
        if self._federation is None or self._run is None or self._run.status is not None:
            return
        if event_type == EventType.ABOUT_TO_END_RUN:
            # Asked now: where a job's end takes long, NVFLARE gives the same signal to those that are still at it.
            abort = fl_ctx.get_run_abort_signal()
            self._is_aborted = abort is not None and abort.triggered
        try:
            self._federation.take(event_type, fl_ctx)
        except Exception as error:  # whatever it is, the training goes on
            self._trouble(fl_ctx, f"the event {event_type}", error)

    def _as_site(self, job: Job) -> FedsightSite:
        """On a client it does that site's part: records what the site says, and sends it where it is to go."""
        site = FedsightSite(self.run_id, self.runs_dir, monitor=self.monitor, drain_sec=self.drain_sec)
        site.destinations = self._emitters(job)
        return site

    # ── the run ───────────────────────────────────────────────────────────────────────────────

    def _emitters(self, job: Job) -> list[object]:
        """Where the run goes besides its journal. One that can't be made is said, and left out."""
        wanted = dict(self.emitters or {})
        made: list[object] = []
        for name, options in wanted.items():
            try:
                made.append(make(name, options or {}))
            except Exception as error:
                logger.warning("fedsight: no emitter %s: %s", name, error)
        return [*made, *collector_emitters(self.collector, self.token_file)]

    def _status(self) -> tuple[RunStatus, str | None]:
        assert self._federation is not None
        if self._federation.fatal_error is not None:
            return "failed", self._federation.fatal_error
        if self._is_aborted:
            return "killed", "The job was aborted"
        return "finished", None

    def _trouble(self, fl_ctx: FLContext, what: str, error: Exception) -> None:
        """Said once for each kind of error, and counted."""
        self._num_failed += 1
        kind = f"{type(error).__name__} {what}"
        if kind not in self._said:
            self._said.add(kind)
            self.log_warning(
                fl_ctx, f"fedsight: {what} is not recorded: {type(error).__name__}: {error}", fire_event=False
            )
            self._note(f"{what} is not recorded: {type(error).__name__}: {error}", "error")

    def _note(self, message: str, level: Any) -> None:
        if self._run is not None and self._run.status is None:
            self._run.log_event(analytics.COMPONENT, "not_recorded", message, level=level)
