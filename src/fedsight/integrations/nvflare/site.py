"""`FedsightSite`: a site's own side of the run, in a journal that stays with the site or goes to a collector."""

from __future__ import annotations

import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FedEventHeader, FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.widgets.widget import Widget

import fedsight
from fedsight.integrations.nvflare import analytics
from fedsight.integrations.nvflare.shipping import collector_emitters
from fedsight.run import Run

RUN_ID_PROP = "fedsight_run_id"
"""What the server's receiver says to every client: the run's id."""

_ANALYTICS = (ANALYTIC_EVENT_TYPE, f"fed.{ANALYTIC_EVENT_TYPE}")
_MOST_EARLY = 10_000
"""Records that are held until the run's id is known: until the first task, at the latest."""


class FedsightSite(Widget):
    """Records at a site what it logs, how long its tasks take and, where asked, what they cost its machine.

    `job.to_clients(FedsightSite(monitor=True), id="fedsight_site")`. Whatever happens between site and server, its
    own journal has every metric.

    run_id: default, what the server's `FedsightReceiver` says, else the job's id. runs_dir: where the
    journal goes; relative to the site's workspace. collector, token_file, drain_sec: as of
    `FedsightReceiver`, read at the site. monitor: measure the site's process and its children: True,
    seconds between readings, or a dict of the parameters of `Run.monitor`.
    """

    def __init__(
        self,
        run_id: str | None = None,
        runs_dir: str = "runs",
        collector: str | None = None,
        token_file: str | None = None,
        monitor: Any = None,
        drain_sec: float = 10.0,
    ) -> None:
        super().__init__()
        self.run_id = run_id
        self.runs_dir = runs_dir
        self.collector = collector
        self.token_file = token_file
        self.monitor = monitor
        self.drain_sec = drain_sec
        self.destinations: list[object] = []
        self._run: Run | None = None
        self._early: deque[analytics.Record] = deque(maxlen=_MOST_EARLY)
        self._task: tuple[int | None, float] = None, 0.0
        """The round of the task at hand, and when it began."""
        self._is_cut_off = False
        self._said: set[str] = set()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """All events of the site come by here."""
        try:
            if event_type in _ANALYTICS:
                self._take_record(fl_ctx)
            elif event_type == EventType.BEFORE_TASK_EXECUTION:
                self._task_begins(fl_ctx)
            elif event_type == EventType.AFTER_TASK_EXECUTION:
                self._task_ends(fl_ctx)
            elif event_type == EventType.END_RUN:
                self._end(fl_ctx)
        except Exception as error:  # whatever it is, the training goes on
            what = f"{type(error).__name__} in {event_type}"
            if what not in self._said:
                self._said.add(what)
                self.log_warning(fl_ctx, f"fedsight: {what} is not recorded: {error}", fire_event=False)

    # ── events ────────────────────────────────────────────────────────────────────────────────

    def _take_record(self, fl_ctx: FLContext) -> None:
        """A record comes by twice: as a site's event, and as one on its way to the server. The first is taken."""
        shareable = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
        if not isinstance(shareable, Shareable) or shareable.get_header(analytics.LOGGED_AT) is not None:
            return
        # They go along to the server, which then tells of the same point with the same time.
        shareable.set_header(analytics.LOGGED_AT, shareable.get_header(FedEventHeader.TIMESTAMP) or time.time())
        shareable.set_header(analytics.EVENT_ID, uuid.uuid4().hex)
        record = analytics.record_of(shareable)
        if self._run is None:
            self._early.append(record)
        else:
            analytics.write(self._run, record, self._run.client_id)

    def _task_begins(self, fl_ctx: FLContext) -> None:
        run = self._joined(fl_ctx)
        number = _round_of(fl_ctx.get_prop(FLContextKey.TASK_DATA))
        if number is not None:
            run.round_start(number)
        self._task = number, time.monotonic()
        self._is_cut_off = True  # until the task comes to an end of its own

    def _task_ends(self, fl_ctx: FLContext) -> None:
        number, began_sec = self._task
        result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        code = result.get_return_code(ReturnCode.OK) if isinstance(result, Shareable) else ReturnCode.OK
        self._is_cut_off = code == ReturnCode.TASK_ABORTED
        if self._run is None or number is None:
            return
        self._run.log_client_update(
            round=number,
            status=None if code == ReturnCode.OK else "failed",
            train_time_sec=time.monotonic() - began_sec,
            task=str(fl_ctx.get_prop(FLContextKey.TASK_NAME)),
            return_code=str(code),
        )

    def _end(self, fl_ctx: FLContext) -> None:
        if self._run is None and not self._early:
            return
        self._joined(fl_ctx).finish("killed" if self._is_cut_off else "finished", timeout_sec=self.drain_sec)

    # ── the run ───────────────────────────────────────────────────────────────────────────────

    def _joined(self, fl_ctx: FLContext) -> Run:
        """The site's side of the run, from its first task on."""
        if self._run is None or self._run.status is not None:
            workspace = Path(fl_ctx.get_workspace().get_root_dir()).absolute()
            self._run = fedsight.join(
                self.run_id or _told_run_id(fl_ctx) or str(fl_ctx.get_job_id()),
                fl_ctx.get_identity_name(),
                runs_dir=workspace / self.runs_dir,
                emitters=[*collector_emitters(self.collector, self.token_file), *self.destinations],
                monitor=self.monitor,
            )
            while self._early:
                analytics.write(self._run, self._early.popleft(), self._run.client_id)
        return self._run


def _told_run_id(fl_ctx: FLContext) -> str | None:
    peer = fl_ctx.get_peer_context()
    told = peer.get_prop(RUN_ID_PROP) if peer is not None else None
    return str(told) if told else None


def _round_of(data: Any) -> int | None:
    number = data.get_header(AppConstants.CURRENT_ROUND) if isinstance(data, Shareable) else None
    return number if isinstance(number, int) and number >= 0 else None
