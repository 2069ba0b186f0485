"""`MLflowReceiver`: in the place of NVFLARE's, with its parameters and its layout in MLflow, from the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedsight.emitters import MLflowEmitter
from fedsight.errors import UsageError
from fedsight.integrations.nvflare.job import Job
from fedsight.integrations.nvflare.receiver import FedsightReceiver

_EXPERIMENT = "FLARE FL Experiment"
_RUN_NAME = "FLARE FL Run"
_KNOWN = ("experiment_name", "run_name", "experiment_tags", "run_tags")


class MLflowReceiver(FedsightReceiver):
    """Streams every site's metrics to MLflow: change the import, keep the rest.

    One experiment; one run per site, named `<site>-<job id>-<run name>`, below one parent run per job
    with the aggregated metrics and the rounds. The job never waits for MLflow, and what MLflow
    misses stands in the journal: `fedsight sync` delivers it later.

    tracking_uri: default, the database `mlflow.db` among the job's results. kw_args: `experiment_name`,
    `run_name`, `experiment_tags` (a dict), `run_tags` (a dict). artifact_location: where a new experiment keeps its
    artifacts: a URI, or a folder, relative to the job's, in the server's own file system; a folder is passed over
    where tracking_uri is a server, which then keeps them where its pages can show them. events: what is listened to.
    buffer_flush_time: seconds between deliveries. The rest: as of `FedsightReceiver`.

    Raises `UsageError` for arguments that can't be meant.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        kw_args: dict[str, Any] | None = None,
        artifact_location: str | None = None,
        events: list[str] | None = None,
        buffer_flush_time: float = 1,
        runs_dir: str = "runs",
        collector: str | None = None,
        token_file: str | None = None,
        monitor: Any = None,
        drain_sec: float = 10.0,
    ) -> None:
        super().__init__(
            runs_dir=runs_dir,
            collector=collector,
            token_file=token_file,
            monitor=monitor,
            drain_sec=drain_sec,
            events=events,
        )
        if tracking_uri is not None and not isinstance(tracking_uri, str):
            raise UsageError("tracking_uri", f"tracking_uri must be a URI or None, not {tracking_uri!r}.")
        self.tracking_uri = tracking_uri
        self.kw_args = kw_args or {}
        self.artifact_location = artifact_location
        self.buffer_flush_time = buffer_flush_time
        for name in ("experiment_tags", "run_tags"):
            if not isinstance(self.kw_args.get(name) or {}, dict):
                raise UsageError("kw_args", f"kw_args[{name!r}] must be a dict, not {self.kw_args[name]!r}.")
        if unknown := [name for name in self.kw_args if name not in _KNOWN]:
            raise UsageError("kw_args", f"kw_args has {unknown[0]!r}; there are {', '.join(_KNOWN)}.")
        if not buffer_flush_time >= 0:
            raise UsageError(
                "buffer_flush_time", f"buffer_flush_time must be seconds, at least 0, not {buffer_flush_time!r}."
            )
        self._emitter_of(Path.cwd())  # what can't be meant is said now, not at the server

    def _emitters(self, job: Job) -> list[object]:
        return [*super()._emitters(job), self._emitter_of(job.run_folder)]

    def _emitter_of(self, folder: Path) -> MLflowEmitter:
        """Folder: where what has no address of its own goes."""
        uri = self.tracking_uri or f"sqlite:///{folder / 'mlflow.db'}"
        return MLflowEmitter(
            experiment=self.kw_args.get("experiment_name") or _EXPERIMENT,
            tracking_uri=uri,
            run_name=self.kw_args.get("run_name") or _RUN_NAME,
            tags=self.kw_args.get("run_tags"),
            layout="per-site",
            experiment_tags=self.kw_args.get("experiment_tags"),
            artifact_location=self._artifacts(uri, folder),
            flush_interval_sec=self.buffer_flush_time,
        )

    def _artifacts(self, uri: str, folder: Path) -> str | None:
        location = self.artifact_location
        if location is not None and "://" in location:
            return location
        if uri.startswith(("http://", "https://")):
            return None
        return (folder / (location or "artifacts")).as_uri()
