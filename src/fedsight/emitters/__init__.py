"""Where a run's events go besides its journal. Each emitter follows the journal at its own pace."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fedsight.errors import UsageError

if TYPE_CHECKING:
    from fedsight.emitters.collector import CollectorEmitter

logger = logging.getLogger("fedsight")

__all__ = ["CollectorEmitter", "Emitter", "emitters_from_environment"]


@runtime_checkable
class Emitter(Protocol):
    """What a run asks of an emitter. None of these may wait, `drain` apart."""

    def attach(self, path: Path) -> None:
        """Follow the journal that starts at `path`, from where this destination got to."""

    def drain(self, paths: Sequence[Path], timeout_sec: float) -> bool:
        """Wait until these journals, whose writers are done, are delivered. False: not in time."""

    def detach(self, paths: Sequence[Path]) -> None:
        """Let go of these journals, delivered or not."""

    def pending(self, paths: Sequence[Path]) -> str:
        """A sentence on what of them is not delivered yet, and why."""

    def delivered(self) -> str:
        """A sentence on where it all went."""

    def sync_command(self, paths: Sequence[Path]) -> str:
        """The shell command that delivers the rest."""


def __getattr__(name: str) -> Any:
    """Emitters are imported when asked for: HTTP and TLS would triple the time of `import fedsight`."""
    if name == "CollectorEmitter":
        from fedsight.emitters.collector import CollectorEmitter

        return CollectorEmitter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def emitters_from_environment(given: Sequence[object]) -> list[Emitter]:
    """A `CollectorEmitter` where `FEDSIGHT_COLLECTOR` names a collector and none is `given`."""
    url = os.environ.get("FEDSIGHT_COLLECTOR")
    if not url:
        return []
    from fedsight.emitters.collector import CollectorEmitter

    if any(isinstance(each, CollectorEmitter) for each in given):
        return []
    try:
        return [CollectorEmitter(url)]
    except UsageError as error:
        # Nobody wrote this into the program: it must not stop it.
        logger.warning("fedsight: FEDSIGHT_COLLECTOR: %s This run is recorded, but not shipped.", error)
        return []
