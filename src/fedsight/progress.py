"""What is said while a run waits for its emitters."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fedsight.emitters import Emitter

_QUIET_SEC = 1.0
_PROGRESS_SEC = 3.0


class Say(Protocol):
    """Tells the user something in a line; `in_place`: instead of the terminal's present line."""

    def __call__(self, text: str, *, in_place: bool = False) -> None:  # noqa: D102 - the class says it
        ...


class Progress:
    """Says every few seconds what is pending; on a terminal, in one line that is written anew."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._next_sec = time.monotonic() + _QUIET_SEC
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False

    def show(self, waiting: Sequence[Emitter], paths: Sequence[Path], left_sec: float) -> None:
        """Say what each of `waiting` has not delivered, if it is time to."""
        if time.monotonic() < self._next_sec:
            return
        parts = []
        for emitter in waiting:
            with contextlib.suppress(Exception):  # it is logged when it is let go
                parts.append(emitter.pending(paths))
        line = f"{'; '.join(parts)}; waiting for it, {left_sec:.0f} s at most"
        if self._is_terminal:
            self._next_sec = time.monotonic() + _QUIET_SEC / 2
            self._say(line, in_place=True)
        else:
            self._next_sec = time.monotonic() + _PROGRESS_SEC
            self._say(line)
        self._shown = True

    def end(self) -> None:
        """Nobody waits any more."""
        if self._shown and self._is_terminal:
            self._say("", in_place=True)
