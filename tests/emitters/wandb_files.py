"""Reading back what W&B wrote offline: its `.wandb` file is LevelDB's log format around protobuf records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_FILE_HEADER_BYTES = 7
_BLOCK_BYTES = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _LAST = 1, 4


def run_files(folder: Path) -> list[Path]:
    """The files of the runs that were logged under `folder`, oldest first."""
    return sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def records(path: Path, kind: str) -> list[Any]:
    """All records of one kind ("history", "alert", "metric", "artifact", "exit", …)."""
    return [getattr(each, kind) for each in _records(path) if each.WhichOneof("record_type") == kind]


def history(path: Path) -> list[dict[str, Any]]:
    """The rows, each by column."""
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row.item}
        for row in records(path, "history")
    ]


def config(path: Path) -> dict[str, Any]:
    """The run's configuration as it was in the end."""
    found: dict[str, Any] = {}
    for part in [*(run.config for run in records(path, "run")), *records(path, "config")]:
        for item in part.update:
            found[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return found


def _records(path: Path) -> Iterator[Any]:
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = _FILE_HEADER_BYTES, b""
    while at + _HEADER.size <= len(data):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < _HEADER.size:
            at += left
            continue
        _, size, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        parts += data[at : at + size]
        at += size
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
