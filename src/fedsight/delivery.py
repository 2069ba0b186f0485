"""Between a run and its emitters: which journals they follow, and the wait for them at the end.

An emitter is somebody else's code: whatever it throws is logged, and training goes on.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fedsight.emitters import Emitter
from fedsight.journal import JournalWriter, writer_alive
from fedsight.journal.names import sibling_paths

logger = logging.getLogger("fedsight")

DRAIN_SEC = 30.0
"""How long the end of a run waits for its emitters, where nothing else is said."""

_QUIET_SEC = 1.0


class Delivery:
    """Has `emitters` follow a run's journals, of which there are more where the process forks.

    say: tells the user something, in a line.
    """

    def __init__(self, emitters: Sequence[Emitter], say: Callable[[str], None]) -> None:
        self._emitters = emitters
        self._say = say
        self._paths: list[Path] = []
        self._pid = os.getpid()

    def follow(self, writer: JournalWriter) -> None:
        """The journal that `writer` has just opened is to be delivered."""
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            self._paths = []
            self._drain_at_childs_end(writer)
        self._attach(writer.path)

    def _attach(self, path: Path) -> None:
        self._paths.append(path)
        for emitter in self._emitters:
            try:
                emitter.attach(path)
            except Exception:
                logger.exception("fedsight: the emitter %r failed; this run does without it", emitter)

    def _drain_at_childs_end(self, writer: JournalWriter) -> None:
        """A forked child records to a journal of its own: it waits for it to be delivered when it ends."""

        def drain() -> None:
            writer.close()
            self.drain(DRAIN_SEC)

        atexit.register(drain)
        if "multiprocessing.util" in sys.modules:  # whose children skip atexit
            sys.modules["multiprocessing.util"].Finalize(None, drain, exitpriority=10)

    def take_over_from_children(self, path: Path) -> None:
        """Deliver also what forked children recorded beside `path`, and did not live to deliver."""
        if self._emitters:
            for sibling in sibling_paths(path):
                if not writer_alive(sibling):
                    self._attach(sibling)

    def drain(self, timeout_sec: float) -> None:
        """Wait, `timeout_sec` at most, until all is delivered; say what is not, and the command that does it."""
        deadline = time.monotonic() + timeout_sec
        paths, self._paths = self._paths, []
        for emitter in self._emitters:
            try:
                self._drain_one(emitter, paths, max(0.0, deadline - time.monotonic()))
            except Exception:
                logger.exception("fedsight: the emitter %r failed", emitter)

    def _drain_one(self, emitter: Emitter, paths: list[Path], timeout_sec: float) -> None:
        quiet_sec = min(_QUIET_SEC, timeout_sec)
        complete = emitter.drain(paths, quiet_sec)
        if not complete and timeout_sec > quiet_sec:
            self._say(f"{emitter.pending(paths)}; waiting for it, {timeout_sec:.0f} s at most")
            complete = emitter.drain(paths, timeout_sec - quiet_sec)
        if complete:
            self._say(emitter.delivered())
        else:
            logger.warning(
                "fedsight: %s. Deliver the rest with: %s", emitter.pending(paths), emitter.sync_command(paths)
            )
        emitter.detach(paths)
