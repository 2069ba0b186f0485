"""Which MLflow runs a run of ours is kept in: one, and in the per-site layout one more per client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import msgspec

from fedsight.emitters.destination import RunInfo
from fedsight.emitters.mlflow.points import LONGEST_TAG, cut, milliseconds
from fedsight.emitters.mlflow.tracking import Tracking
from fedsight.events import RunStatus

if TYPE_CHECKING:
    from mlflow.entities import Run

logger = logging.getLogger("fedsight")

Layout = Literal["one-run", "per-site"]

RUN_ID = "fedsight/run_id"
CLIENT_ID = "fedsight/client_id"
STARTED_AT = "fedsight/started_at"
ADOPTED = "fedsight/adopted"
"""On a run that is the user's own: it is never ended by us, not by a later `fedsight sync` either."""
_PARENT = "mlflow.parentRunId"

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class Plan(msgspec.Struct, frozen=True):
    """What the user wants of MLflow's experiment and runs.

    artifact_location (a URI), experiment_tags: of an experiment that is made. site_tags: of each site's run in the
    per-site layout.
    """

    experiment: str
    layout: Layout
    run_name: str | None = None
    artifact_location: str | None = None
    experiment_tags: dict[str, str] = {}
    site_tags: dict[str, str] = {}


class Runs:
    """Finds, makes and ends the MLflow runs of `run`."""

    def __init__(self, tracking: Tracking, run: RunInfo, plan: Plan) -> None:
        self._tracking = tracking
        self._run = run
        self._plan = plan
        self._layout = plan.layout
        self._run_name = plan.run_name
        self._is_users = False
        self._is_new = False
        self._sites: dict[str, str] | None = None
        self._experiment_id = ""
        self.main_id = ""

    def open(self, resume_run_id: str | None, saved_run_id: str | None, *, is_adopted: bool) -> None:
        """Go on with the run `resume_run_id`, else with the saved one, else with one that has our tags; else make it.

        is_adopted: the run to resume is the user's.
        """
        if resume_run_id is not None:
            found: Run | None = self._tracking.active_run(resume_run_id)
        else:
            plan = self._plan
            self._experiment_id = self._tracking.experiment_id(
                plan.experiment, plan.artifact_location, plan.experiment_tags
            )
            found = self._saved(saved_run_id) if saved_run_id is not None else self._with_our_tags()
        if found is None:
            self.main_id = self._create(self._main_name(), self._main_tags())
            self._is_new = True
            return
        self.main_id = found.info.run_id
        self._experiment_id = found.info.experiment_id
        self._is_users = is_adopted or found.data.tags.get(ADOPTED) == "true"
        tags = self._main_tags() | ({ADOPTED: "true"} if self._is_users else {})
        self._tracking.log(self.main_id, tags={k: v for k, v in tags.items() if found.data.tags.get(k) != v})
        if not self._is_users:
            self._begin_again(found)

    def _saved(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException

        try:
            return self._tracking.active_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        logger.warning(
            "fedsight: the MLflow run %s is gone: a new one is made, for what was not delivered yet.", run_id
        )
        return None

    def _with_our_tags(self) -> Run | None:
        """What an earlier process made of the same run, and whose id is not saved with us."""
        tags = self._main_tags()
        wanted = {key: tags[key] for key in (RUN_ID, STARTED_AT, CLIENT_ID) if key in tags}
        return self._newest(wanted, is_site=self._run.client_id is not None)

    def _newest(self, tags: dict[str, str], *, is_site: bool) -> Run | None:
        for run in self._tracking.runs_with_tags(self._experiment_id, tags):
            if (CLIENT_ID in run.data.tags) == is_site:
                return run
        return None

    def _main_tags(self) -> dict[str, str]:
        run = self._run
        tags: dict[str, str | None] = {
            RUN_ID: run.run_id,
            STARTED_AT: None if run.started_at is None else repr(run.started_at),
            CLIENT_ID: run.client_id,
            "fedsight/project": run.project,
            "fedsight/algorithm": run.algorithm,
            "fedsight/framework": run.framework,
            # People's searches for HiveWatch's runs find ours, too.
            "hivewatch/run_id": run.run_id,
            "hivewatch/algorithm": run.algorithm,
        }
        return {key: cut(value, LONGEST_TAG) for key, value in tags.items() if value is not None}

    def _main_name(self) -> str:
        if self._run.client_id is None:
            return self._run_name or self._run.run_id
        return self._site_name(self._run.client_id)

    def _site_name(self, client_id: str) -> str:
        """As NVFLARE names a site's run: site, job and, where one is given, the run's name."""
        return "-".join([client_id, self._run.run_id, *([self._run_name] if self._run_name else [])])

    def _create(self, name: str, tags: dict[str, str]) -> str:
        if self._run.client_id is not None and self._layout == "per-site":
            server = self._newest({RUN_ID: tags[RUN_ID]}, is_site=False)
            tags |= {_PARENT: server.info.run_id} if server is not None else {}
        started_at = self._run.started_at
        made = self._tracking.client.create_run(
            self._experiment_id,
            start_time=None if started_at is None else milliseconds(started_at),
            tags=tags,
            run_name=name,
        )
        return str(made.info.run_id)

    def _begin_again(self, run: Run) -> None:
        if run.info.status != "RUNNING":
            self._tracking.client.update_run(run.info.run_id, status="RUNNING")

    # ── sites ─────────────────────────────────────────────────────────────────────────────────

    def site_id(self, client_id: str) -> str:
        """The MLflow run of one client, below the main one; made when it is first asked for."""
        sites = self._known_sites()
        if client_id not in sites:
            self._tracking.reach()
            name = self._site_name(client_id)
            tags = {key: cut(value, LONGEST_TAG) for key, value in self._plan.site_tags.items()}
            # NVFLARE's receiver has these two, too: people's searches find ours.
            tags |= {"job_id": self._run.run_id, "run_name": name}
            tags |= self._main_tags() | {CLIENT_ID: cut(client_id, LONGEST_TAG), _PARENT: self.main_id}
            sites[client_id] = self._create(name, tags)
        return sites[client_id]

    def _known_sites(self) -> dict[str, str]:
        if self._sites is None:
            self._sites = {}
            if not self._is_new:
                self._tracking.reach()
                found = self._tracking.runs_with_tags(self._experiment_id, {_PARENT: self.main_id})
                for run in found:
                    if (client_id := run.data.tags.get(CLIENT_ID)) is not None:
                        self._begin_again(run)
                        self._sites[client_id] = run.info.run_id
        return self._sites

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def end(self, status: RunStatus, ended_at: float) -> None:
        """End them with the run's status; the user's own run goes on. ended_at: UTC epoch seconds."""
        self._tracking.reach()
        ours = [] if self._is_users else [self.main_id]
        if self._layout == "per-site":
            ours += self._known_sites().values()
        for run_id in ours:
            self._tracking.end(run_id, _STATUS[status], milliseconds(ended_at))

    def where(self) -> str:
        """Where to look at the main run."""
        uri = self._tracking.shown_uri
        if self._tracking.is_server:
            return f"{uri.rstrip('/')}/#/experiments/{self._experiment_id}/runs/{self.main_id}"
        return f"MLflow run {self.main_id} in {uri}"
