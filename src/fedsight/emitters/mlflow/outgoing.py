"""What a batch of events comes to in MLflow, before anything is sent."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from fedsight.emitters.destination import Batch, Line, RoundReport
from fedsight.emitters.mlflow.checkpoints import Upload, upload_of
from fedsight.emitters.mlflow.names import full_name_tag, mlflow_name
from fedsight.emitters.mlflow.points import (
    Point,
    algorithm_values,
    client_values,
    flattened,
    milliseconds,
    params_of,
    place_tags,
    round_values,
    server_tags,
)
from fedsight.emitters.mlflow.runs import Layout
from fedsight.events import (
    Checkpoint,
    ClientEvent,
    ClientInfo,
    ClientUpdate,
    Metric,
    RoundEnd,
    RunEnd,
    RunStart,
    Sample,
    ServerInfo,
    Text,
)

_MOST_UNHASHED = 1000

_MAIN = None
"""The main MLflow run, among the sites' ids."""


class Choices(msgspec.Struct, frozen=True):
    """What of a run goes to MLflow, and how it is laid out."""

    layout: Layout
    log_system: bool
    log_per_client: bool
    log_geo: bool
    tags: dict[str, str]


class Sent(msgspec.Struct):
    """What was sent last, by client: an update that says the same again is not sent again."""

    figures: dict[str, tuple[int, dict[str, float]]] = {}
    places: dict[str, dict[str, str]] = {}
    unhashed: list[tuple[int | None, str]] = []
    """Round and path of the checkpoints whose event comes once more, with the SHA-256."""


class Outgoing:
    """Takes a batch's lines in. `points`, `tags` and `params` are by site, None being the main run.

    `uploads` are by the site and the offset of their line; `confirmations` are of checkpoints that came before.
    sent: what earlier batches sent; it is left as it is until `commit`.
    """

    def __init__(self, choices: Choices, batch: Batch, sent: Sent) -> None:
        self.points: dict[str | None, list[Point]] = defaultdict(list)
        self.tags: dict[str | None, dict[str, str]] = defaultdict(dict)
        self.params: list[tuple[str | None, dict[str, str]]] = []
        self.uploads: list[tuple[str | None, int, Upload]] = []
        self.confirmations: list[Upload] = []
        self.ended_at: float | None = None
        self._choices = choices
        self._run = batch.run
        self._sent = sent
        self._figures: dict[str, tuple[int, dict[str, float]]] = {}
        self._places: dict[str, dict[str, str]] = {}
        self._unhashed = list(sent.unhashed)
        self._num_dropouts = batch.totals.num_dropouts
        self._num_comm_failures = batch.totals.num_comm_failures
        self._num_checkpoints = batch.totals.num_checkpoints
        self._started_at = batch.run.started_at

    def take(self, line: Line) -> None:
        """Take one event in."""
        event = line.event
        if isinstance(event, ClientUpdate):
            self._take_update(event)
        elif isinstance(event, Metric):
            site, prefix = (_MAIN, "") if event.client_id is None else self._place_of(event.client_id)
            self._point(site, prefix + event.key, event.value, event.ts, event.step)
        elif isinstance(event, ClientEvent):
            self._take_client_event(event)
        elif isinstance(event, ClientInfo):
            self._take_client_info(event)
        elif isinstance(event, Text):
            self._take_text(event, line.offset)
        elif isinstance(event, RoundEnd):
            for name, value in algorithm_values(event.algorithm_metadata or {}):
                self._point(_MAIN, name, value, event.ts, event.round)
        elif isinstance(event, Checkpoint):
            self._take_checkpoint(event, line.offset)
        elif isinstance(event, Sample):
            self._take_sample(event)
        else:
            self._take_about_run(line)
        if line.report is not None:
            self._take_report(line.report)

    def commit(self) -> None:
        """All of it is sent."""
        self._sent.figures.update(self._figures)
        self._sent.places.update(self._places)
        self._sent.unhashed = self._unhashed[-_MOST_UNHASHED:]

    def _take_checkpoint(self, event: Checkpoint, offset: int) -> None:
        """Its event comes at once, and again when the file's SHA-256 is known: it is uploaded at the first."""
        upload, key = upload_of(event), (event.round, event.path)
        if event.sha256 is not None and key in self._unhashed:
            self._unhashed.remove(key)
            self.confirmations.append(upload)
            return
        if event.sha256 is None and event.size_bytes is not None:
            self._unhashed.append(key)
        self.uploads.append((_MAIN, offset, upload))
        self._num_checkpoints += 1
        self._point(_MAIN, "event/checkpoint", self._num_checkpoints, event.ts, event.round)

    def _take_about_run(self, line: Line) -> None:
        event = line.event
        if isinstance(event, RunStart):
            # One a start: of a param that changed, MLflow keeps the first.
            self.params.append((_MAIN, params_of(event)))
            self._tags(_MAIN, {**(event.tags or {}), **self._choices.tags})
        elif isinstance(event, ServerInfo):
            self._tags(_MAIN, server_tags(event, with_place=self._choices.log_geo))
        elif isinstance(event, RunEnd):
            self.ended_at = event.ts
            if event.error is not None:
                self._tags(_MAIN, {"fedsight/error": event.error})

    def _take_client_info(self, event: ClientInfo) -> None:
        site, prefix = self._place_of(event.client_id)
        if event.params:
            # One by one as they came: a param that was said before with another value keeps no other one back.
            self.params.append((site, {f"{prefix}{key}": _text(value) for key, value in flattened(event.params)}))
        self._tags(site, {f"{prefix}{key}": value for key, value in (event.tags or {}).items()})

    def _take_text(self, event: Text, offset: int) -> None:
        site, folders = _MAIN, []
        if event.client_id is not None:
            site, prefix = self._place_of(event.client_id)
            folders = ["clients", event.client_id] if prefix else []
        parts = [] if event.name is None else _inside(event.name)
        if not parts:
            when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(event.ts))
            folders, parts = ["notes"], [f"{when}-{offset}.txt"]
        self.uploads.append((site, offset, Upload("/".join([*folders, *parts[:-1]]), parts[-1], text=event.text)))

    def _place_of(self, client_id: str, group: str = "client") -> tuple[str | None, str]:
        """The MLflow run and the prefix of a client's figures."""
        if self._choices.layout == "one-run":
            return _MAIN, f"{group}.{client_id}."
        return (_MAIN if client_id == self._run.client_id else client_id), ""

    def _take_update(self, update: ClientUpdate) -> None:
        own, system = client_values(update)
        groups = []
        if self._choices.log_per_client:
            groups.append(("client", own))
        if self._choices.log_system:
            groups.append(("sys", system))
        before = self._newly_or_before(update)
        for group, values in groups:
            site, prefix = self._place_of(update.client_id, group)
            for name, value in values.items():
                if before.get(f"{group}.{name}") != value:
                    before[f"{group}.{name}"] = value
                    self._point(site, prefix + name, value, update.ts, update.round)
        if self._choices.log_geo and (place := place_tags(update)):
            self._take_place(update.client_id, place)

    def _newly_or_before(self, update: ClientUpdate) -> dict[str, float]:
        """What the client has told of this round already; what is put into it counts as sent."""
        if update.round is None:
            return {}
        for known in (self._figures, self._sent.figures):
            number, figures = known.get(update.client_id, (None, {}))
            if number == update.round:
                break
        else:
            figures = {}
        figures = dict(figures)
        self._figures[update.client_id] = (update.round, figures)
        return figures

    def _take_place(self, client_id: str, place: dict[str, str]) -> None:
        before = {**self._sent.places.get(client_id, {}), **self._places.get(client_id, {})}
        if changed := {name: value for name, value in place.items() if before.get(name) != value}:
            site, prefix = self._place_of(client_id, "geo")
            self._tags(site, {f"{prefix or 'geo.'}{name}": value for name, value in changed.items()})
            self._places[client_id] = before | changed

    def _take_client_event(self, event: ClientEvent) -> None:
        if event.event == "dropout":
            self._num_dropouts += 1
            name, number = "event/client_dropout", self._num_dropouts
        elif event.event == "comm_failure":
            self._num_comm_failures += 1
            name, number = "event/comm_failure", self._num_comm_failures
        else:
            return
        self._point(_MAIN, name, number, event.ts, event.round)
        at = event.event if event.round is None else f"{event.event}.round_{event.round}"
        self._tags(_MAIN, {f"{at}.{event.client_id}": event.reason or "unknown"})

    def _take_report(self, report: RoundReport) -> None:
        for name, value in round_values(report).items():
            self._point(_MAIN, name, value, report.ts, report.summary.round)

    def _take_sample(self, sample: Sample) -> None:
        """A sample belongs to an instant, not to a round: its step is the whole seconds since the run's start."""
        if self._choices.log_system:
            step = 0 if self._started_at is None else int(sample.ts - self._started_at)
            for name, value in sample.metrics.items():
                self._point(_MAIN, f"monitor.{sample.node}.{name}", value, sample.ts, step)

    def _point(self, site: str | None, name: str, value: float, ts: float, step: int | None) -> None:
        """A point; where an event has neither round nor step it is at MLflow's own default, 0."""
        self._keep_full_name(site, name)
        self.points[site].append(Point(mlflow_name(name), float(value), milliseconds(ts), step or 0))

    def _tags(self, site: str | None, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._keep_full_name(site, name)
            self.tags[site][name] = value

    def _keep_full_name(self, site: str | None, name: str) -> None:
        if len(name) > 30 and (tag := full_name_tag(name)) is not None:
            self.tags[site][tag[0]] = tag[1]


def _inside(name: str) -> list[str]:
    """The parts of a file's name, none of which leads out of the run's folder."""
    return [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
