"""The monitor of a run: it begins and ends with it, and records to a journal of its own beside the run's."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fedsight.errors import FedsightError, UsageError
from fedsight.journal.names import journal_path
from fedsight.monitor.amounts import bytes_text, energy_text, time_text
from fedsight.monitor.forms import FormName
from fedsight.monitor.monitor import Monitor
from fedsight.monitor.rounds import round_summaries
from fedsight.monitor.settings import checked_interval

if TYPE_CHECKING:
    from fedsight.emitters import Emitter

logger = logging.getLogger("fedsight")

INTERVAL_SEC = 1.0
"""Between readings, where nothing is said: some 1/2000 of a core, and 5 MB an hour of journal."""


class MonitorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run is to be monitored; the same as `Run.monitor` takes."""

    interval: float = INTERVAL_SEC
    form: FormName = "process"
    probes: tuple[str, ...] = ()


def options_of(given: object) -> MonitorOptions:
    """What `monitor=…` of a run means. Raises `UsageError` for anything but True, seconds, or a mapping of options."""
    if given is True:
        return MonitorOptions()
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in MonitorOptions.__struct_fields__]
        if unknown:
            known = ", ".join(MonitorOptions.__struct_fields__)
            raise UsageError("monitor", f"monitor has no option {unknown[0]!r}; there are {known}.")
        return checked(**given)
    if isinstance(given, (int, float)):
        return checked(interval=given)
    raise UsageError("monitor", f"monitor must be True, a number of seconds, or a dict of options, not {given!r}.")


def checked(interval: object = INTERVAL_SEC, form: object = "process", probes: object = ()) -> MonitorOptions:
    """The options, with what can't be meant refused by a `UsageError`."""
    if form not in ("process", "thread"):
        raise UsageError("form", f"form must be 'process' or 'thread', not {form!r}.")
    if isinstance(probes, str) or not isinstance(probes, Iterable):
        raise UsageError("probes", f"probes must be a list of probes' names, not {probes!r}.")
    names = tuple(str(each) for each in probes)
    check_probes(names)
    return MonitorOptions(interval=checked_interval(interval), form=form, probes=names)


def check_probes(names: Sequence[str]) -> None:
    """Raises `UsageError` for a name that no probe has."""
    from fedsight.monitor.probes import BUILT_IN, ENTRY_POINTS

    unknown = [name for name in names if name not in BUILT_IN]
    if unknown:
        from importlib.metadata import entry_points  # slow to import

        known = [*BUILT_IN, *entry_points(group=ENTRY_POINTS).names]
        for name in unknown:
            if name not in known:
                raise UsageError("probes", f"There is no probe {name!r}; there are {', '.join(known)}.")


class RunMonitor(Monitor):
    """Measures the process of a run, into `<runs_dir>/<run>[.<client>].monitor.jsonl`.

    run_journal: the run's own. node: what the machine is called (default: the host's name).
    """

    def __init__(
        self, run_journal: Path, run_id: str, client_id: str | None, node: str | None, options: MonitorOptions
    ) -> None:
        super().__init__(
            options.interval,
            probes=options.probes,
            journal=journal_path(run_journal.parent, run_id, client_id, part="monitor"),
            run_id=run_id,
            client_id=client_id,
            node=node,
            form=options.form,
        )
        self._run_journal = run_journal
        self.set_metrics(power=True)

    def start_quietly(self) -> bool:
        """Begin. What is in the way is said in a line, and harms nothing; False then."""
        try:
            self.start()
        except (FedsightError, OSError) as error:
            logger.warning("fedsight: the run goes on without its monitor: %s", error)
            return False
        return True

    def stop_quietly(self) -> None:
        """End, with the run that it belongs to."""
        try:
            self.stop()
        except (FedsightError, OSError) as error:
            logger.warning("fedsight: the run's monitor could not be stopped: %s", error)

    def rounds(self) -> list[dict[str, Any]]:
        """A summary of each round that was measured, in the order of their beginnings.

        A server's round is from `round_start` to `log_round`; a site's ends with its update, and began
        `train_time_sec` before or, where that wasn't given, with its update before.
        """
        return round_summaries(self._run_journal, *self._read_from(), self.metrics)

    def resources(self) -> dict[str, Any]:
        """`summary()`, with `rounds` and `phases`."""
        return {**self.summary(), "rounds": self.rounds(), "phases": self.phases()}

    def in_a_line(self) -> str | None:
        """What it has cost, for people; None where nothing was measured."""
        found = self.summary()
        parts = []
        if found["total_cpu_sec"] is not None:
            parts.append(f"{time_text(found['total_cpu_sec'])} of CPU ({found['avg_cpu_cores']:.2f} cores)")
        if found["peak_memory_rss_bytes"] is not None:
            parts.append(f"memory at most {bytes_text(found['peak_memory_rss_bytes'])}")
        if (gpu := found["figures"].get("gpu_util_pct")) is not None:
            parts.append(f"GPU {gpu['mean']:.0f} %")
        if found["total_energy_mj"] is not None:
            parts.append(energy_text(found["total_energy_mj"] / 1000))
        return ", ".join(parts) or None


def collectors(emitters: Sequence[Emitter]) -> list[Emitter]:
    """Those emitters that take any journal as it is."""
    module = sys.modules.get("fedsight.emitters.collector")  # not loaded: there are none
    return [] if module is None else [each for each in emitters if isinstance(each, module.CollectorEmitter)]
