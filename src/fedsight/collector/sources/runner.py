"""Asks every source, each in its own time, and writes what it gives; knows how each of them does.

A failing source is asked less and less often (up to once a minute), and harms nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import anyio
import anyio.to_thread

from fedsight.collector.journals import Journals
from fedsight.collector.sources.config import Configured, masked_url
from fedsight.collector.sources.source import Polled, SourceDown, Web
from fedsight.collector.sources.state import SourceStatus
from fedsight.collector.sources.writers import Writers, last_state
from fedsight.errors import FedsightError
from fedsight.events import MAX_LINE_BYTES, Event, Log, RunEnd, Sample, SourceState, encode

logger = logging.getLogger(__name__)

MAX_BACKOFF_SEC = 60.0
MAX_START_JITTER_SEC = 2.0
JITTER = 0.05
"""Share of an interval by which polls are moved at random, so that many sources don't fall into step."""

MAX_EVENTS = 100_000
"""In one poll. What gives more, at every poll, would fill the disk and hold up everybody."""

MAX_RUN_ID_CHARS = 1_000
"""A source that calls its training by a longer name is not believed: the name stands in each journal's first line."""

YEAR_2000 = 946_684_800.0
MAX_AHEAD_SEC = 86_400.0
"""A source's clock may be so far ahead; what it says beyond that, or before 2000, is no time."""


class Sources:
    """All sources of one collector, from their configuration. None of them is asked before `start`."""

    def __init__(
        self, configured: Sequence[Configured] = (), journals: Journals | None = None, writers: Writers | None = None
    ) -> None:
        self._watches: list[_Watch] = []
        if writers is not None and journals is not None:
            self._watches = [_Watch(one, journals, writers) for one in configured]
        self._tasks: list[asyncio.Task[None]] = []

    def statuses(self) -> list[SourceStatus]:
        """How each source does at this moment, by name."""
        return sorted((watch.status.now() for watch in self._watches), key=lambda status: status.name)

    def start(self) -> None:
        """Begin to ask. Called in the event loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(watch.run(), name=f"source {watch.status.name}") for watch in self._watches]

    async def stop(self) -> None:
        """End all polls at once; what is being written is finished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []


class _Watch:
    """One source, asked again and again."""

    def __init__(self, configured: Configured, journals: Journals, writers: Writers) -> None:
        self._source = configured.source
        self._access = configured.access
        config = configured.source.config
        self._journals = journals
        self._writers = writers
        self._cursor: dict[str, Any] | None = None
        self._told: Literal["up", "down", "stale"] | None = None
        """The state that the journal ends with."""
        self._open_runs: dict[str, None] = {}
        """Runs that it has begun to tell of and not ended."""
        self.status = SourceStatus(
            name=config.name,
            kind=configured.source.kind,
            url=masked_url(config.url),
            interval_sec=config.interval_sec,
            timeout_sec=config.timeout_sec,
        )

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            await self._go_on()
            await self._ask_for_ever()
        except Exception as error:
            # Not a poll's fault (those are counted): a fault of ours, or of the journal. The others go on.
            logger.exception("source %s is not asked any more", self.status.name)
            self.status.last_error, self.status.last_error_at = _reason(error), time.time()
            self._become("down")

    async def _go_on(self) -> None:
        """Take up what an earlier collector had reached."""
        last = await anyio.to_thread.run_sync(last_state, self._journals, self.status.name)
        if last is None:
            return
        self._told = last.state
        # A source of another kind may have had this name.
        if last.type == self.status.kind:
            self._cursor = last.cursor
            self._open_runs = dict.fromkeys((last.extra or {}).get("open_runs", ()))

    async def _ask_for_ever(self) -> None:
        # Its packages are loaded when there is something to ask.
        from fedsight.collector.sources.web import HttpWeb

        config = self._source.config
        web = HttpWeb(config.url, self._access, config.timeout_sec)
        try:
            await self._wait(random.uniform(0, min(config.interval_sec / 4, MAX_START_JITTER_SEC)))
            while True:
                began = time.monotonic()
                await self._poll(web)
                await self._wait(max(0.0, self._interval_sec() - (time.monotonic() - began)))
        finally:
            with anyio.CancelScope(shield=True):
                await web.close()

    def _interval_sec(self) -> float:
        interval = self.status.interval_sec
        if self.status.num_failures_in_row > 1:
            interval = min(
                interval * 2.0 ** min(self.status.num_failures_in_row - 1, 16), max(MAX_BACKOFF_SEC, interval)
            )
        return interval * random.uniform(1 - JITTER, 1 + JITTER)

    async def _wait(self, seconds: float) -> None:
        self.status.next_poll_at = time.time() + seconds
        await asyncio.sleep(seconds)
        self.status.next_poll_at = None

    async def _poll(self, web: Web) -> None:
        began = time.monotonic()
        timeout_sec = self.status.timeout_sec
        try:
            try:
                with anyio.fail_after(timeout_sec):
                    polled = await self._source.poll(web, self._cursor)
            except TimeoutError:
                raise SourceDown(f"no answer within {timeout_sec:g} s") from None
            try:
                count = await self._write(polled)
            except OSError as error:
                raise SourceDown(f"its journal can't be written: {error.strerror or error}") from error
        except SourceDown as error:
            await self._failed(str(error), time.monotonic() - began)
        except Exception as error:
            # Whatever a source stumbles over is its own affair; it counts as down, and is said with its place.
            if self.status.num_failures_in_row == 0:
                logger.warning("source %s: the poll failed", self.status.name, exc_info=error)
            await self._failed(_reason(error), time.monotonic() - began)
        else:
            self._note(time.monotonic() - began)
            self.status.num_successes += 1
            self.status.num_failures_in_row = 0
            self.status.num_events += count
            self.status.last_success_at = time.time()
            self._become("up")
            self._writers.note_contact(self.status.name, self._open_runs)

    async def _write(self, polled: Polled) -> int:
        now = time.time()
        num_events = len(polled.events) + sum(map(len, polled.runs.values()))
        if num_events > MAX_EVENTS:
            raise SourceDown(f"it gave {num_events} events at once; {MAX_EVENTS} are taken at most")
        for run_id in polled.runs:
            if len(run_id) > MAX_RUN_ID_CHARS:
                raise SourceDown(f"it calls its training by a name of {len(run_id)} characters")
        had_clock_error = self._forget_clock_error(polled)
        name = self.status.name
        polled = Polled(
            events=[event for given in polled.events for event in self._checked(given, now)],
            runs={
                run: [e for given in events for e in self._checked(given, now)] for run, events in polled.runs.items()
            },
            cursor=polled.cursor,
        )
        count = len(polled.events) + sum(map(len, polled.runs.values()))
        if self.status.clock_error is not None and not had_clock_error:
            polled.events.append(
                Log(ts=now, component=name, event="clock_wrong", message=self.status.clock_error, level="warning")
            )
        state: SourceState | None = None
        open_runs = self._open_runs
        if self._told != "up":
            if self._told is not None or self.status.num_cycles:
                polled.events.insert(0, Log(ts=now, component=name, event="up", message=f"{name} answers again"))
            else:
                polled.events.insert(0, Log(ts=now, component=name, event="up", message=f"{name} answers"))
        if self._told != "up" or polled.cursor != self._cursor:
            open_runs = self._open_after(polled.runs)
            state = self._state(now, "up", polled.cursor, open_runs)
            if (size := len(encode(state))) > MAX_LINE_BYTES:
                raise SourceDown(f"where to go on from takes {size} bytes: its ids are too long, or too many")
        await self._writers.write(name, polled, state)
        self._cursor, self._told, self._open_runs = polled.cursor, "up", open_runs
        return count

    def _state(
        self, now: float, state: Literal["up", "down"], cursor: dict[str, Any] | None, open_runs: dict[str, None]
    ) -> SourceState:
        extra = {"open_runs": list(open_runs)} if open_runs else None
        return SourceState(
            ts=now, source=self.status.name, type=self.status.kind, state=state, cursor=cursor, extra=extra
        )

    def _open_after(self, runs: dict[str, list[Event]]) -> dict[str, None]:
        """Which runs are open when these events have been told."""
        found = dict(self._open_runs)
        for run_id, events in runs.items():
            found[run_id] = None
            if events and isinstance(events[-1], RunEnd):
                del found[run_id]
        return found

    def _forget_clock_error(self, polled: Polled) -> bool:
        """Whether there was one. It is over when the source tells something with its own time again; samples have ours."""
        had = self.status.clock_error is not None
        if any(polled.runs.values()) or not all(isinstance(event, Sample) for event in polled.events):
            self.status.clock_error = None
        return had

    def _checked(self, event: Event, now: float) -> list[Event]:
        """The event with a time that can be meant (the source's own stays in `extra`), if it can be kept at all."""
        if not math.isfinite(event.ts) or not YEAR_2000 <= event.ts <= now + MAX_AHEAD_SEC:
            self.status.clock_error = f"its clock is wrong: it said {_date(event.ts)} at {_date(now)}"
            event.extra = {**(event.extra or {}), "source_ts": event.ts}
            event.ts = now
        size = len(encode(event))
        if size > MAX_LINE_BYTES:
            kind = event.__struct_config__.tag
            message = f"an event of kind {kind} with {size} bytes was left out: a line holds {MAX_LINE_BYTES}"
            return [Log(ts=now, component=self.status.name, event="left_out", message=message, level="error")]
        return [event]

    async def _failed(self, reason: str, duration_sec: float) -> None:
        self._note(duration_sec)
        now = time.time()
        self.status.num_failures += 1
        self.status.num_failures_in_row += 1
        self.status.last_error, self.status.last_error_at = reason, now
        self._become("down")
        if self._told == "down":
            return
        name = self.status.name
        log = Log(ts=now, component=name, event="down", message=f"{name}: {reason}", level="error")
        state = self._state(now, "down", self._cursor, self._open_runs)
        state.error = reason
        try:
            await self._writers.write(name, Polled(events=[log]), state)
        except OSError as error:
            logger.error("source %s: its journal can't be written: %s", name, error)  # noqa: TRY400
        else:
            self._told = "down"

    def _note(self, duration_sec: float) -> None:
        self.status.num_cycles += 1
        self.status.last_duration_sec = duration_sec
        self.status.durations_sec.append(duration_sec)

    def _become(self, state: Literal["up", "down"]) -> None:
        if self.status.state != state:
            self.status.state, self.status.since = state, time.time()


def _reason(error: BaseException) -> str:
    """Why, in a few words. What a strange error says may hold anything: its kind is enough."""
    if isinstance(error, FedsightError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"the answer could not be understood ({type(error).__name__})"


def _date(ts: float) -> str:
    try:
        return datetime.fromtimestamp(ts, timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return repr(ts)
