"""A monitor's journal on its way to a collector, at its own pace, in a thread of its own."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

from fedsight.emitters.collector import Shipment
from fedsight.emitters.wire import CollectorConnection

_TIMEOUT_SEC = 30.0


class Shipping:
    """Ships until the journal's writer is gone and all is acknowledged; an outage is waited out.

    ends_with_writer: False where another writer follows the first one; then until `finish`. token: default `FEDSIGHT_TOKEN`. Raises `UsageError` for a URL that can't be meant.
    """

    def __init__(self, path: Path, url: str, token: str | None, *, ends_with_writer: bool = True) -> None:
        self._url = url
        self._path = path
        token = token if token is not None else os.environ.get("FEDSIGHT_TOKEN")
        connection = CollectorConnection(url, token, _TIMEOUT_SEC)
        self._shipment = Shipment(path, connection, ends_with_writer=ends_with_writer)
        threading.Thread(target=self._shipment.run, name="fedsight-collector", daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be sent: all is delivered, or the collector refused it for good."""
        return self._shipment.done.is_set()

    def finish(self, timeout_sec: float) -> bool:
        """Deliver what there is; the journal's writer must be done. False: not in time, or refused."""
        self._shipment.hurry.set()
        self._shipment.done.wait(timeout_sec)
        return self._shipment.complete

    def abandon(self) -> None:
        """Send nothing more; the journal stays."""
        self._shipment.stop.set()

    def pending(self) -> str | None:
        """A sentence on what the collector doesn't have yet, and how to deliver it; None where it has all."""
        num_bytes = self._shipment.pending_bytes()
        if self._shipment.complete or not num_bytes:
            return None
        why = f" ({self._shipment.trouble})" if self._shipment.trouble else ""
        return (
            f"{num_bytes} bytes are not at the collector {self._url} yet{why}. "
            f"Deliver them with: fedsight sync {shlex.quote(str(self._path))} --url {self._url}"
        )
