"""Takes readings of the probes and appends each to the monitor's journal, as one `Sample`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fedsight.events import Log, Sample, encode
from fedsight.journal import JournalWriter
from fedsight.monitor.clock import Clock
from fedsight.monitor.derived import Deriver
from fedsight.monitor.probes import open_probes
from fedsight.monitor.probes.probe import MetricInfo, Probe, Target
from fedsight.monitor.settings import Settings

logger = logging.getLogger("fedsight")

COMPONENT = "monitor"
"""The `component` of the monitor's own `log` events."""

OWN_CPU_TIME = "fedsight.monitor.cpu.time"
MISSED = "fedsight.monitor.samples.missed"
OWN_METRICS = (
    MetricInfo(OWN_CPU_TIME, "s", "counter", "CPU time of the monitor itself"),
    MetricInfo(MISSED, "{sample}", "counter", "Readings that were due while the monitor was held up"),
)

_PROBES_OF = {
    "cpu": ("cpu",),
    "memory": ("memory",),
    "network": ("network",),
    "power": ("jetson", "rapl", "gpu_nvidia", "gpu_amd"),
}
_SUSPENDED_FROM_SEC = 0.5


class Reading(msgspec.Struct):
    """One reading: the probes' own figures, and those derived from them when it is recorded.

    interval_sec: since the reading before; None at the first. suspended_sec: what the machine slept of it.
    """

    ts: float
    elapsed_sec: float
    interval_sec: float | None
    values: dict[str, float]
    suspended_sec: float = 0.0
    extra: dict[str, Any] | None = None
    figures: dict[str, float] = {}


class TargetGone(Exception):
    """The measured process has ended."""


class Sampler:
    """Reads the probes of one window; used by one thread.

    Reading and recording are apart: whoever wakes up ten times a second finds cold caches each time,
    where ten readings that are worked up together cost little more than one.

    own_cpu_time: CPU seconds that the monitor itself has used (a thread's, or the child process's).
    on_recorded: told each reading that is in the journal.
    Constructing it opens the probes; raises `ProcessLookupError` where the process is not there.
    """

    def __init__(
        self,
        settings: Settings,
        writer: JournalWriter,
        clock: Clock | None = None,
        own_cpu_time: Callable[[], float] = time.thread_time,
        on_recorded: Callable[[Reading], None] | None = None,
    ) -> None:
        self.num_missed = 0
        self.num_samples = 0
        self.last: Reading | None = None
        self._pending: list[Reading] = []
        self._has_read = False
        self._on_recorded = on_recorded
        self._clock = clock or Clock()
        self._settings = settings
        self._writer = writer
        self._target = Target(settings.pid, frozenset({*settings.excluded_pids}))
        self._deriver = Deriver()
        self._open: dict[str, Probe] = {}
        self._active: list[Probe] = []
        self._unavailable: set[str] = set()
        self._failing: set[Probe] = set()
        self._metrics = dict(settings.metrics)
        self._own_cpu_time = own_cpu_time
        self._own_cpu_sec = 0.0
        self._suspended_sec = self._clock.suspended_sec()
        self.log("started", f"Measuring process {settings.pid} every {settings.interval_sec:g} s.")
        self._activate()
        self.start_sec = self._last_sec = self._clock.monotonic()

    @property
    def infos(self) -> list[MetricInfo]:
        """What the open probes measure, and what the monitor tells of itself."""
        found = {info.name: info for probe in self._open.values() for info in probe.metrics}
        return [*found.values(), *OWN_METRICS]

    # ── readings ──────────────────────────────────────────────────────────────────────────────

    def take(self, extra: dict[str, Any] | None = None) -> Reading:
        """Take a reading and record it. Raises `TargetGone` when there is nothing left to measure."""
        self.read(extra)
        self.record()
        assert self.last is not None
        return self.last

    @property
    def held_sec(self) -> float:
        """How long the oldest of the readings that aren't recorded yet has been held back."""
        return self._pending[-1].elapsed_sec - self._pending[0].elapsed_sec if self._pending else 0.0

    def read(self, extra: dict[str, Any] | None = None) -> None:
        """Take a reading, to be recorded with the next `record()`. Raises `TargetGone`."""
        now_sec = self._clock.monotonic()
        ts = self._clock.wall()
        values: dict[str, float] = {}
        for probe in self._active:
            try:
                probe.read(values)
            except ProcessLookupError as error:
                if not is_alive(self._settings.pid):
                    raise TargetGone from error
                self._note_failing(probe, error)
            except Exception as error:  # a probe is anybody's code: the others go on
                self._note_failing(probe, error)
        interval_sec = now_sec - self._last_sec if self._has_read else None
        if not self._has_read:
            self._has_read = True
            self.start_sec = now_sec
        self._last_sec = now_sec
        values[OWN_CPU_TIME] = self._own_cpu_sec
        if self.num_missed:
            values[MISSED] = self.num_missed
        suspended_sec = self._clock.suspended_sec()
        slept_sec, self._suspended_sec = suspended_sec - self._suspended_sec, suspended_sec
        self._pending.append(Reading(ts, now_sec - self.start_sec, interval_sec, values, slept_sec, extra))
        self.num_samples += 1

    def record(self) -> None:
        """Derive the figures of the readings that aren't recorded yet, and append them to the journal."""
        pending, self._pending = self._pending, []
        if pending:
            self._own_cpu_sec = pending[-1].values[OWN_CPU_TIME] = self._own_cpu_time()
        for reading in pending:
            reading.figures = self._deriver.derive(reading.values, reading.interval_sec)
            self._append(reading)
            self.last = reading
            if self._on_recorded is not None:
                self._on_recorded(reading)

    def _append(self, reading: Reading) -> None:
        metrics = {"elapsed_sec": reading.elapsed_sec}
        if reading.interval_sec is not None:
            metrics["interval_sec"] = reading.interval_sec
        if reading.suspended_sec > _SUSPENDED_FROM_SEC:
            # The monotonic clock stands still meanwhile: no rate is touched, the gap is only told.
            metrics["suspended_sec"] = reading.suspended_sec
        if self._settings.concise:
            metrics.update((name, reading.values[name]) for name in (OWN_CPU_TIME, MISSED) if name in reading.values)
        else:
            metrics.update(reading.values)
        metrics.update(reading.figures)
        self._writer.append(
            encode(Sample(ts=reading.ts, node=self._settings.node, metrics=metrics, extra=reading.extra))
        )

    # ── probes ────────────────────────────────────────────────────────────────────────────────

    def switch(self, metrics: dict[str, bool]) -> Reading:
        """Switch metrics on and off, with a reading at the edge, so that both sides' figures are whole."""
        wanted = {**self._metrics, **metrics}
        self._metrics = {name: wanted[name] or self._metrics[name] for name in wanted}
        self._activate()
        reading = self.take()
        for name, is_on in wanted.items():
            if not is_on:
                self._deriver.forget(name)
        self._metrics = wanted
        self._activate()
        return reading

    def _activate(self) -> None:
        names = [name for metric, is_on in self._metrics.items() if is_on for name in _PROBES_OF[metric]]
        names += [name for name in self._settings.probes if name not in names]
        new = [name for name in names if name not in self._open and name not in self._unavailable]
        if new:
            self._open_new(new)
        self._active = [self._open[name] for name in names if name in self._open]

    def _open_new(self, names: Sequence[str]) -> None:
        probes, unavailable = open_probes(self._target, names)
        self._open.update(zip((name for name in names if name not in unavailable), probes, strict=True))
        self._unavailable.update(unavailable)
        for name, reason in unavailable.items():
            self.log("unavailable", f"{name}: {reason}", probe=name)

    def _note_failing(self, probe: Probe, error: Exception) -> None:
        if probe not in self._failing:
            self._failing.add(probe)
            message = f"The probe {probe.name!r} failed: {type(error).__name__}: {error}"
            logger.warning("fedsight: %s. The monitor goes on without what it can't read.", message)
            self.log("probe_failed", message, level="warning", probe=probe.name)

    def log(self, event: str, message: str, level: str = "info", **extra: Any) -> None:
        """Put something that the monitor has to say into its journal, behind the readings so far."""
        self.record()
        self._writer.append(
            encode(
                Log(
                    ts=self._clock.wall(), component=COMPONENT, event=event, message=message,
                    level=level, extra=extra or None,  # type: ignore[arg-type]
                )
            )
        )  # fmt: skip

    def close(self) -> None:
        """Let the probes go."""
        for probe in self._open.values():
            try:
                probe.close()
            except Exception:  # a probe is anybody's code: the others are to be closed, too
                logger.exception("fedsight: the probe %r could not be closed", probe.name)
        self._open.clear()
        self._active.clear()


def is_alive(pid: int) -> bool:
    """Whether there is a process `pid` that still runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
    import psutil

    return bool(psutil.pid_exists(pid))
