"""Delivering journals to a destination, block by block: what a thread of `Following` does.

Every call that fails is made again until it works, a fault in a program apart. The offset is saved
after delivery.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fedsight.emitters.batching import Batching, split
from fedsight.emitters.destination import Batch, Destination, RunInfo
from fedsight.emitters.track import Track
from fedsight.emitters.trouble import TRIES, Trouble, is_fault
from fedsight.events import Block, RunStatus
from fedsight.journal import writer_alive

_PAUSE_SEC = 0.0005


class _LetGo(Exception):
    """The journal at hand is no longer to be delivered."""


class Deliverer:
    """Delivers to `destination`, from one thread.

    hurry: set when somebody waits for the end. wake: set when anything changed that a wait should end for.
    """

    def __init__(self, destination: Destination, hurry: threading.Event, wake: threading.Event) -> None:
        self.trouble = Trouble(destination.name)
        self.num_events = 0
        self.busy_since: float | None = None
        self._destination = destination
        self._hurry = hurry
        self._wake = wake
        self._opened: tuple[str, str | None] | None = None

    def step(self, track: Track, tracks: Sequence[Track], look_for_writer: bool) -> int:
        """Deliver the next block of a journal, one of `tracks`. How many bytes it had.

        look_for_writer: where nothing is left to read, see whether the writer still lives.
        """
        if track.is_done:
            return 0
        try:
            # Asked before reading: what a writer wrote before it went is then surely read.
            last_look = self._hurry.is_set() or (look_for_writer and not writer_alive(track.path))
            if not track.is_begun:
                self._retried(lambda: self._begin(track, tracks), track)
            block = track.read(self._pause)
            if block is None or track.batching is None:
                track.is_done = track.is_done or last_look
                return 0
            batch = track.batching.batch(block, track.journal)
            if batch.lines:
                self._open(batch.run, track)
                self._deliver(batch, track)
                track.closed_as = None
            self._save(track, block)
        except _LetGo:
            track.close()
            return 0
        except Exception as error:  # a fault of ours, or a disk that fails
            track.close()
            self.trouble.failed(error)
            self._wait_out(track)
            return 0
        return len(block.data)

    def _begin(self, track: Track, tracks: Sequence[Track]) -> None:
        if not track.begin(self._hurry.is_set()) or track.batching is not None:
            return
        # Rounds and totals are those of the run, whichever of its journals tells of them.
        others = [each.batching for each in tracks if each.batching and each.is_of_run(track)]
        batching = others[0] if others else Batching(track.header, self._pause)
        for block in track.read_delivered(self._pause):
            self._check(track)
            batching.pass_over(block)
        track.batching = batching

    def _open(self, run: RunInfo, track: Track) -> None:
        if self._opened != track.run_key:
            # What was saved is asked for anew each time: another process may have to let go of it first.
            self._retried(
                lambda: self._call(lambda: self._destination.open(run, track.saved_state())), track, for_ever=True
            )
            self._opened = track.run_key

    def _deliver(self, batch: Batch, track: Track, tries: int = 0) -> None:
        """Hand a batch on, for as long as it takes; lines that the destination fails on are left out."""
        while True:
            self._check(track)
            try:
                refused = self._call(lambda: self._destination.deliver(batch))
            except (Exception, SystemExit) as error:
                if not is_fault(error):
                    self.trouble.failed(error)
                elif (tries := tries + 1) >= TRIES:
                    self._deliver_what_it_can(batch, track, error)
                    return
                self._wait_out(track)
            else:
                self.num_events += len(batch.lines)
                self.trouble.num_failed += refused or 0
                self.trouble.worked()
                return

    def _deliver_what_it_can(self, batch: Batch, track: Track, error: BaseException) -> None:
        if len(batch.lines) == 1:
            (line,) = batch.lines
            kind = line.event.__struct_config__.tag
            self.trouble.skipped(f"a {kind} event (offset {line.offset} of {track.path.name})", error)
            return
        for part in split(batch):
            self._deliver(part, track, tries=TRIES - 1)

    def _save(self, track: Track, block: Block | None = None) -> None:
        """Keep the offset, with what the destination needs to go on."""
        if self._opened is not None:
            self._retried(lambda: track.keep(self._call(self._destination.save)), track)
        try:
            track.save(block)
        except OSError as error:  # the next time may do; until then a crash brings the lines again
            self.trouble.failed(error)

    def close(self, tracks: Sequence[Track]) -> None:
        """All is delivered: tell the destination how the run ended."""
        first = next((track for track in tracks if track.batching is not None), None)
        try:
            if first is not None and first.batching is not None:
                self._close_as(first.batching.status, first, tracks)
        except _LetGo:
            pass
        for track in tracks:
            track.close()

    def _close_as(self, status: RunStatus | None, first: Track, tracks: Sequence[Track]) -> None:
        if self._opened is None and status is not None and first.closed_as != status and first.batching is not None:
            # Killed between the last line and the end: the end is told now.
            self._open(first.batching.run, first)
        if self._opened is None:
            return
        for track in tracks:
            self._save(track)
        closed = self._retried(lambda: self._call(lambda: self._destination.close(status)), first)
        self._opened = None
        for track in tracks:
            track.closed_as = status if closed else None
            self._save(track)

    # ── calls that may fail ───────────────────────────────────────────────────────────────────

    def _retried(self, call: Callable[[], Any], track: Track, *, for_ever: bool = False) -> bool:
        """Call until it works. False: it is a fault in the program, and was given up."""
        tries = 0
        while True:
            self._check(track)
            try:
                call()
            except _LetGo:
                raise
            except (Exception, SystemExit) as error:
                tries += is_fault(error)
                self.trouble.failed(error)
                if tries >= TRIES and not for_ever:
                    return False
                self._wait_out(track)
            else:
                self.trouble.worked()
                return True

    def _call(self, call: Callable[[], Any]) -> Any:
        self.busy_since = time.time()
        try:
            return call()
        finally:
            self.busy_since = None

    def _wait_out(self, track: Track) -> None:
        was_hurried = self._hurry.is_set()
        until_sec = time.monotonic() + self.trouble.backoff_sec(was_hurried)
        while True:
            self._wake.clear()
            left_sec = until_sec - time.monotonic()
            if track.is_let_go or left_sec <= 0 or self._hurry.is_set() != was_hurried:
                return
            self._wake.wait(left_sec)

    def _pause(self) -> None:
        """Let the training thread have the interpreter, unless it waits for the end."""
        if not self._hurry.is_set():
            time.sleep(_PAUSE_SEC)

    def _check(self, track: Track) -> None:
        if track.is_let_go:
            raise _LetGo
