"""What a destination is: where a run's events are delivered to, a batch at a time.

A destination knows its product (MLflow, TensorBoard, …) and nothing of journals, threads, offsets
and retries: that is `Following`'s part.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from fedsight.events import AnyEvent, ClientUpdate, RunStatus
from fedsight.summary import RoundSummary


class RoundReport(msgspec.Struct):
    """A round that ended, or one whose figures changed after its end (`is_revision`).

    ts: when these figures came to be, UTC epoch seconds; later than the ones they replace, which the line's own time
    may not be. clients: one update a client, each the client's last non-null value per field.
    """

    ts: float
    summary: RoundSummary
    clients: list[ClientUpdate]
    is_revision: bool = False


class Line(msgspec.Struct):
    """One event of the journal. `report` stands with the line that made the round's figures final."""

    offset: int
    event: AnyEvent
    report: RoundReport | None = None


class Totals(msgspec.Struct):
    """Counters over the run, from its beginning; sums over the values that were reported."""

    num_rounds: int = 0
    num_updates: int = 0
    num_dropouts: int = 0
    num_comm_failures: int = 0
    num_checkpoints: int = 0
    bytes_up: float = 0.0
    bytes_down: float = 0.0


class RunInfo(msgspec.Struct):
    """The run that a journal belongs to. `client_id` is set in a site's own journal."""

    run_id: str
    project: str = "default"
    algorithm: str | None = None
    framework: str | None = None
    config: dict[str, Any] = {}
    tags: dict[str, str] = {}
    started_at: float | None = None
    client_id: str | None = None


class Batch(msgspec.Struct):
    """Consecutive events of one journal. `totals` is as of before its first line.

    The same lines may come again after a crash, in a batch that begins or ends elsewhere.
    """

    run: RunInfo
    journal: str
    lines: list[Line]
    totals: Totals


class Destination(Protocol):
    """A product to deliver to. All calls come from one thread; each may raise, and is then called again.

    An attribute `pace_sec`, where there is one, is how long lines are gathered before they are delivered.
    """

    @property
    def name(self) -> str:
        """Its word on the command line and in messages: "mlflow"."""

    def identity(self) -> str:
        """Which store it delivers to, without secrets; the saved offset belongs to (journal, identity)."""

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """Get ready to deliver `run`. saved: what `save` gave when this run was delivered last, None the first time."""

    def deliver(self, batch: Batch) -> int:
        """Hand the lines on, whole or not at all. Returns how many values the product refused for good.

        Raises whatever stops it: the same batch comes again.
        """

    def save(self) -> dict[str, Any] | None:
        """What the next `open` needs to go on (has a JSON form); kept together with the offset."""

    def close(self, status: RunStatus | None) -> None:
        """Everything is delivered. status: how the run ended; None where it hasn't, and somebody may go on."""

    def where(self) -> str:
        """A few words on where to look at it, for the line at the run's end."""

    def sync_arguments(self) -> list[str]:
        """The options of `fedsight sync --to <name>` that deliver to the same place."""
