"""For users' own tests: a run in a temporary folder, with its events at hand.

from fedsight.events import RoundEnd
from fedsight.testing import recorded

def test_training_logs_its_rounds():
    with recorded() as run:
        train()  # calls fedsight.log_round(…)
    assert [event.round for event in run.events_of(RoundEnd)] == [0, 1, 2]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fedsight
from fedsight.errors import JournalError
from fedsight.events import AnyEvent, Event, UnknownEvent, decode_block
from fedsight.journal import JournalReader
from fedsight.run import Run

__all__ = ["RecordedRun", "read_events", "recorded"]

E_ = TypeVar("E_", bound=Event)


def read_events(path: str | Path) -> list[AnyEvent | UnknownEvent]:
    """All events of the journal that starts at `path`, its header first.

    Raises `JournalError` for a line that is no event.
    """
    found: list[AnyEvent | UnknownEvent] = []
    with JournalReader(Path(path)) as reader:
        while True:
            start, data = reader.read()
            if not data:
                return found
            block = decode_block(data, start)
            for bad in block.bad:
                raise JournalError(f"{path}: no event at offset {bad.offset}: {bad.reason}.")
            found += [event for event in block.events if event is not None]


class RecordedRun(Run):
    """A run whose events can be looked at, while it goes on and afterwards."""

    _kept: list[AnyEvent | UnknownEvent] | None = None

    @property
    def events(self) -> list[AnyEvent | UnknownEvent]:
        """What was recorded so far, from the journal's header on; read anew at each access."""
        return read_events(self.path) if self._kept is None else list(self._kept)

    def events_of(self, kind: type[E_]) -> list[E_]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def keep(self) -> None:
        """Remember the events: the folder is about to go."""
        self._kept = self.events


@contextmanager
def recorded(**init: Any) -> Iterator[RecordedRun]:
    """A run in a temporary folder, for the length of a `with` block; the module's functions speak to it.

    init: as of `fedsight.init`, `runs_dir` and `verbose` apart. `FEDSIGHT_COLLECTOR` is not heeded.
    An exception in the block ends the run as failed, and goes on.
    """
    before = fedsight._run  # noqa: SLF001 - one package's own business
    with tempfile.TemporaryDirectory(prefix="fedsight-") as folder:
        collector = os.environ.pop("FEDSIGHT_COLLECTOR", None)
        try:
            run = RecordedRun(runs_dir=folder, verbose=False, **init)
        finally:
            if collector is not None:
                os.environ["FEDSIGHT_COLLECTOR"] = collector
        fedsight._run = run  # noqa: SLF001
        try:
            with run:
                yield run
        finally:
            run.keep()
            fedsight._run = before  # noqa: SLF001
