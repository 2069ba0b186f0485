"""Between a run and its emitters: which journals they follow, and the wait for them at the end.

An emitter is somebody else's code: whatever it throws is logged, and training goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fedsight.emitters import Emitter
from fedsight.emitters.state import LOG_COMPONENT, EmitterState
from fedsight.emitters.trouble import Change, OnChange
from fedsight.events import Log
from fedsight.journal import JournalWriter, writer_alive
from fedsight.journal.names import sibling_paths
from fedsight.progress import Progress, Say

logger = logging.getLogger("fedsight")

DRAIN_SEC = 30.0
"""How long the end of a run waits for its emitters, where nothing else is said."""

_LOOK_SEC = 0.2
_ENDING_SEC = 2.0
_RESERVE_SEC = 5.0
"""Of that time, what slow emitters leave to those that need the finished journal (a third of it at most)."""
_INTERRUPTED_SEC = 1.0
"""What those that need the finished journal get where somebody pressed Ctrl-C."""
_NOTE_SEC = 60.0

Record = Callable[[Log], None]


class Delivery:
    """Has `emitters` follow a run's journals, of which there are more where the process forks.

    say: tells the user something, in a line. `was_interrupted`: Ctrl-C ended the wait for them.
    """

    def __init__(self, emitters: Sequence[Emitter], say: Say) -> None:
        self._emitters = list(emitters)
        self._say = say
        self._record: Record | None = None
        self._early: list[Log] = []
        self._record_lock = threading.Lock()
        self._paths: list[Path] = []
        self._shipped: list[Path] = []
        self._pid = os.getpid()
        self.was_interrupted = False
        for emitter in self._emitters:
            if hasattr(emitter, "on_change"):
                emitter.on_change = self._noting(emitter)

    def tell(self, record: Record) -> None:
        """From now on the emitters' troubles are told in `log` events; `record` writes one into the journal."""
        with self._record_lock:
            self._record = record
            for log in self._early:
                record(log)

    # ── which journals ────────────────────────────────────────────────────────────────────────

    def follow(self, writer: JournalWriter) -> None:
        """The journal that `writer` has just opened is to be delivered."""
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._paths = []
            self._shipped = []
            self._record_lock = threading.Lock()
            # What is only in the parent's process delivers this journal at the parent's end.
            self._emitters = [each for each in self._emitters if not _needs_open_journal(each)]
            self._drain_at_childs_end(writer)
        self._attach(writer.path, self._emitters)

    def ship(self, path: Path, collectors: Sequence[Emitter]) -> None:
        """Have `collectors` alone take another journal of the run's: its monitor's."""
        if collectors and path not in self._shipped:
            self._shipped.append(path)
            self._attach_to(collectors, path)

    def _attach(self, path: Path, emitters: Sequence[Emitter]) -> None:
        if path not in self._paths:
            self._paths.append(path)
        self._attach_to(emitters, path)

    def _attach_to(self, emitters: Sequence[Emitter], path: Path) -> None:
        for emitter in emitters:
            try:
                emitter.attach(path)
            except Exception:
                logger.exception("fedsight: the emitter %s failed; this run does without it", type(emitter).__name__)

    def _drain_at_childs_end(self, writer: JournalWriter) -> None:
        """A forked child records to a journal of its own: it waits for it to be delivered when it ends."""

        def drain() -> None:
            writer.close()
            self.drain(DRAIN_SEC)

        atexit.register(drain)
        if "multiprocessing.util" in sys.modules:  # whose children skip atexit
            sys.modules["multiprocessing.util"].Finalize(None, drain, exitpriority=10)

    def take_over_from_children(self, path: Path) -> None:
        """Deliver also what forked children recorded beside `path`.

        A child that lives delivers to a collector itself; to everything else, its parent does, as far as it is.
        """
        for sibling in sibling_paths(path) if self._emitters else ():
            is_written = writer_alive(sibling)
            emitters = [each for each in self._emitters if _needs_open_journal(each) or not is_written]
            if is_written and emitters:
                logger.warning(
                    "fedsight: another process still records to %s: what it records from now on is delivered by "
                    "`fedsight sync` alone.",
                    sibling,
                )
            if emitters:
                self._attach(sibling, emitters)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def drain_while_open(self, timeout_sec: float, is_ending: bool = False) -> None:
        """Wait for the emitters whose state goes into the journal, and write it there.

        is_ending: the interpreter is. What fails then is delivered by another.
        """
        first = [each for each in self._emitters if _needs_open_journal(each)]
        if not first:
            return
        reserve_sec = min(_RESERVE_SEC, timeout_sec / 3) if len(first) < len(self._emitters) else 0.0
        deadline = time.monotonic() + timeout_sec - reserve_sec
        complete: list[Emitter] = []
        rest = list(first)
        while rest:
            left_sec = max(0.0, deadline - time.monotonic())
            complete += self._drain(rest, self._paths, left_sec, min(_ENDING_SEC, left_sec) if is_ending else None)
            rest = [each for each in rest if each not in complete]
            if not is_ending or self.was_interrupted or time.monotonic() >= deadline:
                break
            tried = [each for each in rest if each.state().failing_since is not None]
            complete += self._delivered_elsewhere(tried, deadline)
            rest = [each for each in rest if each not in tried]
        for emitter in first:
            with contextlib.suppress(Exception):  # what it threw was logged just now
                state = emitter.state()
                told = emitter.delivered() if emitter in complete else emitter.pending(self._paths)
                event = "delivered" if emitter in complete else "pending"
                self._note(state, event, told, is_good=emitter in complete and not state.num_failed)
        self._let_go(first, complete)

    def _delivered_elsewhere(self, emitters: Sequence[Emitter], deadline: float) -> list[Emitter]:
        done = []
        for emitter in emitters:
            if hasattr(emitter, "deliver_elsewhere"):
                try:
                    if emitter.deliver_elsewhere(self._paths, max(0.0, deadline - time.monotonic())):
                        done.append(emitter)
                except KeyboardInterrupt:
                    self.was_interrupted = True
                    break
                except Exception:
                    logger.exception("fedsight: the emitter %s failed", type(emitter).__name__)
        return done

    def drain(self, timeout_sec: float) -> None:
        """The journal is done: wait, `timeout_sec` at most, until all is delivered; say what is not."""
        with self._record_lock:
            self._record = lambda _: None
        rest = [each for each in self._emitters if not _needs_open_journal(each)]
        paths, self._paths, self._shipped = [*self._paths, *self._shipped], [], []
        if self.was_interrupted:
            timeout_sec = min(timeout_sec, _INTERRUPTED_SEC)
        self._let_go(rest, self._drain(rest, paths, timeout_sec), paths)

    def _drain(
        self, emitters: Sequence[Emitter], paths: Sequence[Path], timeout_sec: float, first_sec: float | None = None
    ) -> list[Emitter]:
        """Wait for all of them at once, of `timeout_sec` only `first_sec` for now. Those that have everything.

        Ctrl-C ends the wait; `was_interrupted` tells of it.
        """
        deadline = time.monotonic() + timeout_sec
        return_sec = deadline if first_sec is None else time.monotonic() + first_sec
        progress = Progress(self._say)
        complete: list[Emitter] = []
        waiting = list(emitters)
        wait_sec = 0.0  # first, all are told that the end has come
        try:
            while waiting:
                left: list[Emitter] = []
                for emitter in waiting:
                    try:
                        if emitter.drain(paths, wait_sec / len(waiting)):
                            complete.append(emitter)
                        elif not _has_given_up(emitter, paths):
                            left.append(emitter)
                    except Exception:
                        logger.exception("fedsight: the emitter %s failed", type(emitter).__name__)
                waiting = left
                left_sec = return_sec - time.monotonic()
                if left_sec <= 0:
                    break
                wait_sec = min(_LOOK_SEC, left_sec)
                if waiting:
                    progress.show(waiting, paths, deadline - time.monotonic())
        except KeyboardInterrupt:
            self.was_interrupted = True
        progress.end()
        return complete

    def _let_go(
        self, emitters: Sequence[Emitter], complete: Sequence[Emitter], paths: Sequence[Path] | None = None
    ) -> None:
        paths = self._paths if paths is None else paths
        for emitter in emitters:
            try:
                if emitter in complete:
                    self._say(emitter.delivered())
                else:
                    logger.warning(
                        "fedsight: %s. Deliver the rest with: %s", emitter.pending(paths), emitter.sync_command(paths)
                    )
                emitter.detach(paths)
            except Exception:
                logger.exception("fedsight: the emitter %s failed", type(emitter).__name__)

    # ── what the dashboard sees of it ─────────────────────────────────────────────────────────

    def _noting(self, emitter: Emitter) -> OnChange:
        noted_sec: float | None = None
        is_noted = False

        def note(change: Change, text: str) -> None:
            # An emitter that comes and goes doesn't fill the journal.
            nonlocal noted_sec, is_noted
            if change == "failing":
                is_noted = noted_sec is None or time.monotonic() - noted_sec > _NOTE_SEC
                noted_sec = time.monotonic() if is_noted else noted_sec
            if is_noted:
                self._note(emitter.state(), change, text, is_good=change == "working")

        return note

    def _note(self, state: EmitterState, event: str, text: str, *, is_good: bool) -> None:
        log = emitter_log(state, event, text, is_good=is_good)
        with self._record_lock:
            if self._record is None:
                self._early.append(log)
            else:
                self._record(log)


def emitter_log(state: EmitterState, event: str, text: str, *, is_good: bool) -> Log:
    """The `log` event that tells of an emitter's state."""
    told = {name: value for name, value in msgspec.structs.asdict(state).items() if value is not None}
    return Log(
        ts=time.time(),
        component=LOG_COMPONENT + state.name,
        event=event,
        message=text,
        level="info" if is_good else "warning",
        extra=told,
    )


def _has_given_up(emitter: Emitter, paths: Sequence[Path]) -> bool:
    """Whether there is no use in waiting for it any longer."""
    return hasattr(emitter, "has_given_up") and bool(emitter.has_given_up(paths))


def _needs_open_journal(emitter: Emitter) -> bool:
    """Whether it delivers in this process alone, and its last state is to stand in the journal.

    A collector gets the journal itself, so it comes last and gets those lines, too.
    """
    return bool(getattr(emitter, "only_in_its_process", False))
