"""Checkpoints as W&B artifacts: one version each, though the journal tells of each twice."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import msgspec

from fedsight.events import Checkpoint

logger = logging.getLogger("fedsight")

_MOST_REMEMBERED = 100
_BLOCK_BYTES = 1 << 20


class Uploads(msgspec.Struct):
    """Which checkpoints were handed over lately. It has a JSON form, to be kept over restarts."""

    done: list[tuple[int | None, str]] = []

    def takes(self, event: Checkpoint) -> bool:
        """Whether to hand it over: the first line of a checkpoint is, its second, with the SHA-256, isn't."""
        return event.sha256 is None or (event.round, event.path) not in self.done

    def note(self, event: Checkpoint) -> None:
        """It is done with."""
        self.done = [*self.done, (event.round, event.path)][-_MOST_REMEMBERED:]


def artifact_of(wandb: Any, event: Checkpoint) -> Any:
    """The model file or folder as an artifact. W&B copies it, so it may be overwritten afterwards.

    The SHA-256 in its metadata is that of the file as it is now. Raises `OSError` where it can't be read.
    """
    path = Path(event.path)
    told: dict[str, Any] = {**(event.metadata or {}), "round": event.round, "path": event.path}
    if path.is_dir():
        artifact = wandb.Artifact(_name(event), type="model", metadata=told)
        artifact.add_dir(str(path))
        return artifact
    digest, size_bytes = _sha256(path)
    if event.sha256 not in (None, digest):
        logger.warning("fedsight: the checkpoint %s has changed since it was logged; W&B gets it as it is.", path)
    artifact = wandb.Artifact(_name(event), type="model", metadata={**told, "sha256": digest, "size_bytes": size_bytes})
    artifact.add_file(str(path))
    return artifact


def _name(event: Checkpoint) -> str:
    return "model" if event.round is None else f"model-round-{event.round}"


def _sha256(path: Path) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size_bytes += len(block)
    return digest.hexdigest(), size_bytes


def alias(run_id: str) -> str:
    """The run's id as an alias of its artifacts' versions."""
    return re.sub(r"[/:]", "-", run_id)[:128]
