"""Where what sources give goes, and where they had got to: their journals."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TypeVar

from fedsight.collector.indexer import Indexer
from fedsight.collector.journals import Journals
from fedsight.collector.producer import Producers, journal_id
from fedsight.collector.sources.source import Polled
from fedsight.collector.together import Addition, Together
from fedsight.events import Event, SourceState, decode

TAIL_BYTES = 1 << 20

E = TypeVar("E", bound=Event)


class Writers:
    """Where what the sources give goes."""

    def __init__(self, producers: Producers, together: Together, indexer: Indexer) -> None:
        self._producers = producers
        self._together = together
        self._indexer = indexer

    def note_contact(self, name: str, runs: Iterable[str]) -> None:
        """The source answers: it, and the runs that it tells of, are not lost, however long they have nothing to say."""
        now = time.time()
        self._indexer.heard_of(journal_id("source", f"source {name}"), now)
        for run_id in runs:
            self._indexer.heard_of(journal_id("server", f"source {name} run {run_id}"), now)

    async def write(self, name: str, polled: Polled, state: SourceState | None) -> None:
        """Append a poll's events; with `state`, all in one piece. Raises `OSError`, and then nothing is written."""
        events = [*polled.events, state] if state is not None else polled.events
        additions = [
            Addition("server", f"source {name} run {run_id}", run_events, run_id)
            for run_id, run_events in polled.runs.items()
            if run_events
        ]
        if events:
            additions.insert(0, Addition("source", f"source {name}", events))
        if (len(additions) == 1 and len(additions[0].events) == 1) or (additions and state is None and not polled.runs):
            # Nothing to keep in step with anything.
            only = additions[0]
            await self._producers.append(only.role, only.subject, only.events, run_id=only.run_id)
        elif additions:
            await self._together.append(additions)


def last_state(journals: Journals, name: str) -> SourceState | None:
    """The state, and with it the cursor, that the source's journal ends with; None where there is none yet."""
    return newest(journals, journal_id("source", f"source {name}"), SourceState)


def newest(journals: Journals, journal: str, kind: type[E]) -> E | None:
    """The newest event of one kind in one of the collector's own journals, looked for from its end."""
    copy = journals.get(journal)
    if copy is None:
        return None
    mark = f'"kind":"{kind.__struct_config__.tag}"'.encode()
    rest = b""
    with copy.newest.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at > 0:
            start = max(0, at - TAIL_BYTES)
            file.seek(start)
            lines = (file.read(at - start) + rest).split(b"\n")
            at, rest = start, lines[0]
            for line in reversed(lines[1 if at else 0 :]):
                if mark in line[:40] and isinstance(found := decode(line), kind):
                    return found
    return None
