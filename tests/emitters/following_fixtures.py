"""Destinations that record what they get, and fail on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from fedsight.emitters.destination import Batch, Line, RunInfo
from fedsight.events import ClientUpdate, RunStatus


def wait_until(holds: Callable[[], bool], timeout_sec: float = 20.0) -> None:
    """Wait for a condition; fails when it doesn't come to hold."""
    deadline = time.monotonic() + timeout_sec
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Notebook:
    """A destination in memory. `before_delivery` may throw or hang."""

    name: ClassVar[str] = "notebook"

    def __init__(self, place: str = "here", before_delivery: Callable[[Batch], None] | None = None) -> None:
        self.place = place
        self.before_delivery = before_delivery
        self.opened: list[tuple[RunInfo, dict[str, Any] | None]] = []
        self.batches: list[Batch] = []
        self.closed: list[RunStatus | None] = []
        self.threads: set[int] = set()

    def identity(self) -> str:
        return f"notebook:{self.place}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        self.threads.add(threading.get_ident())
        self.opened.append((run, saved))

    def deliver(self, batch: Batch) -> int:
        self.threads.add(threading.get_ident())
        if self.before_delivery is not None:
            self.before_delivery(batch)
        self.batches.append(batch)
        return 0

    def save(self) -> dict[str, Any] | None:
        return {"num_lines": len(self.lines)}

    def close(self, status: RunStatus | None) -> None:
        self.closed.append(status)

    def where(self) -> str:
        return self.place

    def sync_arguments(self) -> list[str]:
        return ["--set", f"place={self.place}"]

    @property
    def lines(self) -> list[Line]:
        return [line for batch in self.batches for line in batch.lines]

    @property
    def clients(self) -> list[str]:
        """Who told updates, in the order of delivery."""
        return [line.event.client_id for line in self.lines if isinstance(line.event, ClientUpdate)]
