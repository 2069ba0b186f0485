"""Shipping journals to a collector: the raw bytes from the collector's own offset on.

What guards from doubles: the collector takes bytes only at the offset where it is, so a batch that
comes again is refused and the sender goes on from where the collector says. Nothing is kept here.
"""

from __future__ import annotations

import logging
import os
import random
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fedsight.emitters.state import EmitterState
from fedsight.emitters.trouble import Change, OnChange
from fedsight.emitters.wire import CollectorConnection, Moved, Unreachable
from fedsight.errors import FedsightError, ShippingError, UsageError
from fedsight.journal import JournalReader, JournalWriter, closing_lines, list_journals, read_header, writer_alive
from fedsight.journal.names import segments
from fedsight.journal.retake import Retake

logger = logging.getLogger("fedsight")

HEARTBEAT_SEC = 10.0
_BLOCK_BYTES = 1 << 20
_SHORTEST_WAIT_SEC = 0.02
_LONGEST_WAIT_SEC = 0.25
_PAUSE_SEC = 0.25
"""From one body to the next where no more than a body's worth waits: an event a request would cost the collector dearly."""
_PAUSE_FACTOR = 4
_LONGEST_PAUSE_SEC = 2.0
"""A collector that takes long to answer is asked less often: the pause is so many times as long as it took, and this at most."""
_FIRST_BACKOFF_SEC = 0.2
_LONGEST_BACKOFF_SEC = 10.0
_MAX_MOVED = 3
"""So often in a row the collector may be elsewhere than thought; then it is asked less and less often."""
_MAX_RETAKES = 100
"""So often a journal may be sent anew. Each process asks for all of them again."""
_jitter = random.Random()
"""Of our own: drawing from the process-wide stream would change what a seeded training draws."""


class CollectorEmitter:
    """Ships a run's journal to a collector (`fedsight serve`) while it is written.

    url: such as "http://127.0.0.1:8083"; default `FEDSIGHT_COLLECTOR`. token: default
    `FEDSIGHT_TOKEN`. timeout_sec: for one request. Raises `UsageError` where no URL is known.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout_sec: float = 30.0) -> None:
        url = url or os.environ.get("FEDSIGHT_COLLECTOR")
        if not url:
            raise UsageError(
                "url", "CollectorEmitter needs the collector's url (or FEDSIGHT_COLLECTOR in the environment)."
            )
        CollectorConnection(url, token, timeout_sec).close()  # a URL that can't be meant is said now, not in a thread
        self.url = url
        self._token = token if token is not None else os.environ.get("FEDSIGHT_TOKEN")
        self._timeout_sec = timeout_sec
        self._shipments: dict[Path, Shipment] = {}
        self._settled = EmitterState("collector", self.url)
        self.on_change: OnChange | None = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<collector → {self.pending()}>"

    def attach(self, path: Path) -> None:
        """Ship the journal that starts at `path`, in a thread of its own."""
        if os.getpid() != self._pid:  # the parent's threads did not come along with the fork
            self._pid = os.getpid()
            self._shipments = {}
        if path in self._shipments:
            return
        shipment = Shipment(path, CollectorConnection(self.url, self._token, self._timeout_sec))
        shipment.on_change = self._tell
        self._shipments[path] = shipment
        threading.Thread(target=shipment.run, name="fedsight-collector", daemon=True).start()

    def drain(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Wait until all of these is acknowledged, `timeout_sec` at most. False: it is not."""
        deadline = time.monotonic() + timeout_sec
        for shipment in self._of(paths):
            shipment.hurry.set()
        for shipment in self._of(paths):
            shipment.done.wait(max(0.0, deadline - time.monotonic()))
        return all(shipment.complete for shipment in self._of(paths))

    def has_given_up(self, paths: Sequence[Path]) -> bool:
        """Whether none of these is being shipped any more: a wrong token or address does not get better by waiting."""
        return all(shipment.done.is_set() for shipment in self._of(paths))

    def _tell(self, change: Change, text: str) -> None:
        if self.on_change is not None:
            self.on_change(change, text)

    def state(self) -> EmitterState:
        """How far it is, and how it is doing."""
        shipments, settled = list(self._shipments.values()), self._settled
        failing = [each.failing_since for each in shipments if each.failing_since is not None]
        return EmitterState(
            name="collector",
            destination=self.url,
            delivered_bytes=settled.delivered_bytes + sum(each.offset for each in shipments),
            pending_bytes=settled.pending_bytes + sum(each.pending_bytes() for each in shipments),
            last_error=next((each.last_error for each in shipments if each.last_error), settled.last_error),
            failing_since=min(failing) if failing else settled.failing_since,
        )

    def detach(self, paths: Sequence[Path]) -> None:
        """Stop shipping these journals."""
        state = self.state()
        if all(path in paths for path in self._shipments):
            self._settled = state
        for shipment in self._of(paths):
            shipment.stop.set()
            self._shipments.pop(shipment.path)

    def _of(self, paths: Sequence[Path]) -> list[Shipment]:
        return [self._shipments[path] for path in paths if path in self._shipments]

    def pending(self, paths: Sequence[Path] = ()) -> str:
        """What the collector has not acknowledged yet (of all journals where none are named), and why."""
        shipments = self._of(paths or list(self._shipments))
        missing = sum(shipment.pending_bytes() for shipment in shipments)
        why = next((shipment.trouble for shipment in shipments if shipment.trouble), None)
        return f"{missing} bytes are not at the collector {self.url} yet" + (f" ({why})" if why else "")

    def delivered(self) -> str:
        """Where to look at it."""
        return f"shipped to {self.url}"

    def sync_command(self, paths: Sequence[Path]) -> str:
        """How to deliver the rest."""
        files = " ".join(shlex.quote(str(shipment.path)) for shipment in self._of(paths) if not shipment.complete)
        return f"fedsight sync {files} --url {self.url}"


class Shipment:
    """One journal on its way to one collector.

    ends_with_writer: it is over when the journal's writer is gone and all is acknowledged; otherwise when
    `hurry` is set and all is acknowledged.
    """

    def __init__(self, path: Path, connection: CollectorConnection, *, ends_with_writer: bool = True) -> None:
        self._ends_with_writer = ends_with_writer
        self.path = path
        self.offset = 0
        self.sent_bytes = 0
        self.trouble: str | None = None
        self.last_error: str | None = None
        self.failing_since: float | None = None
        self.on_change: OnChange | None = None
        self.complete = False
        self.hurry = threading.Event()
        self.stop = threading.Event()
        self.done = threading.Event()
        self._connection = connection
        self._backoff_sec = _FIRST_BACKOFF_SEC
        self._num_moved = 0
        self._retake: Retake | None = None

    def run(self) -> None:
        """Ship until the writer is gone and all is acknowledged; survive whatever the network does."""
        try:
            while not self.stop.is_set():
                try:
                    self._ship()
                except Unreachable as error:
                    self._wait_out(str(error), error.retry_after_sec)
                except Moved:
                    self._num_moved += 1
                    if self._num_moved > _MAX_MOVED:
                        self._wait_out("it is at another offset each time it is asked", None)
                    else:
                        self.stop.wait(_SHORTEST_WAIT_SEC)
                else:
                    return
        except (FedsightError, OSError) as error:
            self._note_trouble(str(error))
            logger.warning("fedsight: %s is no longer shipped: %s", self.path, error)
        except Exception as error:  # a fault of ours: said with its trace, and training goes on
            self._note_trouble(f"{type(error).__name__}: {error}")
            logger.exception("fedsight: %s is no longer shipped", self.path)
        finally:
            self._connection.close()
            self.done.set()

    def _wait_out(self, trouble: str, retry_after_sec: float | None) -> None:
        if self.trouble is None:
            logger.warning("fedsight: the collector can't take events now (%s); they are kept and sent later.", trouble)
        self._note_trouble(trouble)
        wait_sec = retry_after_sec if retry_after_sec is not None else self._backoff_sec * _jitter.uniform(0.5, 1.0)
        self._backoff_sec = min(self._backoff_sec * 2, _LONGEST_BACKOFF_SEC)
        if self.hurry.is_set():  # somebody waits for the end: knock more often
            wait_sec = min(wait_sec, 1.0)
        self.stop.wait(wait_sec)

    def _note_trouble(self, trouble: str) -> None:
        self.trouble = self.last_error = trouble
        if self.failing_since is None:
            self.failing_since = time.time()
            if self.on_change is not None:
                self.on_change("failing", f"The collector can't take events now: {trouble}")

    def _ship(self) -> None:
        retake = self._agree()
        with JournalReader(self.path, self.offset) as reader:
            wait_sec = _SHORTEST_WAIT_SEC
            last_sent_sec = time.monotonic()
            while not self.stop.is_set():
                # Asked before reading: what the writer wrote before it went is then surely read.
                is_last = self.hurry.is_set() or (wait_sec >= _LONGEST_WAIT_SEC and self._writer_is_gone())
                start, data = reader.read(_BLOCK_BYTES)
                if data or time.monotonic() - last_sent_sec > HEARTBEAT_SEC:
                    began_sec = time.monotonic()
                    self.offset = self._connection.post(retake.journal, start, retake.translate(data))
                    last_sent_sec = time.monotonic()
                    took_sec = last_sent_sec - began_sec
                    if self.offset != start + len(data):
                        raise Moved
                    self._note_success(len(data))
                if data:
                    wait_sec = _SHORTEST_WAIT_SEC
                    if len(data) < _BLOCK_BYTES // 2:
                        self.hurry.wait(min(max(_PAUSE_SEC, _PAUSE_FACTOR * took_sec), _LONGEST_PAUSE_SEC))
                elif is_last:
                    self.complete = True
                    return
                else:
                    self.hurry.wait(wait_sec)
                    wait_sec = min(wait_sec * 1.5, _LONGEST_WAIT_SEC)

    def _writer_is_gone(self) -> bool:
        return self._ends_with_writer and not writer_alive(self.path)

    def _agree(self) -> Retake:
        """Find the offset from which the collector goes on, and that it has the same bytes before it."""
        journal = read_header(self.path).journal
        retake = self._retake or Retake(journal, 0)
        while retake.number <= _MAX_RETAKES:
            known = self._connection.where(retake.journal)
            if known is None or not known.offset or retake.line_hash(self.path, known.offset) == known.last_line:
                self.offset = known.offset if known else 0
                self._retake = retake
                return retake
            logger.warning(
                "fedsight: the collector holds other lines of journal %s than %s does (the file was lost, cut or "
                "copied back): it is sent as a new journal.",
                retake.journal,
                self.path,
            )
            retake = Retake(journal, retake.number + 1)
        raise ShippingError(f"the collector holds other lines of it under all {_MAX_RETAKES} ids that it was sent by")

    def _note_success(self, num_bytes: int) -> None:
        self.sent_bytes += num_bytes
        self._backoff_sec = _FIRST_BACKOFF_SEC
        self._num_moved = 0
        if self.trouble is not None:
            logger.warning("fedsight: the collector takes events again.")
            self.trouble = None
            self.failing_since = None
            if self.on_change is not None:
                self.on_change("working", "The collector takes events again.")

    def pending_bytes(self) -> int:
        """Bytes of the journal that are not acknowledged."""
        found = segments(self.path)
        end = found[-1][0] + found[-1][1].stat().st_size if found else 0
        return max(0, end - self.offset)


_NO_JOURNAL = "0" * 32
"""Asked for to see whether the collector answers."""


class SyncResult(msgspec.Struct):
    """What became of one journal: `error` is None when the collector has all of it."""

    path: Path
    offset: int
    sent_bytes: int
    error: str | None = None


def sync(
    paths: Sequence[Path],
    url: str,
    token: str | None = None,
    *,
    timeout_sec: float = 30.0,
    on_done: Callable[[SyncResult], None] | None = None,
) -> list[SyncResult]:
    """Deliver what earlier processes could not: each journal (or all in a folder) up to its end.

    A journal whose writer is dead and whose run never ended is first ended as killed. Gives up on a
    journal when nothing of it gets through for `timeout_sec`.

    Raises `UsageError` where there is no journal, `ShippingError` where the collector can't be
    reached or does not know the token.
    """
    files: list[Path] = []
    for path in paths:
        files += list_journals(path) if path.is_dir() else [path]
    if not files:
        raise UsageError("paths", f"There are no journals in {', '.join(map(str, paths))}.")
    connection = CollectorConnection(url, token, timeout_sec)
    try:
        connection.where(_NO_JOURNAL)
    except Unreachable as error:
        raise ShippingError(f"The collector {url} can't be reached: {error}.") from error
    finally:
        connection.close()
    results = []
    for path in files:
        result = _sync_one(path, url, token, timeout_sec)
        results.append(result)
        if on_done:
            on_done(result)
    return results


def _sync_one(path: Path, url: str, token: str | None, timeout_sec: float) -> SyncResult:
    try:
        end_dead_run(path)
        shipment = Shipment(path, CollectorConnection(url, token, timeout_sec))
        shipment.hurry.set()  # up to the present end, whether or not somebody still writes
        worker = threading.Thread(target=shipment.run, name="fedsight-sync", daemon=True)
        worker.start()
        last_offset, deadline = -1, time.monotonic() + timeout_sec
        while not shipment.done.wait(0.1):
            if shipment.offset != last_offset:
                last_offset, deadline = shipment.offset, time.monotonic() + timeout_sec
            if time.monotonic() > deadline:
                break
        shipment.stop.set()
        worker.join(1.0)
        error = None
        if not shipment.complete:
            error = shipment.trouble or f"{shipment.pending_bytes()} bytes are still to be delivered"
        return SyncResult(path, shipment.offset, shipment.sent_bytes, error)
    except (FedsightError, OSError) as error:
        return SyncResult(path, 0, 0, str(error))


def end_dead_run(path: Path) -> None:
    """Cut a torn line off, and end as killed a run whose process died. Leaves a live writer's journal alone."""
    header = read_header(path)
    if header.role not in ("server", "client") or writer_alive(path) or not os.access(path, os.W_OK):
        return

    JournalWriter(
        path,
        role=header.role,
        run_id=header.run_id,
        client_id=header.client_id,
        on_open=lambda _, found: closing_lines(found) if found else [],
    ).close()
