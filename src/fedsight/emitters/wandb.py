"""`WandbEmitter`: a run's metrics, checkpoints, alerts and map for Weights & Biases."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from fedsight.emitters.destination import Batch, RunInfo
from fedsight.emitters.wandb_alerts import Alerts
from fedsight.emitters.wandb_checkpoints import Uploads, alias, artifact_of
from fedsight.emitters.wandb_rows import rows_of, without_doubles
from fedsight.emitters.wandb_session import Session, Wanted, Whereabouts
from fedsight.errors import UsageError
from fedsight.events import Checkpoint, ClientUpdate, RunStatus, ServerInfo

__all__ = ["WandbEmitter", "without_doubles"]

logger = logging.getLogger("fedsight")

_JOB_TYPE = "federated-training"
_PLACE_COLUMNS = ["round", "client_id", "lat", "lng", "city", "country", "accuracy", "loss", "status"]
_MOST_PLACES = 10_000


class _Saved(msgspec.Struct):
    """What a later process needs to go on."""

    wandb_run: Whereabouts | None = None
    alerts: Alerts = msgspec.field(default_factory=Alerts)
    uploads: Uploads = msgspec.field(default_factory=Uploads)
    places: dict[str, list[Any]] = {}


class WandbEmitter:
    """Logs a run to Weights & Biases, with `round` as the x-axis (docs/emitters/wandb.md).

    A W&B run that the process has open (`wandb.init()` before `fedsight.init()`) is adopted, and never
    finished; else one is started, named like the Fedsight run. The file of W&B's step grows by itself,
    so late updates of asynchronous training are kept.

    group: default the run's algorithm. tags, config: added to the run's own. log_system: `sys/<id>/…`.
    log_per_client: `client/<id>/…`. log_geo: a table `geo/client_locations` at the end, of each
    client's last known place. mode: "online", "offline" or "disabled"; W&B's own choice (WANDB_MODE) when None.

    Doubles: W&B has no guard. Each row carries `fedsight/journal` and `fedsight/offset`, by which
    `without_doubles` finds rows that a crash had delivered twice.
    Raises `UsageError` for values that can't be meant.
    """

    name: ClassVar[str] = "wandb"

    def __init__(
        self,
        project: str = "fedsight",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = _JOB_TYPE,
        tags: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        log_system: bool = True,
        log_per_client: bool = True,
        log_geo: bool = False,
        mode: Literal["online", "offline", "disabled"] | None = None,
    ) -> None:
        if not isinstance(project, str) or not project:
            raise UsageError("project", f"project must be the name of a W&B project, not {project!r}.")
        if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags or ()):
            raise UsageError("tags", f'tags must be a list of strings, like ["baseline"], not {tags!r}.')
        if not isinstance(config, (Mapping, type(None))):
            raise UsageError("config", f"config must be a mapping of hyperparameters, not {config!r}.")
        if mode not in (None, "online", "offline", "disabled"):
            raise UsageError("mode", f'mode must be "online", "offline" or "disabled", not {mode!r}.')
        self._wanted = Wanted(project, entity, group, job_type, list(tags or ()), dict(config or {}), mode)
        self._log_system = log_system
        self._log_per_client = log_per_client
        self._log_geo = log_geo
        self._run = RunInfo(run_id="")
        self._state = _Saved()
        self._session: Session | None = None
        self._where = "nothing was logged"

    def identity(self) -> str:
        """Entity and project; what is kept offline is another store."""
        mode = self._wanted.mode or os.environ.get("WANDB_MODE") or "online"
        return f"wandb:{mode}:{self._wanted.entity or ''}/{self._wanted.project}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """Adopt or start a W&B run. Raises what `Session` raises."""
        self._run = run
        self._state = _Saved() if saved is None else msgspec.convert(saved, _Saved)
        before = self._state.wandb_run
        self._session = None
        session = self._begin_session()
        if before is not None and before.is_open and not session.run.offline:
            logger.warning(
                "fedsight: an earlier process was killed before W&B had uploaded all of run %s. If rows are missing "
                "there, upload them from where it ran with: wandb sync --include-online %s",
                run.run_id,
                before.folder,
            )

    def _begin_session(self) -> Session:
        if self._session is None:
            self._session = Session(self._wanted, self._run, self._state.wandb_run)
            self._state.wandb_run = self._session.whereabouts()
            self._where = self._session.where()
        return self._session

    def deliver(self, batch: Batch) -> int:
        """Hand the batch to W&B's own process. Raises what W&B raises, such as for a run that the user has finished."""
        with self._kept_session() as session:
            return self._log(session, batch)

    @contextlib.contextmanager
    def _kept_session(self) -> Iterator[Session]:
        """The session; where it turns out to be lost, the next call begins another that goes on with the same run."""
        session = self._begin_session()
        try:
            yield session
        except Exception as error:
            if session.is_lost(error):
                self._session = None
            raise

    def _log(self, session: Session, batch: Batch) -> int:
        num_refused = 0
        for line in batch.lines:
            if isinstance(line.event, Checkpoint):
                num_refused += self._upload(session, line.event)
            elif isinstance(line.event, ServerInfo):
                session.run.config.update({"server": _told(line.event)}, allow_val_change=True)
            elif isinstance(line.event, ClientUpdate) and self._log_geo:
                self._note_place(line.event)
        alerts, to_tell = self._state.alerts.after(batch)
        for alert in to_tell:
            session.run.alert(alert.title, alert.text(batch.run.run_id), level=alert.level)
        # Last, for W&B writes in order: once the last row is written down, all the rest is, too.
        rows = rows_of(batch, per_client=self._log_per_client, system=self._log_system)
        for row in rows:
            if row.axis[0] == "step" and row.axis[1] is not None:
                for name in row.values:
                    session.has_x_axis_step(name)
        session.log([row.record(batch.journal) for row in rows])
        self._state.alerts = alerts
        return num_refused

    def _upload(self, session: Session, event: Checkpoint) -> int:
        """How many were refused: a file that isn't there any more won't come back."""
        if not self._state.uploads.takes(event):
            return 0
        self._state.uploads.note(event)
        try:
            artifact = artifact_of(session.wandb, event)
        except OSError as error:
            logger.warning("fedsight: the checkpoint %s is not uploaded to W&B: %s", event.path, error)
            return 1
        session.run.log_artifact(artifact, aliases=["latest", alias(self._run.run_id)])
        return 0

    def _note_place(self, event: ClientUpdate) -> None:
        if event.lat is None or event.lng is None:
            return
        if event.client_id in self._state.places or len(self._state.places) < _MOST_PLACES:
            self._state.places[event.client_id] = [
                event.round, event.client_id, event.lat, event.lng, event.city, event.country,
                event.local_accuracy, event.local_loss, event.status,
            ]  # fmt: skip

    def save(self) -> dict[str, Any] | None:
        """Which W&B run it is, and what was not told or shown yet."""
        saved: dict[str, Any] = msgspec.to_builtins(self._state)
        return saved

    def close(self, status: RunStatus | None) -> None:
        """Log the map's table, and finish the W&B run unless it is the user's."""
        with self._kept_session() as session:
            if self._log_geo and self._state.places:
                table = session.wandb.Table(columns=_PLACE_COLUMNS, data=list(self._state.places.values()))
                session.run.log({"geo/client_locations": table})
            session.finish(status)
        self._session = None
        if self._state.wandb_run is not None:
            self._state.wandb_run.is_open = False

    def where(self) -> str:
        """The run's page, or where to upload it from."""
        return self._where

    def sync_arguments(self) -> list[str]:
        """The options of `fedsight sync --to wandb`."""
        wanted = self._wanted
        options = {
            "project": wanted.project,
            "entity": wanted.entity,
            "group": wanted.group,
            "job_type": None if wanted.job_type == _JOB_TYPE else wanted.job_type,
            "tags": wanted.tags or None,
            "config": wanted.config or None,
            "log_system": None if self._log_system else False,
            "log_per_client": None if self._log_per_client else False,
            "log_geo": self._log_geo or None,
            "mode": wanted.mode,
        }
        return [part for key, value in options.items() if value is not None for part in ("--set", _set(key, value))]


def _set(option: str, value: Any) -> str:
    """As `fedsight sync --set` reads it: JSON where it is that, else the text as it stands."""
    if not isinstance(value, str):
        return f"{option}={json.dumps(value, default=str)}"
    with contextlib.suppress(ValueError):
        json.loads(value)
        return f"{option}={json.dumps(value)}"
    return f"{option}={value}"


def _told(server: ServerInfo) -> dict[str, Any]:
    known = {
        name: value
        for name in server.__struct_fields__
        if name not in ("ts", "metrics", "extra") and (value := getattr(server, name)) is not None
    }
    return {**known, **(server.metrics or {}), **(server.extra or {})}
