"""`Run`: what a training process talks to. Every call appends one line to a journal and returns."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fedsight import lifecycle
from fedsight.delivery import DRAIN_SEC, Delivery
from fedsight.emitters import Emitter, as_emitters, emitters_from_environment
from fedsight.errors import RunFinished, UsageError
from fedsight.events import (
    CLIENT_HAPPENINGS,
    LOG_LEVELS,
    MAX_LINE_BYTES,
    ROUND_NUMBERS,
    SERVER_NUMBERS,
    SERVER_TEXTS,
    UPDATE_NUMBERS,
    UPDATE_TEXTS,
    Checkpoint,
    ClientEvent,
    ClientHappening,
    ClientInfo,
    ClientUpdate,
    Event,
    Log,
    LogLevel,
    Metric,
    Role,
    RoundEnd,
    RoundStart,
    RunEnd,
    RunStart,
    RunStatus,
    ServerInfo,
    Text,
    encode,
)
from fedsight.fields import (
    LARGEST_ROUND,
    client_id_of,
    mapping_of,
    number_of,
    plain_json,
    repair,
    round_of,
    sort_fields,
    text_of,
)
from fedsight.journal import JournalWriter, Recovery, closing_lines, journal_path
from fedsight.journal.writer import Durability, JournalExists
from fedsight.oversize import fit

if TYPE_CHECKING:
    from fedsight.geo.precision import Precision
    from fedsight.monitor.forms import FormName
    from fedsight.monitor.with_run import MonitorOptions, RunMonitor

logger = logging.getLogger("fedsight")


_UPDATE_NUMBERS = frozenset(UPDATE_NUMBERS)
_ROUND_NUMBERS = frozenset(ROUND_NUMBERS)
_NO_NAMES: frozenset[str] = frozenset()
_SYNC_SEC = 1.0
"""The least that the end of a run waits for the disk."""


class Run:
    """One training, recorded to `<runs_dir>/<run_id>.jsonl`.

    Use it as a context manager, or call `finish()`. A process that ends without it leaves a run
    that is `finished` after a normal end, `failed` after an exception nobody caught, and `killed`
    after Ctrl-C or a kill.

    run_id: made up when None. Where the id exists already, the run becomes `<id>-2`, and so on,
        unless `resume` is true, which goes on with it.
    config: hyperparameters; anything that has a JSON form, nested.
    emitters: where else the events go: any of `fedsight.emitters`, or an object with some of the
        hooks of docs/emitters.md. Each follows the journal in its own thread; how it is doing, the
        attribute `emitters` tells. With `FEDSIGHT_COLLECTOR` set, a `CollectorEmitter` is added.
    verbose: print a line at the start, each round and the end to standard error.
    durability: "process" (default) survives `kill -9`; "disk" syncs every call to the disk too.
    anonymize: a secret key; client ids are then recorded, and go everywhere, as pseudonyms, the
        same for the same key. Give the server and all sites the same.
    precision: how exactly places are recorded: "exact", "city" (coordinates to 0.1°, no addresses and
        host names) or "country".
    monitor: measure what the run costs this process: True, seconds between readings, or a dict of
        the parameters of `Run.monitor`.

    Raises `UsageError` for a run or client id that can't be meant. Nothing that goes wrong while
    recording raises: it is logged once and counted in `num_not_recorded`.
    """

    def __init__(
        self,
        run_id: str | None = None,
        algorithm: str | None = "FedAvg",
        config: dict[str, Any] | None = None,
        emitters: Sequence[object] | None = None,
        verbose: bool = True,
        *,
        project: str = "default",
        framework: str | None = None,
        tags: dict[str, str] | None = None,
        runs_dir: str | Path = "runs",
        resume: bool = False,
        durability: Durability = "process",
        client_id: str | int | None = None,
        anonymize: str | bytes | None = None,
        precision: Precision = "exact",
        monitor: bool | float | Mapping[str, Any] | None = None,
    ) -> None:
        lifecycle.check_new_run()
        self.algorithm = algorithm
        self.config = mapping_of(config, "config") or {}
        self.verbose = verbose
        self.status: RunStatus | None = None
        self.emitters: list[Emitter] = as_emitters([*(emitters or []), *emitters_from_environment(emitters or [])])
        if durability not in ("process", "disk"):
            raise UsageError("durability", f"durability must be 'process' or 'disk', not {durability!r}.")
        self.client_id: str | None = None
        self._pseudonym = None if anonymize is None else _pseudonyms(anonymize)
        self._blur = None if precision == "exact" else _blurring(precision)
        monitor_options = None if monitor is None or monitor is False else _monitor_options(monitor)
        self._monitor: RunMonitor | None = None
        if client_id is not None:
            self.client_id = self.recorded_name(client_id_of(client_id))
        if run_id is not None and not isinstance(run_id, (str, int)):
            raise UsageError("run_id", f"run_id must be a string, not {run_id!r}.")
        self._started_sec = time.monotonic()
        self._round: int | None = None
        self._round_started_sec: dict[int, float] = {}
        self._background: list[threading.Thread] = []
        # Reentrant: a signal handler may finish a run that is just being finished.
        self._finish_lock = threading.RLock()
        self._is_finishing = False
        self._pid = os.getpid()
        self._delivery = Delivery(self.emitters, self._say)
        self._start = RunStart(
            ts=time.time(),
            run_id="",
            project=str(project),
            algorithm=None if algorithm is None else str(algorithm),
            framework=None if framework is None else str(framework),
            config=self.config or None,
            tags={str(key): str(value) for key, value in (mapping_of(tags, "tags") or {}).items()} or None,
            host=None if self._hides_host() else socket.gethostname(),
            pid=self._pid,
        )
        wanted = str(run_id) if run_id not in (None, "") else _new_run_id()
        self._writer = self._open_journal(Path(runs_dir), wanted, resume, durability)
        self._append = self._writer.append
        self._delivery.tell(self._write)
        lifecycle.watch(self)
        if self.client_id is None:
            self._say(f"run {self.run_id} ({algorithm or 'no algorithm given'}) → {self._writer.path}")
        if monitor_options is not None:
            self._begin_monitor(monitor_options)

    # ── the journal ───────────────────────────────────────────────────────────────────────────

    def _open_journal(self, folder: Path, wanted: str, resume: bool, durability: Durability) -> JournalWriter:
        role: Role = "server" if self.client_id is None else "client"
        # A site that joins again goes on with its own journal; a run of its own never mixes with an older one.
        must_be_new = role == "server" and not resume
        number = 1
        while True:
            self.run_id = wanted if number == 1 else f"{wanted}-{number}"
            self._start.run_id = self.run_id
            try:
                writer = JournalWriter(
                    journal_path(folder, self.run_id, self.client_id),
                    role=role,
                    run_id=self.run_id,
                    client_id=self.client_id,
                    durability=durability,
                    must_be_new=must_be_new,
                    on_open=self._on_open,
                )
            except JournalExists:
                number += 1
                continue
            if number > 1:
                logger.warning(
                    "fedsight: run %r exists already: this one is %r. Pass resume=True to go on with the old one.",
                    wanted,
                    self.run_id,
                )
            return writer

    def _on_open(self, writer: JournalWriter, recovery: Recovery | None) -> list[bytes]:
        """The lines that a journal begins, or goes on, with."""
        lines = [] if recovery is None else closing_lines(recovery)
        if not writer.is_copy:
            self._start.resumed = recovery is not None
            lines.append(fit(self._start, encode(self._start)))
        self._delivery.follow(writer)
        return lines

    @property
    def path(self) -> Path:
        """The journal's (first) file."""
        return self._writer.path

    @property
    def num_not_recorded(self) -> int:
        """Events that could not be written."""
        return self._writer.num_lost

    def _record(self, event: Event) -> None:
        if self.status is not None:
            raise RunFinished(
                f"Run {self.run_id!r} has ended ({self.status}). Start another with fedsight.init(), "
                "or go on with it: fedsight.init(run_id=…, resume=True)."
            )
        self._write(event)

    def _write(self, event: Event) -> None:
        try:
            line = encode(event)
        except (OverflowError, UnicodeError):
            repair(event)
            line = encode(event)
        if len(line) > MAX_LINE_BYTES:
            line = fit(event, line)
        self._append(line)

    # ── what happens in a training ────────────────────────────────────────────────────────────

    def round_start(self, round: int, selected: Sequence[str | int] | None = None) -> None:
        """A round begins. `selected`: ids of the clients asked to take part, where known.

        At a site (`join`) it only says which round the next updates are for.
        """
        number = round_of(round)
        self._round = number
        if self.client_id is not None:
            return  # at a site it only says which round the next updates are for
        self._round_started_sec[number] = time.monotonic()
        ids = None if selected is None else [self.recorded_name(each) for each in _client_ids(selected)]
        self._record(RoundStart(ts=time.time(), round=number, selected=ids))

    def log_client_update(
        self, client_id: str | int | None = None, round: int | None = None, base_round: int | None = None, **fields: Any
    ) -> None:
        """What one client contributed to a round.

        round: the current one when None. base_round: the round of the model it trained on; in
        asynchronous FL, `staleness = round - base_round`. fields: the metadata contract
        (docs/events.md) and whatever else is worth keeping.
        """
        if type(client_id) is not str or not client_id:
            client_id = self.client_id if client_id is None and self.client_id else client_id_of(client_id)
        if self._pseudonym is not None:
            client_id = self.recorded_name(client_id)
        if self.client_id is not None:
            self._only_for_itself(client_id)
        if self._blur is not None:
            fields = self._blur(fields)
        if round is None:
            round = self._round
        elif type(round) is not int or not 0 <= round <= LARGEST_ROUND:
            round = round_of(round)
        if base_round is not None and (type(base_round) is not int or not 0 <= base_round <= LARGEST_ROUND):
            base_round = round_of(base_round, "base_round")
        known, more, extra = sort_fields(fields, _UPDATE_NUMBERS, UPDATE_TEXTS)
        self._record(
            ClientUpdate(
                ts=time.time(),
                client_id=client_id,
                round=round,
                base_round=base_round,
                metrics=more,
                extra=extra,
                **known,
            )
        )

    def log_round(
        self,
        round: int,
        *,
        global_accuracy: float | None = None,
        global_loss: float | None = None,
        num_selected: int | None = None,
        num_stragglers: int | None = None,
        num_failures: int | None = None,
        total_bytes_up: int | None = None,
        total_bytes_down: int | None = None,
        gradient_norm_dispersion: float | None = None,
        gradient_divergence: float | None = None,
        aggregation_time_sec: float | None = None,
        algorithm_metadata: dict[str, Any] | None = None,
        **metrics: Any,
    ) -> None:
        """A round is over. Further keywords are kept as the round's own metrics.

        What isn't given here is derived from the clients' updates where that is possible.
        `gradient_divergence` is the older name of `gradient_norm_dispersion`.
        """
        self._only_at_the_server("log_round")
        number = round_of(round)
        started = self._round_started_sec.pop(number, None)
        if gradient_norm_dispersion is None:
            gradient_norm_dispersion = gradient_divergence
        metrics.update(
            global_accuracy=global_accuracy,
            global_loss=global_loss,
            num_selected=num_selected,
            num_stragglers=num_stragglers,
            num_failures=num_failures,
            total_bytes_up=total_bytes_up,
            total_bytes_down=total_bytes_down,
            gradient_norm_dispersion=gradient_norm_dispersion,
            aggregation_time_sec=aggregation_time_sec,
        )
        if started is not None:
            metrics.setdefault("round_duration_sec", time.monotonic() - started)
        known, more, extra = sort_fields(metrics, _ROUND_NUMBERS, _NO_NAMES)
        event = RoundEnd(
            ts=time.time(),
            round=number,
            algorithm_metadata=mapping_of(algorithm_metadata, "algorithm_metadata"),
            metrics=more,
            extra=extra,
            **known,
        )
        self._record(event)
        self._writer.sync_soon()
        self._say_round(event)

    def _only_for_itself(self, client_id: str) -> None:
        if client_id != self.client_id:
            raise UsageError(
                "client_id", f"The site {self.client_id!r} can record only its own side, not that of {client_id!r}."
            )

    def _only_at_the_server(self, what: str) -> None:
        if self.client_id is not None:
            raise UsageError(what, f"{what} is the server's to call; this is the site {self.client_id!r} (join).")

    def log_dropout(self, round: int, client_id: str | int, reason: str | None = None) -> None:
        """A client left in the midst of a round."""
        self.log_client_event("dropout", client_id, round_of(round), reason)

    def log_comm_failure(self, round: int, client_id: str | int, reason: str | None = None) -> None:
        """A client could not be reached, or its answer did not arrive."""
        self.log_client_event("comm_failure", client_id, round_of(round), reason)

    def log_client_event(
        self, event: ClientHappening, client_id: str | int, round: int | None = None, reason: str | None = None
    ) -> None:
        """Something happened to a client's taking part: "dropout", "comm_failure", "joined" or "left".

        round: None where it belongs to none.
        """
        if event not in CLIENT_HAPPENINGS:
            raise UsageError("event", f"event must be one of {', '.join(CLIENT_HAPPENINGS)}, not {event!r}.")
        self._record(
            ClientEvent(
                ts=time.time(),
                event=event,
                client_id=self._client(client_id),
                round=None if round is None else round_of(round),
                reason=None if reason is None else text_of(reason),
            )
        )

    def log_client_info(
        self,
        client_id: str | int,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        ts: float | None = None,
    ) -> None:
        """What is known of a client apart from rounds: the parameters it trains with, and tags.

        What was said before stands in the journal; MLflow keeps a parameter's first value. ts: when
        it was said, UTC epoch seconds; None: now.
        """
        self._record(
            ClientInfo(
                ts=time.time() if ts is None else ts,
                client_id=self._client(client_id),
                params=mapping_of(params, "params"),
                tags={str(key): text_of(value) for key, value in (tags or {}).items()} or None,
            )
        )

    def _client(self, client_id: str | int) -> str:
        """A client's id as it is recorded. Raises `UsageError` where a site speaks of another one."""
        name = self.recorded_name(client_id_of(client_id))
        if self.client_id is not None:
            self._only_for_itself(name)
        return name

    def log_checkpoint(self, round: int, path: str | Path, **metadata: Any) -> None:
        """A model file was written. Its SHA-256 is computed in the background and recorded after it."""
        file = Path(path)
        event = Checkpoint(ts=time.time(), path=str(path), round=round_of(round), metadata=plain_json(metadata) or None)
        try:
            event.size_bytes = file.stat().st_size
        except OSError as error:
            logger.warning("fedsight: the checkpoint %s can't be read: %s", path, error)
            self._record(event)
            return
        self._record(event)
        if file.is_file():
            self._in_background(lambda: self._record_hash(event, file))

    def _record_hash(self, event: Checkpoint, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                event.sha256 = _sha256(stream.read)
            self._record(event)
        except (OSError, RunFinished) as error:
            logger.warning("fedsight: no SHA-256 of the checkpoint %s: %s", file, error)

    def set_server_metadata(self, **metadata: Any) -> None:
        """Where and what the server is: `lat`, `lng`, `city`, `country`, `host`, `protocol`, anything else."""
        self._only_at_the_server("set_server_metadata")
        if self._blur is not None:
            metadata = self._blur(metadata)
        known, more, extra = sort_fields(metadata, SERVER_NUMBERS, SERVER_TEXTS)
        self._record(ServerInfo(ts=time.time(), metrics=more, extra=extra, **known))

    def log_metric(
        self,
        key: str,
        value: Any,
        step: int | None = None,
        *,
        client_id: str | int | None = None,
        ts: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """One point of a curve against steps, finer than rounds.

        client_id: whose curve it is, where the server tells of a client's. ts: when it was measured, by
        that client's clock, UTC epoch seconds; None: now. extra: whatever is to be kept with it. A point that
        is told twice, by a site and by the server, with the same key, step, ts and value, is one point.

        Raises `UsageError` where `value` is no number.
        """
        number = number_of(value)
        if number is None:
            raise UsageError("value", f"log_metric({key!r}) needs a number, not {value!r}.")
        self._record(
            Metric(
                ts=time.time() if ts is None else ts,
                key=str(key),
                value=float(number),
                step=None if step is None else round_of(step, "step"),
                client_id=self.client_id if client_id is None else self._client(client_id),
                extra=mapping_of(extra, "extra"),
            )
        )

    def log_text(
        self,
        text: str,
        round: int | None = None,
        *,
        name: str | None = None,
        client_id: str | int | None = None,
        ts: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """A note, to be read beside the run.

        name: the file that it is kept as in a store of files (MLflow's artifacts). client_id, ts, extra: as of `log_metric`.
        """
        self._record(
            Text(
                ts=time.time() if ts is None else ts,
                text=text_of(text),
                name=None if name is None else str(name),
                round=None if round is None else round_of(round),
                client_id=self.client_id if client_id is None else self._client(client_id),
                extra=mapping_of(extra, "extra"),
            )
        )

    def log_event(self, component: str, event: str, message: str, *, level: LogLevel = "info", **extra: Any) -> None:
        """What a part of the system has to say: it started, gave out a task, failed.

        component: who says it; event: a word for what happened; message: a sentence for people.
        level: "info", "warning" or "error". extra: whatever is to be kept with it.
        """
        if level not in LOG_LEVELS:
            raise UsageError("level", f"level must be one of {', '.join(LOG_LEVELS)}, not {level!r}.")
        kept = {name: value for name, value in extra.items() if value is not None}
        self._record(
            Log(
                ts=time.time(),
                component=str(component),
                event=str(event),
                message=text_of(message),
                level=level,
                extra=mapping_of(kept, "extra"),
            )
        )

    # ── what it costs ─────────────────────────────────────────────────────────────────────────

    def monitor(
        self, interval: float | None = None, *, form: FormName | None = None, probes: Sequence[str] = ()
    ) -> RunMonitor:
        """Measure this process and its children from now on, until the run ends.

        Where the run is monitored already, this gives its monitor, and takes no parameters. The
        samples go to a journal of their own, `<run_id>[.<client_id>].monitor.jsonl` beside the
        run's, and with it to the run's collectors. interval: seconds between readings (default 1).
        form: "process" (default: a child process measures) or "thread". probes: further ones, as `fedsight probes` lists them.

        Raises `UsageError` for what can't be meant. What else is in the way of measuring is said
        once, and the run goes on without.
        """
        given = {"interval": interval, "form": form, "probes": probes or None}
        options = {name: value for name, value in given.items() if value is not None}
        if self._monitor is not None and (self.status is not None or self._monitor.status == "running"):
            if options:
                raise UsageError("monitor", f"Run {self.run_id!r} is monitored already; monitor() gives its monitor.")
            return self._monitor
        if self.status is not None:
            raise RunFinished(f"Run {self.run_id!r} has ended ({self.status}): there is nothing left to measure.")
        return self._begin_monitor(_monitor_options(options))

    def _begin_monitor(self, options: MonitorOptions) -> RunMonitor:
        from fedsight.monitor.with_run import RunMonitor, collectors

        node = (self.client_id or "server") if self._hides_host() else None
        self._monitor = RunMonitor(self.path, self.run_id, self.client_id, node, options)
        if self._monitor.start_quietly() and self._monitor.journal is not None:
            self._delivery.ship(self._monitor.journal, collectors(self.emitters))
        return self._monitor

    def resources(self) -> dict[str, Any] | None:
        """What the run has cost so far: the monitor's `summary()`, and `rounds` and `phases`, a summary of each.

        Keys and units are in docs/monitor.md. None where it is not monitored.
        """
        return None if self._monitor is None else self._monitor.resources()

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def finish(
        self, status: RunStatus = "finished", error: str | None = None, *, timeout_sec: float = DRAIN_SEC
    ) -> None:
        """End the run and wait, `timeout_sec` at most, until its emitters have delivered everything.

        Called again, it does nothing. What could not be delivered is said, with the command that
        delivers it. Ctrl-C ends the wait; `KeyboardInterrupt` is then raised, when that is said.
        """
        if status not in ("finished", "failed", "killed"):
            raise UsageError("status", f"status must be 'finished', 'failed' or 'killed', not {status!r}.")
        if os.getpid() != self._pid:  # a forked child's; the run is its parent's to end
            return
        deadline = time.monotonic() + timeout_sec
        with self._finish_lock:
            if self._is_finishing:
                return
            self._is_finishing = True
            for thread in self._background:
                thread.join(max(0.0, deadline - time.monotonic()))
            took_sec = time.monotonic() - self._started_sec
            self._record(
                RunEnd(
                    ts=time.time(),
                    status=status,
                    error=None if error is None else str(error),
                    duration_sec=took_sec,
                    num_not_recorded=self.num_not_recorded or None,
                )
            )
            self.status = status
        lifecycle.forget(self)
        if self._monitor is not None:
            self._monitor.stop_quietly()
        self._writer.sync_soon()
        try:
            self._delivery.take_over_from_children(self._writer.path)
            self._delivery.drain_while_open(max(0.0, deadline - time.monotonic()), lifecycle.is_ending())
        finally:
            # The lock on the file is let go: a collector then knows that nothing more will come.
            self._writer.close(max(_SYNC_SEC, deadline - time.monotonic()))
        self._delivery.drain(max(0.0, deadline - time.monotonic()))
        if self.num_not_recorded:
            logger.warning("fedsight: %d events of run %s were not recorded.", self.num_not_recorded, self.run_id)
        if self.client_id is None:
            self._say(f"run {self.run_id} {status} after {took_sec:.1f} s")
        self._say_resources()
        if self._delivery.was_interrupted:
            raise KeyboardInterrupt

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(*lifecycle.status_after(error))

    # ── what is not recorded ──────────────────────────────────────────────────────────────────

    @property
    def is_anonymous(self) -> bool:
        """Whether clients are recorded by pseudonyms: what else would tell who they are must stay out, too."""
        return self._pseudonym is not None

    def recorded_name(self, client_id: str) -> str:
        """What stands for a client in the recording; a pseudonym of our own stays what it is."""
        if self._pseudonym is None or client_id == self.client_id:
            return client_id
        return self._pseudonym(client_id)

    def _hides_host(self) -> bool:
        """A machine's name tells where it stands, and a site's machine who the site is."""
        return self._blur is not None or (self._pseudonym is not None and self.client_id is not None)

    # ── small things ──────────────────────────────────────────────────────────────────────────

    def _in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="fedsight-checkpoint", daemon=True)
        self._background = [each for each in self._background if each.is_alive()]
        self._background.append(thread)
        thread.start()

    def _say(self, text: str, *, in_place: bool = False) -> None:
        if self.verbose:
            with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to stop
                if in_place:
                    print(f"\r\x1b[2K{'fedsight: ' if text else ''}{text}", end="", file=sys.stderr, flush=True)
                else:
                    print(f"fedsight: {text}", file=sys.stderr)

    def _say_resources(self) -> None:
        if self.verbose and self._monitor is not None:
            told = self._monitor.in_a_line()
            if told is not None:
                self._say(f"resources: {told}")

    def _say_round(self, event: RoundEnd) -> None:
        if not self.verbose:
            return
        parts = [
            f"{name} {value:.4f}"
            for name, value in (("accuracy", event.global_accuracy), ("loss", event.global_loss))
            if value is not None
        ]
        if event.round_duration_sec is not None:
            parts.append(f"{event.round_duration_sec:.2f} s")
        self._say(f"round {event.round}" + (": " + ", ".join(parts) if parts else ""))


def _client_ids(selected: Sequence[str | int]) -> list[str]:
    if isinstance(selected, (str, bytes)) or not isinstance(selected, Iterable):
        raise UsageError("selected", f"selected must be a list of client ids, not {selected!r}.")
    return [client_id_of(each) for each in selected]


def _pseudonyms(key: str | bytes) -> Callable[[str], str]:
    from fedsight.pseudonyms import Pseudonyms

    return Pseudonyms(key).of


def _blurring(precision: Precision) -> Callable[[dict[str, Any]], dict[str, Any]]:
    from fedsight.geo.precision import blur, precision_of

    checked = precision_of(precision)
    return lambda fields: blur(fields, checked)


def _monitor_options(given: bool | float | Mapping[str, Any]) -> MonitorOptions:
    from fedsight.monitor.with_run import options_of

    return options_of(given)


def _new_run_id() -> str:
    """Never from `random`: a seeded training would repeat it, and we would disturb its stream."""
    return time.strftime("run-%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(2)


def _sha256(read: Callable[[int], bytes]) -> str:
    digest = hashlib.sha256()
    while block := read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
