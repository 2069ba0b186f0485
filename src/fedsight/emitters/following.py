"""An emitter that has a destination follow a run's journals, in a thread of its own.

Whatever the destination does, it harms neither the training nor other emitters: it is only ever
called from this thread, which reads the journal (nothing is queued), waits out what fails, and
keeps the offset only of what was delivered.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedsight.emitters.batching import Batching, split
from fedsight.emitters.destination import Batch, Destination, RunInfo
from fedsight.emitters.state import EmitterState
from fedsight.emitters.track import Track
from fedsight.emitters.trouble import TRIES, OnChange, Trouble, is_fault
from fedsight.events import Block, RunStatus
from fedsight.journal import writer_alive

_SHORTEST_WAIT_SEC = 0.02
_LONGEST_WAIT_SEC = 0.25
_PAUSE_SEC = 0.0005
_LET_GO_SEC = 2.0

_in_use: set[int] = set()
"""Destination objects (by id) that a thread delivers to: one serves one run at a time."""
_in_use_lock = threading.Lock()


class _LetGo(Exception):
    """The journal at hand is no longer to be delivered."""


class Following:
    """Delivers to `destination` what a run's journals hold, from where it got to before.

    Several journals (a run's own, and those that its forked children left) are followed by one
    thread, so the destination is only ever called from one. In a forked child it does nothing: the
    parent delivers the child's journal, too.
    """

    only_in_its_process = True

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.name = destination.name
        self.identity = destination.identity()
        self._trouble = Trouble(self.name)
        self._tracks: dict[Path, Track] = {}
        self._opened: tuple[str, str | None] | None = None
        self._busy_since: float | None = None
        self._num_events = 0
        self._settled_bytes = 0
        self._left_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._complete = threading.Event()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        state = self.state()
        how = f"failing: {state.last_error}" if state.failing_since is not None else "working"
        return (
            f"<{self.name} → {self.identity}: {state.delivered_bytes:,} bytes delivered, "
            f"{state.pending_bytes:,} pending, {state.num_failed} failed, {how}>"
        )

    @property
    def on_change(self) -> OnChange | None:
        """Called from the thread when the destination begins failing, and when it works again."""
        return self._trouble.on_change

    @on_change.setter
    def on_change(self, told: OnChange | None) -> None:
        self._trouble.on_change = told

    # ── what a run asks ───────────────────────────────────────────────────────────────────────

    def attach(self, path: Path) -> None:
        """Follow the journal that starts at `path`, too."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if path in self._tracks:
                return
            self._complete.clear()
            self._tracks[path] = Track(path, self.identity)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"fedsight-{self.name}", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None
                    raise
        self._wake.set()

    def drain(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Wait until all that these journals hold now is delivered, and the destination closed."""
        if os.getpid() != self._pid:
            return True
        self._hurry.set()
        self._wake.set()
        return self._complete.wait(timeout_sec)

    def detach(self, paths: Sequence[Path]) -> None:
        """Let go of these journals; what is not delivered stays for `fedsight sync`."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            for track in [self._tracks.pop(path) for path in paths if path in self._tracks]:
                track.is_let_go = True
                self._settled_bytes += track.offset
                self._left_bytes += track.pending_bytes()
            if not self._tracks:
                self._hurry.clear()
        self._wake.set()

    def state(self) -> EmitterState:
        """How far it is, and how it is doing."""
        tracks = list(self._tracks.values())
        return EmitterState(
            name=self.name,
            destination=self.identity,
            delivered_bytes=self._settled_bytes + sum(track.offset for track in tracks),
            pending_bytes=self._left_bytes + sum(track.pending_bytes() for track in tracks),
            num_events=self._num_events,
            num_failed=self._trouble.num_failed,
            last_error=self._trouble.last_error,
            failing_since=self._trouble.failing_since,
            busy_since=self._busy_since,
        )

    def pending(self, paths: Sequence[Path] = ()) -> str:
        """What is not delivered yet, and why."""
        state = self.state()
        told = f"{state.pending_bytes:,} bytes are not at {self.name} yet"
        if state.failing_since is not None:
            return f"{told} ({state.last_error})"
        if state.busy_since is not None and time.time() - state.busy_since > 1:
            return f"{told} (its last call has not returned for {time.time() - state.busy_since:.0f} s)"
        return told

    def delivered(self) -> str:
        """Where to look at it."""
        failed = self._trouble.num_failed
        told = f"{self.name}: {self.destination.where()}"
        return f"{told}; {failed} values were left out (last: {self._trouble.last_error})" if failed else told

    def sync_command(self, paths: Sequence[Path]) -> str:
        """How to deliver the rest."""
        return shlex.join(self._sync_arguments(paths))

    def _sync_arguments(self, paths: Sequence[Path]) -> list[str]:
        left = [path for path, track in list(self._tracks.items()) if not track.is_done]
        name = getattr(self.destination, "sync_name", self.name)
        return ["fedsight", "sync", *map(str, left or paths), "--to", name, *self.destination.sync_arguments()]

    def deliver_elsewhere(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Have `fedsight sync`, a fresh interpreter, deliver the rest. False: it can't, or not in time.

        For an interpreter that ends: many libraries can't be imported there, and have ended their own threads.
        """
        import subprocess

        from fedsight.emitters.registry import is_registered

        if not is_registered(self.name):
            return False
        thread = self._thread
        command = [sys.executable, "-m", *self._sync_arguments(paths)]
        self.detach(list(self._tracks))
        if thread is not None:
            thread.join(_LET_GO_SEC)
            if thread.is_alive():  # it hangs, and keeps the journal
                return False
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=timeout_sec, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        if done.returncode != 0:
            return False
        self._settled_bytes, self._left_bytes = self._settled_bytes + self._left_bytes, 0
        self._trouble.worked()
        return True

    # ── the thread ────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        key = id(getattr(self.destination, "target", self.destination))
        if not self._take_destination(key):
            return
        try:
            wait_sec = _SHORTEST_WAIT_SEC
            while tracks := self._tracks_or_end():
                self._wake.clear()
                look_for_writer = wait_sec >= _LONGEST_WAIT_SEC
                num_bytes = sum(self._step(track, look_for_writer) for track in tracks)
                if all(track.is_done for track in tracks):
                    self._close(tracks)
                elif not num_bytes:
                    wait_sec = min(wait_sec * 1.5, _LONGEST_WAIT_SEC)
                    self._wake.wait(wait_sec)
                else:
                    # Lines of a burst are delivered together.
                    wait_sec = _SHORTEST_WAIT_SEC
                    if not self._hurry.is_set() and num_bytes < Track.BLOCK_BYTES // 4:
                        self._wake.wait(wait_sec)
        finally:
            with _in_use_lock:
                _in_use.discard(key)

    def _take_destination(self, key: int) -> bool:
        """Wait until no other run is served by the same object. False: there is nothing to deliver any more."""
        while self._tracks_or_end():
            self._wake.clear()
            with _in_use_lock:
                if key not in _in_use:
                    _in_use.add(key)
                    return True
            self._wake.wait(_LONGEST_WAIT_SEC)
        return False

    def _tracks_or_end(self) -> list[Track]:
        """The journals at hand; none, and this thread's end, when nothing is left to do."""
        with self._lock:
            if not self._tracks or self._complete.is_set():
                self._thread = None
                return []
            return list(self._tracks.values())

    def _step(self, track: Track, look_for_writer: bool) -> int:
        """Deliver the next block of a journal. How many bytes it had."""
        if track.is_done:
            return 0
        try:
            # Asked before reading: what a writer wrote before it went is then surely read.
            last_look = self._hurry.is_set() or (look_for_writer and not writer_alive(track.path))
            if not track.is_begun:
                self._retried(lambda: self._begin(track), track)
            block = track.read(self._pause)
            if block is None or track.batching is None:
                track.is_done = track.is_done or last_look
                return 0
            batch = track.batching.batch(block, track.journal)
            if batch.lines:
                self._open(batch.run, track)
                self._deliver(batch, track)
            self._save(track, block)
        except _LetGo:
            track.close()
            return 0
        except Exception as error:  # a fault of ours, or a disk that fails
            track.close()
            self._trouble.failed(error)
            self._wait_out(track)
            return 0
        return len(block.data)

    def _begin(self, track: Track) -> None:
        if not track.begin(self._hurry.is_set()) or track.batching is not None:
            return
        # Rounds and totals are those of the run, whichever of its journals tells of them.
        others = [each.batching for each in list(self._tracks.values()) if each.batching and each.is_of_run(track)]
        batching = others[0] if others else Batching(track.header, self._pause)
        for block in track.read_delivered(self._pause):
            self._check(track)
            batching.pass_over(block)
        track.batching = batching

    def _open(self, run: RunInfo, track: Track) -> None:
        if self._opened != track.run_key:
            saved = track.saved_state()
            self._retried(lambda: self._call(lambda: self.destination.open(run, saved)), track, for_ever=True)
            self._opened = track.run_key

    def _deliver(self, batch: Batch, track: Track, tries: int = 0) -> None:
        """Hand a batch on, for as long as it takes; lines that the destination fails on are left out."""
        while True:
            self._check(track)
            try:
                refused = self._call(lambda: self.destination.deliver(batch))
            except (Exception, SystemExit) as error:
                if not is_fault(error):
                    self._trouble.failed(error)
                elif (tries := tries + 1) >= TRIES:
                    self._deliver_what_it_can(batch, track, error)
                    return
                self._wait_out(track)
            else:
                self._num_events += len(batch.lines)
                self._trouble.num_failed += refused or 0
                self._trouble.worked()
                return

    def _deliver_what_it_can(self, batch: Batch, track: Track, error: BaseException) -> None:
        if len(batch.lines) == 1:
            (line,) = batch.lines
            kind = line.event.__struct_config__.tag
            self._trouble.skipped(f"a {kind} event (offset {line.offset} of {track.path.name})", error)
            return
        for part in split(batch):
            self._deliver(part, track, tries=TRIES - 1)

    def _save(self, track: Track, block: Block | None = None) -> None:
        """Keep the offset, with what the destination needs to go on."""
        if self._opened is not None:
            self._retried(lambda: track.keep(self._call(self.destination.save)), track)
        try:
            track.save(block)
        except OSError as error:  # the next time may do; until then a crash brings the lines again
            self._trouble.failed(error)

    def _close(self, tracks: list[Track]) -> None:
        """All is delivered: tell the destination how the run ended."""
        first = next((track for track in tracks if track.batching is not None), None)
        try:
            if first is not None and first.batching is not None:
                self._close_as(first.batching.status, first, tracks)
        except _LetGo:
            pass
        for track in tracks:
            track.close()
        with self._lock:
            if set(self._tracks.values()) <= set(tracks):
                self._complete.set()

    def _close_as(self, status: RunStatus | None, first: Track, tracks: list[Track]) -> None:
        if self._opened is None and status is not None and first.closed_as != status and first.batching is not None:
            # Killed between the last line and the end: the end is told now.
            self._open(first.batching.run, first)
        if self._opened is None:
            return
        for track in tracks:
            self._save(track)
        closed = self._retried(lambda: self._call(lambda: self.destination.close(status)), first)
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
                self._trouble.failed(error)
                if tries >= TRIES and not for_ever:
                    return False
                self._wait_out(track)
            else:
                self._trouble.worked()
                return True

    def _call(self, call: Callable[[], Any]) -> Any:
        self._busy_since = time.time()
        try:
            return call()
        finally:
            self._busy_since = None

    def _wait_out(self, track: Track) -> None:
        was_hurried = self._hurry.is_set()
        until_sec = time.monotonic() + self._trouble.backoff_sec(was_hurried)
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
