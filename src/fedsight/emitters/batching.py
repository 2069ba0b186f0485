"""From a journal's blocks to the batches that a destination gets: rounds folded, totals counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from fedsight.emitters.destination import Batch, Line, RoundReport, RunInfo, Totals
from fedsight.emitters.state import is_about_an_emitter
from fedsight.events import (
    AnyEvent,
    Block,
    Checkpoint,
    ClientEvent,
    ClientUpdate,
    JournalHeader,
    RoundEnd,
    RoundStart,
    RunEnd,
    RunStart,
    RunStatus,
    UnknownEvent,
)
from fedsight.summary import RoundFold

_MOST_UNHASHED = 1000
_EVENTS_A_SLICE = 50

Pause = Callable[[], None]
"""Called every few events, for a training thread that may want the interpreter."""


class Batching:
    """Takes in a run's blocks in order, and makes batches of them.

    A round's report stands with its `round_end`; where lines came for a round that had ended, one
    revision of its report stands with the last of them in the block. pause: called between slices
    of the work.
    """

    def __init__(self, header: JournalHeader, pause: Pause) -> None:
        self._pause = pause
        self.run = RunInfo(run_id=header.run_id or "", client_id=header.client_id)
        self.status: RunStatus | None = None
        self._totals = Totals()
        self._rounds = RoundFold()
        self._unhashed: dict[tuple[int | None, str], None] = {}

    def pass_over(self, block: Block) -> None:
        """Take in what was delivered before."""
        for _, event in _handed_on(block, self._pause):
            self._take(event)

    def batch(self, block: Block, journal: str) -> Batch:
        """The block's events with the reports that they complete. Bad and unknown lines are left out."""
        totals = msgspec.structs.replace(self._totals)
        lines: list[Line] = []
        revised: dict[int, Line] = {}
        for offset, event in _handed_on(block, self._pause):
            line = Line(offset, event)
            lines.append(line)
            was_closed = isinstance(event, RoundEnd) and self._is_closed(event.round)
            number = self._take(event)
            if number is None:
                continue
            if isinstance(event, RoundEnd):
                line.report = self._report(number, event.ts, was_closed)
                revised.pop(number, None)
            elif isinstance(event, RoundStart):
                revised.pop(number, None)
            elif self._is_closed(number):
                revised[number] = line
        for number, line in revised.items():
            if self._is_closed(number):  # else it was let go meanwhile, being very old
                line.report = self._report(number, self._rounds.revised_at(number, line.event.ts), True)
        return Batch(run=self.run, journal=journal, lines=lines, totals=totals)

    def _take(self, event: AnyEvent) -> int | None:
        count(self._totals, event, self._unhashed)
        if isinstance(event, RunStart):
            self.status = None
            self.run = _run_info(self.run, event)
        elif isinstance(event, RunEnd):
            self.status = event.status
        return self._rounds.take(event)

    def _is_closed(self, number: int) -> bool:
        try:
            return self._rounds.is_closed(number)
        except KeyError:
            return False

    def _report(self, number: int, ts: float, is_revision: bool) -> RoundReport:
        # Copies: later lines of the same block change the fold's own.
        clients = [msgspec.structs.replace(update) for update in self._rounds.updates(number)]
        return RoundReport(ts, self._rounds.summary(number), clients, is_revision)


def split(batch: Batch) -> tuple[Batch, Batch]:
    """The batch in two halves, each a batch of its own."""
    middle = len(batch.lines) // 2
    totals = msgspec.structs.replace(batch.totals)
    for line in batch.lines[:middle]:
        count(totals, line.event, {})
    return (
        msgspec.structs.replace(batch, lines=batch.lines[:middle]),
        msgspec.structs.replace(batch, lines=batch.lines[middle:], totals=totals),
    )


def count(totals: Totals, event: AnyEvent, unhashed: dict[tuple[int | None, str], None]) -> None:
    """Count one event. unhashed: checkpoints whose SHA-256 is still to come; the second line of one isn't counted."""
    if isinstance(event, ClientUpdate):
        totals.num_updates += 1
        totals.bytes_up += _finite(event.bytes_sent)
        totals.bytes_down += _finite(event.bytes_received)
    elif isinstance(event, RoundEnd):
        totals.num_rounds += 1
    elif isinstance(event, ClientEvent):
        totals.num_dropouts += event.event == "dropout"
        totals.num_comm_failures += event.event == "comm_failure"
    elif isinstance(event, Checkpoint):
        key = (event.round, event.path)
        if event.sha256 is None:
            totals.num_checkpoints += 1
            unhashed[key] = None
            if len(unhashed) > _MOST_UNHASHED:
                unhashed.pop(next(iter(unhashed)))
        elif unhashed.pop(key, 0) == 0:
            totals.num_checkpoints += 1


def count_alone(totals: Totals, event: AnyEvent) -> None:
    """Count one event without those before it: a checkpoint by its first line alone, which has no SHA-256 yet.

    Whether a line with a hash is one more checkpoint shows in the totals of the next batch.
    """
    if not isinstance(event, Checkpoint) or event.sha256 is None:
        count(totals, event, {})


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _handed_on(block: Block, pause: Pause) -> Iterator[tuple[int, AnyEvent]]:
    for number, (offset, event) in enumerate(zip(block.offsets(), block.events, strict=True), 1):
        if number % _EVENTS_A_SLICE == 0:
            pause()
        if event is None or isinstance(event, (UnknownEvent, JournalHeader)) or is_about_an_emitter(event):
            continue
        yield offset, event


def _run_info(before: RunInfo, start: RunStart) -> RunInfo:
    """A run that is resumed keeps what it doesn't say anew."""
    return RunInfo(
        run_id=start.run_id,
        project=start.project,
        algorithm=start.algorithm or before.algorithm,
        framework=start.framework or before.framework,
        config=start.config or before.config,
        tags=start.tags or before.tags,
        started_at=before.started_at if before.started_at is not None else start.ts,
        client_id=before.client_id,
    )
