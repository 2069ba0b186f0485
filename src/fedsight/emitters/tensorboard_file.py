"""One TensorBoard event file: scalars and texts, written by tensorboardX or by TensorBoard itself."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsight.errors import MissingExtra

NO_STEP = -1
"""The step of what has none. Not 0, which is a round; TensorBoard shows such points by their time."""


class _Library:
    """The protobuf messages, and the class that frames them, of whichever package is installed."""

    def __init__(self) -> None:
        if importlib.util.find_spec("tensorboardX") is not None:
            proto, self._writer = "tensorboardX.proto", "tensorboardX.record_writer"
        elif importlib.util.find_spec("tensorboard") is not None:
            proto, self._writer = "tensorboard.compat.proto", "tensorboard.summary.writer.record_writer"
        else:
            raise MissingExtra("tensorboardX", "tensorboard")
        self.event = importlib.import_module(f"{proto}.event_pb2").Event
        self.summary = importlib.import_module(f"{proto}.summary_pb2")
        self.tensor = importlib.import_module(f"{proto}.tensor_pb2").TensorProto
        self.shape = importlib.import_module(f"{proto}.tensor_shape_pb2").TensorShapeProto
        self.string_type = importlib.import_module(f"{proto}.types_pb2").DT_STRING

    def records(self, path: Path) -> Any:
        """A writer of records to a new file."""
        writer = importlib.import_module(self._writer).RecordWriter
        return writer(str(path)) if self._writer.startswith("tensorboardX") else writer(path.open("wb"))


class EventFile:
    """Appends to an event file of its own in `folder`, which sorts behind the ones that are there.

    Raises `MissingExtra` without tensorboardX and tensorboard, `OSError` where it can't be written.
    """

    def __init__(self, folder: Path, started_at: float) -> None:
        self._library = _Library()
        folder.mkdir(parents=True, exist_ok=True)
        # Readers go through a folder's files in the order of their names, so time stands first.
        name = f"events.out.tfevents.{time.time_ns() / 1e9:.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self._records = self._library.records(self.path)
        self._num_flushed_bytes = 0
        self._add(self._library.event(wall_time=started_at, file_version="brain.Event:2"))

    def add_scalars(self, scalars: Mapping[str, float], step: int | None, ts: float) -> None:
        """Points of one step and instant (UTC epoch seconds), kept as 32-bit floats."""
        value = self._library.summary.Summary.Value
        self._add_values([value(tag=name, simple_value=number) for name, number in scalars.items()], step, ts)

    def add_text(self, name: str, markdown: str, step: int | None, ts: float) -> None:
        """A text for TensorBoard's own tab."""
        library = self._library
        metadata = library.summary.SummaryMetadata
        value = library.summary.Summary.Value(
            tag=name,
            metadata=metadata(plugin_data=metadata.PluginData(plugin_name="text")),
            tensor=library.tensor(
                dtype=library.string_type,
                string_val=[markdown.encode("utf-8", "replace")],
                tensor_shape=library.shape(dim=[library.shape.Dim(size=1)]),
            ),
        )
        self._add_values([value], step, ts)

    def _add_values(self, values: list[Any], step: int | None, ts: float) -> None:
        summary = self._library.summary.Summary(value=values)
        self._add(self._library.event(wall_time=ts, step=NO_STEP if step is None else step, summary=summary))

    def _add(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Hand over what was added, so that readers see it."""
        self._records.flush()
        self._num_flushed_bytes = self.path.stat().st_size

    def close(self) -> None:
        """Flush and close."""
        self._records.close()

    def abandon(self) -> None:
        """Close the file after a write that failed, and take back what was written since the last flush."""
        with contextlib.suppress(OSError):
            self._records.close()
        with contextlib.suppress(OSError):  # then what comes again is there twice
            if self._num_flushed_bytes:
                os.truncate(self.path, self._num_flushed_bytes)
            else:
                self.path.unlink()
