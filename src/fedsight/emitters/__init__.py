"""Where a run's events go besides its journal. Each emitter follows the journal at its own pace.

Give `fedsight.init(emitters=[…])` any of the built-in emitters, or an object with any of the hooks
in `hooks.HOOKS`: see docs/emitters.md.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fedsight.errors import UsageError

if TYPE_CHECKING:
    from fedsight.emitters.collector import CollectorEmitter
    from fedsight.emitters.mlflow import MLflowEmitter
    from fedsight.emitters.otlp import OTLPEmitter
    from fedsight.emitters.own_process import OwnProcess
    from fedsight.emitters.prometheus import PrometheusEmitter
    from fedsight.emitters.sse import GeoEmitter, SSEEmitter
    from fedsight.emitters.state import EmitterState
    from fedsight.emitters.tensorboard import TensorBoardEmitter
    from fedsight.emitters.wandb import WandbEmitter

logger = logging.getLogger("fedsight")

_MODULE_OF = {
    "CollectorEmitter": "collector",
    "EmitterState": "state",
    "GeoEmitter": "sse",
    "MLflowEmitter": "mlflow",
    "OTLPEmitter": "otlp",
    "OwnProcess": "own_process",
    "PrometheusEmitter": "prometheus",
    "SSEEmitter": "sse",
    "TensorBoardEmitter": "tensorboard",
    "WandbEmitter": "wandb",
}

__all__ = [
    "CollectorEmitter",
    "Emitter",
    "EmitterState",
    "GeoEmitter",
    "MLflowEmitter",
    "OTLPEmitter",
    "OwnProcess",
    "PrometheusEmitter",
    "SSEEmitter",
    "TensorBoardEmitter",
    "WandbEmitter",
    "as_emitters",
    "emitters_from_environment",
]


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

    def state(self) -> EmitterState:
        """How far it is, and how it is doing."""


def __getattr__(name: str) -> Any:
    """Emitters are imported when asked for: HTTP and TLS would triple the time of `import fedsight`."""
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"fedsight.emitters.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def as_emitters(given: Sequence[object]) -> list[Emitter]:
    """What a user gave, each as something that can follow a journal.

    Raises `UsageError` for what can't, and where two deliver to the same place.
    """
    for number, each in enumerate(given):
        if any(each is other for other in given[:number]):
            raise UsageError("emitters", f"emitters holds {each!r} twice: leave one out.")
    emitters = [_as_emitter(each) for each in given]
    seen: dict[str, int] = {}
    for emitter in emitters:
        identity = getattr(emitter, "identity", None)
        if not isinstance(identity, str):
            continue
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] > 1:
            _tell_apart(emitter, identity, seen[identity])
    return emitters


def _as_emitter(given: object) -> Emitter:
    if isinstance(given, type):
        raise UsageError("emitters", f"emitters must hold objects: write {given.__name__}(…), not {given.__name__}.")
    if isinstance(given, Emitter):
        return given
    from fedsight.emitters.following import Following
    from fedsight.emitters.hooks import HOOKS, Hooks, is_hooked

    missing = [name for name in _DESTINATION_CALLS if not hasattr(given, name)]
    if not missing:
        return Following(given)  # type: ignore[arg-type]
    if is_hooked(given):
        return Following(Hooks(given))
    if len(missing) < len(_DESTINATION_CALLS) - 2:
        raise UsageError("emitters", f"{given!r} lacks {', '.join(missing)} to be a destination (docs/emitters.md).")
    raise UsageError(
        "emitters",
        f"emitters must hold emitters (see fedsight.emitters), not {given!r}: it has none of {', '.join(HOOKS)}.",
    )


_DESTINATION_CALLS = ("name", "identity", "open", "deliver", "save", "close", "where", "sync_arguments")


def _tell_apart(emitter: Emitter, identity: str, number: int) -> None:
    from fedsight.emitters.following import Following
    from fedsight.emitters.hooks import Hooks

    if not isinstance(emitter, Following) or not isinstance(emitter.destination, Hooks):
        raise UsageError("emitters", f"Two emitters deliver to the same place ({identity}): leave one out.")
    emitter.identity = f"{identity}#{number}"


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
