"""`MLflowEmitter`: one run of ours as one run of MLflow's, or as one per site."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from fedsight.emitters.destination import Batch, RunInfo
from fedsight.emitters.mlflow.checkpoints import Upload, Uploads
from fedsight.emitters.mlflow.outgoing import Choices, Outgoing, Sent
from fedsight.emitters.mlflow.runs import Layout, Plan, Runs
from fedsight.emitters.mlflow.tracking import Refusal, Tracking, without_secrets
from fedsight.errors import UsageError
from fedsight.events import RunStatus

logger = logging.getLogger("fedsight")

_UPLOAD_PATIENCE_SEC = 10.0
"""How long a batch waits for its model files before metrics go on without them."""
_MONITOR_PATIENCE_SEC = 10.0
_MOST_FOLDERS = 1000


class MLflowEmitter:
    """Delivers a run to MLflow: metrics, params, tags, checkpoints.

    experiment: MLflow's experiment, created where there is none. tracking_uri: a server's URL, a
    database ("sqlite:///mlflow.db") or a folder where MLflow still allows it; default
    `MLFLOW_TRACKING_URI`, else what MLflow itself chooses. run_name: default, the run's id.
    resume_run_id: the id of an MLflow run to go on with. tags: for the MLflow run, beside the run's own.
    log_per_client, log_system: each client's figures, and those of its machine. log_geo: where
    clients and server are, as tags. mlflow_system_metrics: have MLflow measure this machine, too,
    each system_metrics_sampling_interval seconds (default: MLflow's 10).
    layout: "one-run", or "per-site" for a run per client below one with the global figures (tags then stand on each).
    experiment_tags, artifact_location (a URI): of an experiment that is created.
    flush_interval_sec: gather what is logged for so long before it is sent; default, next to nothing.
    registered_model: each checkpoint becomes a version of this registered model, too.

    Without resume_run_id, a run that is active in MLflow (`mlflow.start_run()`) when this object is
    made, in the same thread and store, is used and never ended.

    Guard from doubles: MLflow's databases and servers keep a point equal in key, step, time and
    value once, and each event is sent under its own time stamp, so what comes again after a crash
    adds nothing. MLflow's folder store has no such guard. Tags, params and artifacts are overwritten
    by the same.

    Raises `UsageError` for a value that can't be meant.
    """

    name: ClassVar[str] = "mlflow"

    def __init__(
        self,
        experiment: str = "fedsight",
        tracking_uri: str | os.PathLike[str] | None = None,
        run_name: str | None = None,
        resume_run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        log_system: bool = True,
        log_per_client: bool = True,
        log_geo: bool = False,
        mlflow_system_metrics: bool = False,
        system_metrics_sampling_interval: float | None = None,
        layout: Layout = "one-run",
        registered_model: str | None = None,
        experiment_tags: Mapping[str, Any] | None = None,
        artifact_location: str | None = None,
        flush_interval_sec: float = 0.0,
    ) -> None:
        if not isinstance(experiment, str) or not experiment or "://" in experiment:
            raise UsageError(
                "experiment", f"experiment must be a name, not {experiment!r}. A store's address is `tracking_uri`."
            )
        if layout not in ("one-run", "per-site"):
            raise UsageError("layout", f"layout must be 'one-run' or 'per-site', not {layout!r}.")
        if system_metrics_sampling_interval is not None and not system_metrics_sampling_interval > 0:
            raise UsageError(
                "system_metrics_sampling_interval",
                f"system_metrics_sampling_interval must be seconds, more than 0, not {system_metrics_sampling_interval!r}.",
            )
        if not flush_interval_sec >= 0:
            raise UsageError(
                "flush_interval_sec", f"flush_interval_sec must be seconds, at least 0, not {flush_interval_sec!r}."
            )
        self.experiment = experiment
        self.run_name = run_name
        self.pace_sec = flush_interval_sec
        texts = {str(key): str(value) for key, value in (tags or {}).items()}
        self._choices = Choices(
            layout=layout, log_system=log_system, log_per_client=log_per_client, log_geo=log_geo, tags=texts
        )
        self._plan = Plan(
            experiment=experiment,
            layout=layout,
            run_name=run_name,
            artifact_location=artifact_location,
            experiment_tags={str(key): str(value) for key, value in (experiment_tags or {}).items()},
            site_tags=texts,
        )
        self.registered_model = registered_model
        self._monitor_interval_sec = system_metrics_sampling_interval
        self._with_monitor = mlflow_system_metrics
        self.tracking_uri = _tracking_uri(tracking_uri)
        self.resume_run_id = resume_run_id
        self._adopted = False
        if resume_run_id is None:
            self.resume_run_id = _active_run_id(self.tracking_uri)
            self._adopted = self.resume_run_id is not None
        self._folder = str(Path.cwd())
        self._tracking: Tracking | None = None
        self._runs: Runs | None = None
        self._uploads: Uploads | None = None
        self._monitor: Any = None
        self._ended_at: float | None = None
        self._num_refused_uploads = 0
        self._refused: set[str] = set()
        self._sent = Sent()
        self._begun_uploads: set[tuple[str, int]] = set()

    # ── what `Following` asks ─────────────────────────────────────────────────────────────────

    def identity(self) -> str:
        """The store, the experiment (or the run), the layout."""
        store = without_secrets(self.tracking_uri) if self.tracking_uri else f"the default store in {self._folder}"
        run = f" run {self.resume_run_id}" if self.resume_run_id else ""
        return f"mlflow {store} {self.experiment}{run} {self._choices.layout}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """Find or make the MLflow run. Raises what keeps MLflow from it; `MissingExtra` where it isn't installed."""
        saved = saved or {}
        self._tracking = Tracking(self.tracking_uri)
        self._runs = Runs(self._tracking, run, self._plan)
        self._runs.open(self.resume_run_id, saved.get("mlflow_run_id"), is_adopted=self._adopted)
        self._ended_at = None
        self._sent = Sent(unhashed=[(number, path) for number, path in saved.get("unhashed", [])])
        self._begun_uploads = set()
        if self._uploads is not None:
            self._uploads.stop()
        self._uploads = Uploads(self._tracking, self._runs.main_id, self.registered_model)
        self._num_refused_uploads = 0
        for upload in saved.get("uploads", []):
            self._uploads.add(msgspec.convert(upload, Upload))
        if self._with_monitor:
            self._start_monitor(self._runs.main_id)

    def deliver(self, batch: Batch) -> int:
        """Metrics, params and tags; then model files, of which long ones go on beside the next batches."""
        assert self._runs is not None
        assert self._uploads is not None
        outgoing = Outgoing(self._choices, batch, self._sent)
        for line in batch.lines:
            outgoing.take(line)
        num_refused = self._send(outgoing)
        for site, offset, upload in outgoing.uploads:
            if (batch.journal, offset) not in self._begun_uploads:  # else the batch comes again
                upload.run_id = None if site is None else self._runs.site_id(site)
                self._begun_uploads.add((batch.journal, offset))
                self._uploads.add(upload)
        for upload in outgoing.confirmations:
            self._uploads.confirm(upload)
        has_ended = outgoing.ended_at is not None
        if not self._uploads.wait(None if has_ended else _UPLOAD_PATIENCE_SEC) and has_ended:
            raise ConnectionError(f"not all checkpoints are at MLflow yet: {self._uploads.last_error}")
        outgoing.commit()
        self._begun_uploads.clear()
        self._ended_at = outgoing.ended_at
        num_refused += self._uploads.num_refused - self._num_refused_uploads
        self._num_refused_uploads = self._uploads.num_refused
        return num_refused

    def save(self) -> dict[str, Any] | None:
        """The MLflow run's id, and the uploads that are not done."""
        if self._runs is None or self._uploads is None:
            return None
        return {
            "mlflow_run_id": self._runs.main_id,
            "unhashed": [list(key) for key in self._sent.unhashed],
            "uploads": [msgspec.to_builtins(upload) for upload in self._uploads.pending()],
        }

    def close(self, status: RunStatus | None) -> None:
        """End the MLflow run (and its sites'), unless it is the user's."""
        if self._runs is None or self._uploads is None:
            return
        if not self._uploads.wait(None):
            raise ConnectionError(f"not all checkpoints are at MLflow: {self._uploads.last_error}")
        self._stop_monitor()
        if status is not None:
            self._runs.end(status, self._ended_at or time.time())
        self._uploads.stop()

    def where(self) -> str:
        """The MLflow run."""
        if self._runs is None or self._tracking is None:
            return f"MLflow experiment {self.experiment!r}"
        return self._runs.where()

    def sync_arguments(self) -> list[str]:
        """The options of `fedsight sync --to mlflow`. Passwords in the URI are left to MLflow's own settings."""
        uri = self.tracking_uri and without_secrets(self.tracking_uri)
        options: dict[str, Any] = {
            "experiment": self.experiment,
            "tracking_uri": uri,
            "run_name": self.run_name,
            "resume_run_id": self.resume_run_id,
            "registered_model": self.registered_model,
            "experiment_tags": self._plan.experiment_tags or None,
            "artifact_location": self._plan.artifact_location,
            "tags": self._choices.tags or None,
            "layout": self._choices.layout if self._choices.layout != "one-run" else None,
            "log_per_client": None if self._choices.log_per_client else False,
            "log_system": None if self._choices.log_system else False,
            "log_geo": self._choices.log_geo or None,
        }
        arguments = [f"{key}={_option(value)}" for key, value in options.items() if value is not None]
        return [each for argument in arguments for each in ("--set", argument)]

    # ── sending ───────────────────────────────────────────────────────────────────────────────

    def _send(self, outgoing: Outgoing) -> int:
        assert self._runs is not None
        assert self._tracking is not None
        refused: list[Refusal] = []
        for site, params in outgoing.params:
            refused += self._tracking.log(self._run_of(site), params=params)
        for site in {**outgoing.tags, **outgoing.points}:
            refused += self._tracking.log(self._run_of(site), outgoing.points[site], outgoing.tags[site])
        for each in refused:
            if each.what not in self._refused:
                self._refused.add(each.what)
                logger.warning("fedsight: MLflow refused the %s, which is left out: %s", each.what, each.why)
        return len(refused)

    def _run_of(self, site: str | None) -> str:
        assert self._runs is not None
        return self._runs.main_id if site is None else self._runs.site_id(site)

    # ── MLflow's own measurements of this machine ─────────────────────────────────────────────

    def _start_monitor(self, run_id: str) -> None:
        """Without it rather than not at all: whatever is wrong with it is said, and the rest goes on."""
        if self._monitor is not None:
            return
        interval = {} if self._monitor_interval_sec is None else {"sampling_interval": self._monitor_interval_sec}
        try:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            assert self._tracking is not None
            monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=self._tracking.uri, **interval)  # type: ignore[no-untyped-call]
            monitor.start()  # type: ignore[no-untyped-call]
        except Exception as error:
            logger.warning("fedsight: MLflow does not measure this machine: %s", error)
        else:
            self._monitor = monitor

    def _stop_monitor(self) -> None:
        """It waits for its last request, which may take minutes where the server is gone."""
        if self._monitor is not None:
            stopping = threading.Thread(target=self._monitor.finish, name="fedsight-mlflow-monitor", daemon=True)
            stopping.start()
            stopping.join(_MONITOR_PATIENCE_SEC)
            self._monitor = None


def _option(value: Any) -> str:
    """As JSON, a text as it is unless it would be read as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _tracking_uri(given: str | os.PathLike[str] | None) -> str | None:
    """The store's address, paths made absolute; None where it is MLflow's to choose."""
    if given is None:
        mlflow = sys.modules.get("mlflow")
        if mlflow is not None and mlflow.is_tracking_uri_set():
            given = str(mlflow.get_tracking_uri())
        else:
            given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return None
    uri = os.fspath(given)
    if not isinstance(uri, str):
        raise UsageError("tracking_uri", f"tracking_uri must be a URI or a path, not {given!r}.")
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////") and uri != "sqlite:///:memory:":
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    if "://" in uri or uri.startswith(("file:", "databricks")):
        return uri
    return str(Path(uri).absolute())


def _active_run_id(tracking_uri: str | None) -> str | None:
    """The run that the user has active in MLflow, in this thread and the store that we deliver to."""
    mlflow = sys.modules.get("mlflow")
    active = mlflow.active_run() if mlflow is not None else None
    if mlflow is None or active is None:
        return None
    run_id = str(active.info.run_id)
    if tracking_uri is not None and tracking_uri != _tracking_uri(mlflow.get_tracking_uri()):
        logger.info("fedsight: MLflow's active run %s is in another store: it is not used.", run_id)
        return None
    return run_id
