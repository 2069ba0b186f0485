"""The `.wandb` file in which W&B's own process keeps a run: has it written a row yet?

W&B takes a row into that process's memory, and a `kill -9` of the training ends that process, too. So
a row counts as delivered when it is in the file. The file is LevelDB's log format (blocks of 32 KiB,
records cut at their ends; https://github.com/google/leveldb/blob/main/doc/log_format.md) around
protobuf messages, after seven bytes of W&B's own.
"""

from __future__ import annotations

import importlib
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE_HEADER_BYTES = 7
_BLOCK_BYTES = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

_LONGEST_WAIT_SEC = 5.0
_LOOK_EVERY_SEC = 0.01


class RunFile:
    """Follows a growing `.wandb` file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = _FILE_HEADER_BYTES
        self._parts = b""

    def wait_for(self, column: str, value: int) -> bool:
        """Wait for the row that has `value` in `column`. False: it is not there after five seconds."""
        deadline = time.monotonic() + _LONGEST_WAIT_SEC
        while time.monotonic() < deadline:
            for row in self.rows():
                if row.get(column) == value:
                    return True
            time.sleep(_LOOK_EVERY_SEC)
        return False

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that were written since the last call, each by column."""
        messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
        for payload in self._new_records():
            record = messages.Record()
            record.ParseFromString(payload)
            if record.HasField("history"):
                yield {
                    item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }

    def _new_records(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._at)
            data = stream.read()
        start, at = self._at, 0
        while True:
            left = _BLOCK_BYTES - (start + at) % _BLOCK_BYTES
            if left < _HEADER.size:  # the end of a block is filled up
                at += left
                continue
            if at + _HEADER.size > len(data):
                return
            _, size, kind = _HEADER.unpack_from(data, at)
            if kind == 0 or at + _HEADER.size + size > len(data):  # being written
                return
            at += _HEADER.size
            self._parts = data[at : at + size] if kind in (_FULL, _FIRST) else self._parts + data[at : at + size]
            at += size
            self._at = start + at
            if kind in (_FULL, _LAST):
                yield self._parts
