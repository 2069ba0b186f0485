"""`TensorBoardEmitter`: a run's curves for TensorBoard, as event files in a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from fedsight.emitters import metric_names
from fedsight.emitters.batching import count_alone
from fedsight.emitters.destination import Batch, Line, RunInfo, Totals
from fedsight.emitters.tensorboard_file import EventFile
from fedsight.errors import UsageError
from fedsight.events import Checkpoint, ClientEvent, ClientUpdate, Metric, RunStart, RunStatus, Sample, Text
from fedsight.journal.names import quote_id


class TensorBoardEmitter:
    """Writes a run's metrics where `tensorboard --logdir runs/tensorboard` finds them (docs/emitters/tensorboard.md).

    log_dir: the folder over all runs; a run's event files go to `<log_dir>/<run_id>`, a site's own to
        `<log_dir>/<run_id>/<client_id>`. Default "runs/tensorboard".
    log_system: also `sys/<id>/…`. log_per_client: also `client/<id>/…`.

    Step is the round, wall time the event's own. A late update is a further point of its round.
    Doubles: TensorBoard has no guard; points that were written but not yet noted as delivered when the
    process was killed come again, equal in tag, step, time and value.
    Raises `UsageError` for values that can't be meant.
    """

    name: ClassVar[str] = "tensorboard"

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, log_system: bool = True, log_per_client: bool = True
    ) -> None:
        if log_dir is not None and not (isinstance(log_dir, (str, os.PathLike)) and os.fspath(log_dir)):
            raise UsageError("log_dir", f"log_dir must be a folder, not {log_dir!r}.")
        # Made absolute now: a training may change its working directory.
        self.log_dir = Path("runs/tensorboard" if log_dir is None else log_dir).absolute()
        self._log_system = log_system
        self._log_per_client = log_per_client
        self._run = RunInfo(run_id="")
        self._file: EventFile | None = None

    def identity(self) -> str:
        """The folder over all runs."""
        return f"tensorboard:{self.log_dir}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """Begin an event file. Raises `MissingExtra` without tensorboardX and tensorboard, `OSError` from the disk."""
        self._run = run
        self._begin_file()

    def _begin_file(self) -> EventFile:
        if self._file is None:
            self._file = EventFile(self.folder(self._run), self._run.started_at or 0.0)
        return self._file

    def folder(self, run: RunInfo) -> Path:
        """Where the event files of `run` lie."""
        ids = [run.run_id] if run.client_id is None else [run.run_id, run.client_id]
        return self.log_dir.joinpath(*map(_folder_name, ids))

    def deliver(self, batch: Batch) -> int:
        """Write the lines, and flush. Raises `OSError` from the disk."""
        file = self._begin_file()
        totals = msgspec.structs.replace(batch.totals)
        try:
            for line in batch.lines:
                count_alone(totals, line.event)
                self._write(file, line, totals)
            file.flush()
        except OSError:
            # A torn record ends its file for every reader: what comes again goes to a new one.
            self._file = None
            file.abandon()
            raise
        return 0

    def _write(self, file: EventFile, line: Line, totals: Totals) -> None:
        event = line.event
        if isinstance(event, RunStart):
            file.add_text("config", _config_text(event), None, event.ts)
        elif isinstance(event, Text):
            name = "note" if event.client_id is None else f"client/{metric_names.id_part(event.client_id)}/note"
            file.add_text(name, event.text, event.round, event.ts)
        scalars, step = self._scalars(line, totals)
        if scalars:
            file.add_scalars(scalars, step, event.ts)

    def _scalars(self, line: Line, totals: Totals) -> tuple[dict[str, float], int | None]:
        event = line.event
        if isinstance(event, Metric):
            return {metric_names.point_name(event): event.value}, event.step
        if isinstance(event, Sample):
            return metric_names.sample_metrics(event) if self._log_system else {}, None
        found: dict[str, float] = {}
        if isinstance(event, ClientUpdate):
            found = metric_names.update_metrics(event, per_client=self._log_per_client, system=self._log_system)
        elif isinstance(event, ClientEvent):
            found = metric_names.counted(event, totals)
        elif isinstance(event, Checkpoint) and event.sha256 is None:  # its second line has it
            found = {metric_names.CHECKPOINTS: totals.num_checkpoints}
        if line.report is not None:
            found.update(metric_names.round_metrics(line.report.summary))
            if not line.report.is_revision:
                found.update(metric_names.counters(totals))
        return found, getattr(event, "round", None)

    def save(self) -> dict[str, Any] | None:
        """Nothing: a restart begins a further file in the same folder."""
        return None

    def close(self, status: RunStatus | None) -> None:
        """Close the event file."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def where(self) -> str:
        """The command that shows it."""
        return f"tensorboard --logdir {self.log_dir}"

    def sync_arguments(self) -> list[str]:
        """The options of `fedsight sync --to tensorboard`."""
        options = {"log_dir": str(self.log_dir)}
        if not self._log_system:
            options["log_system"] = "false"
        if not self._log_per_client:
            options["log_per_client"] = "false"
        return [part for key, value in options.items() for part in ("--set", f"{key}={value}")]


def _folder_name(any_id: str) -> str:
    """As journals are named, but for the dots, which are plain in a folder's name that isn't all dots."""
    name = quote_id(any_id)
    return name.replace("%2E", ".") if any_id.strip(".") else name


def _config_text(start: RunStart) -> str:
    """What the run was started with, as Markdown."""
    told = {name: getattr(start, name) for name in ("run_id", "project", "algorithm", "framework", "tags")}
    lines = [f"- {name}: {value}" for name, value in told.items() if value]
    config = json.dumps(start.config or {}, indent=2, ensure_ascii=False)  # NaN as NaN
    return "\n".join([*lines, "", "```json", config, "```"])
