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
from typing import Protocol

import httpx
import msgspec

from fedsight.collector.mirrors.points import JournalPoints
from fedsight.errors import FedsightError, JournalError, UsageError
from fedsight.events import JournalHeader, decode_block
from fedsight.journal import JournalReader

logger = logging.getLogger(__name__)

MAX_POINTS = 5_000
"""In a request: what InfluxDB advises."""
READ_BYTES = 1 << 20
LOOK_INTERVAL_SEC = 0.5
SAVE_INTERVAL_SEC = 1.0
CHECK_INTERVAL_SEC = 10.0
TIMEOUT_SEC = 10.0
FIRST_WAIT_SEC = 0.5
LONGEST_WAIT_SEC = 30.0
RETRY_READING_SEC = 5.0
STOP_SEC = 2.0
MAX_ERROR_CHARS = 300


class Journal(Protocol):
    """A journal on disk, as far as it may be read."""

    path: Path
    header: JournalHeader
    length: int


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


class _Position(msgspec.Struct):
    """How far one journal is mirrored, and what it takes to go on from there."""

    offset: int = 0
    num_lines: int = 0
    fold_from: int = 0
    source_kind: str | None = None


class _Positions(msgspec.Struct):
    """The file that remembers."""

    target: str
    journals: dict[str, _Position]


class _Unavailable(FedsightError):
    """The database does not take points now; later it may."""


class _Feed:
    """One journal on its way out."""

    def __init__(self, journal: Journal, position: _Position) -> None:
        self.journal = journal
        self.position = position
        self.points: JournalPoints | None = None
        self.end = position.offset
        """Where the block ends that was taken last."""
        self.error: str | None = None
        """Why it can't be read; it is tried again at `retry_at` (monotonic)."""
        self.retry_at = 0.0

    def next(self) -> list[bytes] | None:
        """The points of the next block; None where nothing is left. They count as delivered after `delivered`."""
        if self.points is None:
            self.points = self._go_on()
        with JournalReader(self.journal.path, self.position.offset) as reader:
            start, data = reader.read(READ_BYTES)
        if not data:
            return None
        block = decode_block(data, start)
        points = self.points.take(block)
        self.end = block.end
        return points

    def delivered(self) -> None:
        """The block that `next` gave is in the database."""
        assert self.points is not None
        self.position = _Position(
            offset=self.end,
            num_lines=self.points.num_lines,
            fold_from=self.points.fold_from(self.end),
            source_kind=self.points.source_kind,
        )

    def _go_on(self) -> JournalPoints:
        """What an earlier process knew at this position."""
        at = self.position
        points = JournalPoints(self.journal.header, at.num_lines, at.source_kind)
        if at.fold_from < at.offset:
            with JournalReader(self.journal.path, at.fold_from) as reader:
                while reader.offset < at.offset:
                    start, data = reader.read(min(READ_BYTES, at.offset - reader.offset))
                    if not data:
                        break
                    points.fold(decode_block(data, start))
        return points


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
        target = _target(url)
        auth = (username or target.username, password or target.password)
        self._target = target.copy_with(userinfo=b"", query=None, fragment=None)
        self._database = database
        self._journals = journals
        self._file = file
        self._client = httpx.Client(
            timeout=TIMEOUT_SEC, auth=auth if any(auth) else None, trust_env=False, follow_redirects=False
        )
        self._feeds: dict[str, _Feed] = {}
        self._saved = self._load()
        self._saved_at = 0.0
        self._is_dirty = False
        self._is_up: bool | None = None
        self._num_points = self._num_refused = 0
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._last_refused: str | None = None
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
        lag_bytes = sum(j.length - self._position(j).offset for j in self._journals.all())
        return MirrorState(
            url=str(self._target),
            database=self._database,
            is_up=self._is_up,
            lag_bytes=lag_bytes,
            lag_sec=time.monotonic() - self._level_at if lag_bytes > 0 else 0.0,
            num_points=self._num_points,
            num_refused=self._num_refused,
            num_untimed=sum(feed.points.num_untimed for feed in feeds if feed.points is not None),
            last_success=self._last_success,
            last_error=self._last_error or next((feed.error for feed in feeds if feed.error is not None), None),
            last_refused=self._last_refused,
        )

    def _position(self, journal: Journal) -> _Position:
        name = journal.header.journal
        feed = self._feeds.get(name)
        return feed.position if feed is not None else self._saved.get(name) or _Position()

    # ── the thread ────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        wait_sec = 0.0
        while not self._stopping.is_set():
            try:
                is_level = self._turn()
                self._check()
                self._save()
                wait_sec = 0.0
                if is_level:
                    self._level_at = time.monotonic()
                    self._stopping.wait(LOOK_INTERVAL_SEC)
            except Exception as error:
                self._trouble(error)
                wait_sec = min(LONGEST_WAIT_SEC, wait_sec * 2 or FIRST_WAIT_SEC)
                self._stopping.wait(wait_sec * random.uniform(0.75, 1.25))
        try:
            self._save(at_once=True)
        except OSError:
            logger.exception("the mirror's positions can't be saved; it will write some points again")
        self._client.close()

    def _trouble(self, error: Exception) -> None:
        """Say it once; it is tried again until it works."""
        message = str(error) if isinstance(error, _Unavailable) else f"{type(error).__name__}: {error}"
        if isinstance(error, _Unavailable):
            self._is_up = False
        if message != self._last_error:
            logger.warning("the InfluxDB mirror can't go on, and tries again: %s", message)
        self._last_error = message

    def _check(self) -> None:
        """Ask whether it is there, now and then, while nothing is to be written.

        Raises `_Unavailable`.
        """
        if time.monotonic() - self._heard_at < CHECK_INTERVAL_SEC:
            return
        answer = self._ask("GET", "/ping", {})
        if answer.status_code >= 500:
            raise _Unavailable(_told(answer))
        self._heard_at, self._is_up, self._last_error = time.monotonic(), True, None

    def _turn(self) -> bool:
        """Deliver one request's worth, a block of each journal in turn. Whether that was all there is."""
        waiting: list[bytes] = []
        taken: list[_Feed] = []
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
                self._write(waiting[first : first + MAX_POINTS])
        except BaseException:
            for feed in taken:  # what was taken is taken again
                feed.points = None
            raise
        for feed in taken:
            feed.delivered()
            self._is_dirty = True
            # Who was served goes to the back.
            self._feeds[feed.journal.header.journal] = self._feeds.pop(feed.journal.header.journal)
        return is_level

    def _with_news(self) -> Iterable[_Feed]:
        for journal in self._journals.all():
            name = journal.header.journal
            if name not in self._feeds:
                self._feeds[name] = _Feed(journal, self._saved.get(name) or _Position())
        now = time.monotonic()
        return [
            feed for feed in self._feeds.values() if feed.journal.length > feed.position.offset and feed.retry_at <= now
        ]

    def _read(self, feed: _Feed) -> list[bytes] | None:
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

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def _write(self, lines: list[bytes]) -> None:
        """Bring points into the database; those that it will never take are counted and left.

        Raises `_Unavailable`.
        """
        answer = self._ask("POST", "/write", {"db": self._database, "precision": "ns"}, b"".join(lines))
        if answer.status_code == 404 and "database not found" in answer.text:
            self._create_database()
            answer = self._ask("POST", "/write", {"db": self._database, "precision": "ns"}, b"".join(lines))
        if answer.is_success:
            self._succeeded(len(lines))
        elif answer.status_code not in (400, 413, 422):
            raise _Unavailable(_told(answer))
        elif len(lines) > 1 and "partial write" not in answer.text:
            # Which of them it was is not said; the halves are written again, which changes nothing.
            middle = len(lines) // 2
            self._write(lines[:middle])
            self._write(lines[middle:])
        else:
            num_refused = _num_dropped(answer, len(lines))
            self._num_refused += num_refused
            self._last_refused = _told(answer)
            logger.warning("InfluxDB has refused %d points: %s", num_refused, self._last_refused)
            self._succeeded(len(lines) - num_refused)

    def _succeeded(self, num_points: int) -> None:
        self._num_points += num_points
        self._is_up = True
        self._last_success = time.time()
        self._last_error = None
        self._heard_at = time.monotonic()

    def _create_database(self) -> None:
        name = self._database.replace("\\", "\\\\").replace('"', '\\"')
        answer = self._ask("POST", "/query", {"q": f'CREATE DATABASE "{name}"'})
        if not answer.is_success:
            raise _Unavailable(f"the database {self._database!r} is not there and can't be made: {_told(answer)}")

    def _ask(self, method: str, path: str, params: dict[str, str], body: bytes = b"") -> httpx.Response:
        url = self._target.copy_with(path=self._target.path.rstrip("/") + path)
        try:
            return self._client.request(method, url, params=params, content=body)
        except httpx.HTTPError as error:
            raise _Unavailable(f"{type(error).__name__}: {error}") from error

    # ── positions ─────────────────────────────────────────────────────────────────────────────

    @property
    def _told_target(self) -> str:
        return f"{self._target} {self._database}"

    def _load(self) -> dict[str, _Position]:
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=_Positions)
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("%s is damaged (%s): the mirror writes everything again", self._file, error)
            return {}
        # Another database has nothing yet.
        return saved.journals if saved.target == self._told_target else {}

    def _save(self, *, at_once: bool = False) -> None:
        """Remember how far it came, at most once a second: what comes twice changes nothing."""
        now = time.monotonic()
        if not self._is_dirty or (not at_once and now - self._saved_at < SAVE_INTERVAL_SEC):
            return
        positions = {**self._saved, **{name: feed.position for name, feed in self._feeds.items()}}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(_Positions(self._told_target, positions)))
        new.replace(self._file)
        self._saved_at, self._is_dirty = now, False


class Journals(Protocol):
    """What there is to follow."""

    def all(self) -> Iterable[Journal]:
        """Every journal that holds something. May be called in any thread."""


def _target(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        fault = str(error)
    else:
        if target.scheme in ("http", "https") and target.host:
            return target
        fault = f"its scheme is {target.scheme!r}" if target.host else "it names no host"
    # The URL itself stays out of it: it may hold a password.
    raise UsageError("influxdb_url", f"INFLUXDB_URL can't be meant ({fault}); give http://HOST:8086")


def _num_dropped(answer: httpx.Response, most: int) -> int:
    """How many points a "partial write: … dropped=N" says were refused."""
    digits = answer.text.partition("dropped=")[2]
    count = digits[: len(digits) - len(digits.lstrip("0123456789"))]
    return min(int(count), most) if count else 1


def _told(answer: httpx.Response) -> str:
    return f"HTTP {answer.status_code}: {answer.text.strip()[:MAX_ERROR_CHARS]}"
