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
from collections.abc import Sequence
from pathlib import Path

from fedsight.emitters.delivering import Deliverer
from fedsight.emitters.destination import Destination
from fedsight.emitters.state import EmitterState
from fedsight.emitters.track import Track
from fedsight.emitters.trouble import OnChange

_SHORTEST_WAIT_SEC = 0.02
_LONGEST_WAIT_SEC = 0.25
_LET_GO_SEC = 2.0

_in_use: set[int] = set()
"""Destination objects (by id) that a thread delivers to: one serves one run at a time."""
_in_use_lock = threading.Lock()


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
        self._tracks: dict[Path, Track] = {}
        self._settled_bytes = 0
        self._left_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._complete = threading.Event()
        self._pace_sec: float = getattr(destination, "pace_sec", 0.0)
        self._deliverer = Deliverer(destination, self._hurry, self._wake)
        self._trouble = self._deliverer.trouble
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<{self.state().in_short()}>"

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
            self._tracks[path] = Track(path, self.identity, self.sync_options())
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

    def has_given_up(self, paths: Sequence[Path]) -> bool:
        """Whether waiting mends nothing: a package is missing."""
        return self._trouble.is_lasting

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
            num_events=self._deliverer.num_events,
            num_failed=self._trouble.num_failed,
            last_error=self._trouble.last_error,
            failing_since=self._trouble.failing_since,
            busy_since=self._deliverer.busy_since,
        )

    def pending(self, paths: Sequence[Path] = ()) -> str:
        """What is not delivered yet, and why."""
        return self.state().what_is_pending()

    def delivered(self) -> str:
        """Where to look at it."""
        return f"{self.name}: {self.destination.where()}{self.state().what_was_left_out()}"

    def sync_command(self, paths: Sequence[Path]) -> str:
        """How to deliver the rest."""
        return shlex.join(self._sync_arguments(paths))

    def sync_options(self) -> list[str]:
        """The options of `fedsight sync` that deliver to the same place: "--to", the emitter's name, and its own."""
        name = getattr(self.destination, "sync_name", self.name)
        return ["--to", name, *self.destination.sync_arguments()]

    def _sync_arguments(self, paths: Sequence[Path]) -> list[str]:
        left = [path for path, track in list(self._tracks.items()) if not track.is_done]
        return ["fedsight", "sync", *map(str, left or paths), *self.sync_options()]

    def deliver_elsewhere(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Have `fedsight sync`, a fresh interpreter, deliver the rest. False: it can't, or not in time.

        For an interpreter that ends: many libraries can't be imported there, and have ended their own threads.
        """
        import subprocess

        from fedsight.emitters.registry import is_registered

        if not is_registered(self.name) or getattr(self.destination, "ends_with_process", False):
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
                num_bytes = sum(self._deliverer.step(track, tracks, look_for_writer) for track in tracks)
                if all(track.is_done for track in tracks):
                    self._close(tracks)
                elif not num_bytes:
                    wait_sec = min(wait_sec * 1.5, _LONGEST_WAIT_SEC)
                    self._wake.wait(wait_sec)
                else:
                    # Lines of a burst are delivered together.
                    wait_sec = _SHORTEST_WAIT_SEC
                    if not self._hurry.is_set() and num_bytes < Track.BLOCK_BYTES // 4:
                        self._wake.wait(max(wait_sec, self._pace_sec))
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

    def _close(self, tracks: list[Track]) -> None:
        self._deliverer.close(tracks)
        with self._lock:
            if set(self._tracks.values()) <= set(tracks):
                self._complete.set()
