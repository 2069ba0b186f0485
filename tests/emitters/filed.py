"""A custom emitter and a destination that write into files, for processes of their own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

from fedsight.emitters.destination import Batch, RunInfo
from fedsight.events import RunStatus


class Filed:
    """Writes each event's kind and offset as a line of `$FILED`, in whole batches; `$FILED_SLOW` seconds a batch."""

    def on_events(self, batch: Batch) -> None:
        time.sleep(float(os.environ.get("FILED_SLOW", "0")))
        told = [
            f"{batch.journal} {line.offset} {line.event.__struct_config__.tag} {getattr(line.event, 'client_id', '')}\n"
            for line in batch.lines
        ]
        with Path(os.environ["FILED"]).open("a") as file:
            file.write("".join(told))


class FiledDestination:
    """The same as a destination; `path` is an option. Dies hard at its `die_at`-th batch."""

    name: ClassVar[str] = "filed"

    def __init__(self, path: str, die_at: int | None = None) -> None:
        self.path = path
        self.die_at = die_at

    def identity(self) -> str:
        return f"filed:{self.path}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        self._append({"open": run.run_id, "saved": saved, "pid": os.getpid()})

    def deliver(self, batch: Batch) -> int:
        if self.die_at is not None and not Path(self.path + ".died").exists():
            Path(self.path + ".died").touch()
            os._exit(3)
        self._append({"offsets": [line.offset for line in batch.lines]})
        return 0

    def save(self) -> dict[str, Any] | None:
        return None

    def close(self, status: RunStatus | None) -> None:
        self._append({"close": status})

    def where(self) -> str:
        return self.path

    def sync_arguments(self) -> list[str]:
        return ["--set", f"path={self.path}"]

    def _append(self, told: dict[str, Any]) -> None:
        with Path(self.path).open("a") as file:
            file.write(json.dumps(told) + "\n")
