"""What each round of a run has cost: the run's journal says when it was, the monitor's what each interval cost.

Put together when it is asked for, so a round mark costs the training nothing; a reading at each would cost 0.2 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedsight.events import AnyEvent, ClientUpdate, JournalHeader, RoundEnd, RoundStart, RunStart, decode_block
from fedsight.journal import JournalReader
from fedsight.monitor.derived import TOTALS
from fedsight.monitor.figures import Interval, Tally, read_window
from fedsight.monitor.sampler import OWN_CPU_TIME


class Span(msgspec.Struct):
    """When a round was, in UTC epoch seconds; `ends_at` is None where it is still open."""

    round: int
    begins_at: float
    ends_at: float | None = None


def round_summaries(
    run_journal: Path, monitor_journal: Path | None, offset: int, metrics: Mapping[str, bool]
) -> list[dict[str, Any]]:
    """A summary of each round of `run_journal` that was measured, in the order of their beginnings.

    An interval that lies across a round's edge counts by its share in time. offset: where the
    monitor's window begins. metrics: what is switched on.
    """
    spans = sorted(read_spans(run_journal), key=lambda span: span.begins_at)
    tallies = [Tally(span.begins_at) for span in spans]
    num_begun = 0
    active: list[int] = []
    for entry in read_window(monitor_journal, offset):
        if not isinstance(entry, Interval):
            continue
        begins_at = entry.ts - entry.duration_sec
        while num_begun < len(spans) and spans[num_begun].begins_at < entry.ts:
            active.append(num_begun)
            num_begun += 1
        active = [each for each in active if _is_after(spans[each], begins_at)]
        for each in active:
            part = _part(entry, spans[each])
            if part is not None:
                tallies[each].add(part)
    return [
        {"round": span.round, "is_open": span.ends_at is None, **tally.summary(metrics)}
        for span, tally in zip(spans, tallies, strict=True)
        if tally.num_samples
    ]


def _is_after(span: Span, ts: float) -> bool:
    return span.ends_at is None or span.ends_at > ts


def _part(interval: Interval, span: Span) -> Interval | None:
    """What of an interval lies within the round; None where nothing does."""
    begins_at = max(interval.ts - interval.duration_sec, span.begins_at)
    ends_at = interval.ts if span.ends_at is None else min(interval.ts, span.ends_at)
    if ends_at <= begins_at:
        return None
    share = (ends_at - begins_at) / interval.duration_sec
    if share >= 1:
        return interval
    before = dict(interval.before)
    figures = dict(interval.figures)
    figures.update((name, figures[name] * share) for name in TOTALS if name in figures)
    if OWN_CPU_TIME in figures and OWN_CPU_TIME in before:
        before[OWN_CPU_TIME] = figures[OWN_CPU_TIME] - share * (figures[OWN_CPU_TIME] - before[OWN_CPU_TIME])
    return Interval(ends_at, interval.elapsed_sec, ends_at - begins_at, figures, before)


# ── when the rounds were ──────────────────────────────────────────────────────────────────────


def read_spans(run_journal: Path) -> Iterator[Span]:
    """The rounds that a run's journal tells of, a server's or a site's."""
    events = _events(run_journal)
    header = next(events, None)
    is_site = isinstance(header, JournalHeader) and header.role == "client"
    return _site_spans(events) if is_site else _server_spans(events)


def _server_spans(events: Iterator[AnyEvent]) -> Iterator[Span]:
    """From `round_start` to `round_end`."""
    open_spans: dict[int, Span] = {}
    for event in events:
        if isinstance(event, RoundStart):
            if event.round in open_spans:  # it was begun anew, and never ended
                open_spans[event.round].ends_at = event.ts
                yield open_spans[event.round]
            open_spans[event.round] = Span(event.round, event.ts)
        elif isinstance(event, RoundEnd):
            span = open_spans.pop(event.round, None)
            if span is None and event.round_duration_sec is not None:
                span = Span(event.round, event.ts - event.round_duration_sec)
            if span is not None:
                span.ends_at = event.ts
                yield span
    yield from open_spans.values()


def _site_spans(events: Iterator[AnyEvent]) -> Iterator[Span]:
    """Up to the site's update, over its training time; where that is unknown, since its update before."""
    since: float | None = None
    for event in events:
        if isinstance(event, RunStart):
            since = event.ts
        elif isinstance(event, ClientUpdate) and event.round is not None:
            begins_at = since if event.train_time_sec is None else event.ts - event.train_time_sec
            since = event.ts
            if begins_at is not None:
                yield Span(event.round, begins_at, event.ts)


def _events(path: Path) -> Iterator[Any]:
    with JournalReader(path) as reader:
        while True:
            start, data = reader.read()
            if not data:
                return
            yield from decode_block(data, start).events
