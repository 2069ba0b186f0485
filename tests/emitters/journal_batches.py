"""The batches that a destination gets from a recorded journal, without threads and offsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedsight.emitters.destination import Batch, Line, RoundReport, RunInfo, Totals
from fedsight.emitters.series import add_line
from fedsight.events import JournalHeader, RunStart, decode_block
from fedsight.journal import JournalReader
from fedsight.summary import RoundFold


def batches_of(path: Path, lines_each: int = 1_000_000) -> Iterator[Batch]:
    """All lines of the journal at `path`, in batches of `lines_each`."""
    with JournalReader(path) as reader:
        block = decode_block(reader.read()[1], 0)
    assert block.bad == []
    journal, run = "", RunInfo(run_id="")
    fold, ended, lines = RoundFold(), set(), []
    for offset, event in zip(block.offsets(), block.events, strict=True):
        if isinstance(event, JournalHeader):
            journal = event.journal
            run = RunInfo(run_id=event.run_id or "", client_id=event.client_id)
        if isinstance(event, RunStart):
            run = RunInfo(
                event.run_id,
                event.project,
                event.algorithm,
                event.framework,
                event.config or {},
                event.tags or {},
                event.ts,
                run.client_id,
            )
        number = fold.take(event)
        report = None
        if number is not None and fold.is_closed(number):
            report = RoundReport(fold.summary(number), fold.updates(number), is_revision=number in ended)
            ended.add(number)
        lines.append(Line(offset, event, report))
    totals = Totals()
    for start in range(0, len(lines), lines_each):
        part = lines[start : start + lines_each]
        yield Batch(run, journal, part, totals)
        for line in part:
            totals = add_line(totals, line)
