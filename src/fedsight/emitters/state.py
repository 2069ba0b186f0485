"""How an emitter is doing: what `run.emitters` and the dashboard show of it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from fedsight.events import Log
from fedsight.journal.names import segments

LOG_COMPONENT = "emitter "
"""What the `component` of a `log` event about an emitter begins with; its name follows."""


class EmitterState(msgspec.Struct, frozen=True):
    """How far one emitter is.

    destination: which store it delivers to, without secrets. delivered_bytes, pending_bytes: of the
    journals that it follows. num_events: handed over by this process. num_failed: values and events that the destination refused for good.
    last_error: the last thing that went wrong, mended or not. failing_since: UTC epoch seconds; None
    while it works. busy_since: when the call that has not returned yet began.
    """

    name: str
    destination: str
    delivered_bytes: int = 0
    pending_bytes: int = 0
    num_events: int = 0
    num_failed: int = 0
    last_error: str | None = None
    failing_since: float | None = None
    busy_since: float | None = None

    def in_short(self) -> str:
        """Name, destination, figures: an emitter's `repr`."""
        how = "working" if self.failing_since is None else f"failing: {self.last_error}"
        return (
            f"{self.name} → {self.destination}: {self.delivered_bytes:,} bytes delivered, "
            f"{self.pending_bytes:,} pending, {self.num_failed} failed, {how}"
        )

    def what_is_pending(self) -> str:
        """What is not delivered yet, and why, in a line."""
        told = f"{self.pending_bytes:,} bytes are not at {self.name} yet"
        if self.pending_bytes == 0:
            told = f"{self.name} has been given everything, but is not done yet"
        if self.failing_since is not None:
            return f"{told} ({self.last_error})"
        busy_sec = 0.0 if self.busy_since is None else time.time() - self.busy_since
        return f"{told} (its last call has not returned for {busy_sec:.0f} s)" if busy_sec > 1 else told

    def what_was_left_out(self) -> str:
        """How much was refused for good, to be said after where the rest is; nothing where that is nothing."""
        if self.num_failed == 0:
            return ""
        told = "; 1 value was left out" if self.num_failed == 1 else f"; {self.num_failed:,} values were left out"
        return told if self.last_error is None else f"{told} (last: {self.last_error})"


def is_about_an_emitter(event: object) -> bool:
    """Whether an event tells of an emitter's own state: it isn't handed on, or telling would never end."""
    return isinstance(event, Log) and event.component.startswith(LOG_COMPONENT)


def journal_end(path: Path) -> int:
    """The stream offset of the present end of the journal that starts at `path`."""
    found = segments(path)
    if not found:
        return 0
    base, newest = found[-1]
    return base + newest.stat().st_size
