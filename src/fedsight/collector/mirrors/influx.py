"""The mirror in InfluxDB 1, or in whatever takes its line protocol at `/write` (VictoriaMetrics, InfluxDB 2 and 3).

A follower of all journals of a collector, in a thread of its own: the journals are its buffer, however long the database is
away. Each point counts once: its measurement, tags and time follow from its line in its journal, and a point that is
written again takes its own place. So the offsets may be saved after the points, and not at each of them.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from fedsight.collector.mirrors.feed import Feed, Journals
from fedsight.collector.mirrors.line_writer import LineWriter, Unavailable
from fedsight.collector.mirrors.positions import Positions
from fedsight.errors import JournalError

logger = logging.getLogger(__name__)

MAX_POINTS = 5_000
"""In a request: what InfluxDB advises."""
LOOK_INTERVAL_SEC = 0.5
CHECK_INTERVAL_SEC = 10.0
FIRST_WAIT_SEC = 0.5
LONGEST_WAIT_SEC = 30.0
RETRY_READING_SEC = 5.0
STOP_SEC = 2.0


class MirrorState(msgspec.Struct, frozen=True, kw_only=True):
    """How the mirror does.

    url: without secrets. is_up: None before the first answer. lag_bytes: of journals, not yet mirrored. lag_sec: since when it has not
    been level with them. num_refused: points that the database will never take; last_refused says why.
    """

    url: str
    database: str
    is_up: bool | None
    lag_bytes: int
    lag_sec: float
    num_points: int
    num_refused: int
    num_untimed: int
    last_success: float | None
    last_error: str | None
    last_refused: str | None


class InfluxMirror:
    """Writes what the journals say into a database, behind the collector's back.

    url: like "http://127.0.0.1:8086"; user name and password may stand in it. journals: what there is to follow.
    file: where the positions are kept. Raises `UsageError` for a URL that can't be meant.
    """

    def __init__(
        self,
        url: str,
        database: str,
        journals: Journals,
        file: Path,
        *,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._writer = LineWriter(url, database, username, password)
        self._database = database
        self._journals = journals
        self._positions = Positions(file, f"{self._writer.url} {database}")
        self._feeds: dict[str, Feed] = {}
        self._is_up: bool | None = None
        self._num_points = 0
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._heard_at = -math.inf
        self._level_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fedsight-influx-mirror", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End; what was not written is in the journals, and comes next time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SEC)

    def state(self) -> MirrorState:
        """How it does now. May be called in any thread."""
        feeds = list(self._feeds.values())
        lag_bytes = sum(j.length - self._positions.of(j.header.journal).offset for j in self._journals.all())
        return MirrorState(
            url=self._writer.url,
            database=self._database,
            is_up=self._is_up,
            lag_bytes=lag_bytes,
            lag_sec=time.monotonic() - self._level_at if lag_bytes > 0 else 0.0,
            num_points=self._num_points,
            num_refused=self._writer.num_refused,
            num_untimed=sum(feed.points.num_untimed for feed in feeds if feed.points is not None),
            last_success=self._last_success,
            last_error=self._last_error or next((feed.error for feed in feeds if feed.error is not None), None),
            last_refused=self._writer.last_refused,
        )

    # ── the thread ────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        wait_sec = 0.0
        while not self._stopping.is_set():
            try:
                is_level = self._turn()
                self._check()
                self._positions.save()
                wait_sec = 0.0
                if is_level:
                    self._level_at = time.monotonic()
                    self._stopping.wait(LOOK_INTERVAL_SEC)
            except Exception as error:
                self._trouble(error)
                wait_sec = min(LONGEST_WAIT_SEC, wait_sec * 2 or FIRST_WAIT_SEC)
                self._stopping.wait(wait_sec * random.uniform(0.75, 1.25))
        try:
            self._positions.save(at_once=True)
        except OSError:
            logger.exception("the mirror's positions can't be saved; it will write some points again")
        self._writer.close()

    def _trouble(self, error: Exception) -> None:
        """Say it once; it is tried again until it works."""
        message = str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
        if isinstance(error, Unavailable):
            self._is_up = False
        if message != self._last_error:
            logger.warning("the InfluxDB mirror can't go on, and tries again: %s", message)
        self._last_error = message

    def _check(self) -> None:
        """Ask whether it is there, now and then, while nothing is to be written.

        Raises `Unavailable`.
        """
        if time.monotonic() - self._heard_at < CHECK_INTERVAL_SEC:
            return
        self._writer.check()
        self._heard_at, self._is_up, self._last_error = time.monotonic(), True, None

    def _turn(self) -> bool:
        """Deliver one request's worth, a block of each journal in turn. Whether that was all there is."""
        waiting: list[bytes] = []
        taken: list[Feed] = []
        is_level = True
        try:
            for feed in self._with_news():
                points = self._read(feed)
                if points is None:
                    continue
                taken.append(feed)
                waiting += points
                is_level = is_level and feed.end >= feed.journal.length
                if len(waiting) >= MAX_POINTS:
                    is_level = False
                    break
            for first in range(0, len(waiting), MAX_POINTS):
                self._succeeded(self._writer.write(waiting[first : first + MAX_POINTS]))
        except BaseException:
            for feed in taken:  # what was taken is taken again
                feed.points = None
            raise
        for feed in taken:
            name = feed.journal.header.journal
            self._positions.reached(name, feed.delivered())
            # Who was served goes to the back.
            self._feeds[name] = self._feeds.pop(name)
        return is_level

    def _with_news(self) -> Iterable[Feed]:
        for journal in self._journals.all():
            name = journal.header.journal
            if name not in self._feeds:
                self._feeds[name] = Feed(journal, self._positions.of(name))
        now = time.monotonic()
        return [
            feed for feed in self._feeds.values() if feed.journal.length > feed.position.offset and feed.retry_at <= now
        ]

    def _read(self, feed: Feed) -> list[bytes] | None:
        try:
            points = feed.next()
        except (OSError, JournalError) as error:
            feed.points = None
            feed.retry_at = time.monotonic() + RETRY_READING_SEC
            message = f"{feed.journal.path.name} can't be read: {error}"
            if message != feed.error:
                logger.error("the InfluxDB mirror goes on without it: %s", message)  # noqa: TRY400
            feed.error = message
            return None
        feed.error = None
        return points

    def _succeeded(self, num_points: int) -> None:
        self._num_points += num_points
        self._is_up = True
        self._last_success = time.time()
        self._last_error = None
        self._heard_at = time.monotonic()
