"""Making a line fit: a journal line is 1 MiB at most, so a longer value is cut, and says so."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from fedsight.events import MAX_LINE_BYTES, Event, encode

logger = logging.getLogger("fedsight")

_KEEP_CHARS = 1_000
_KEEP_ITEMS = 100


def fit(event: Event, line: bytes) -> bytes:
    """`line` (the encoded `event`), or a shorter one whose longest values are cut.

    What was cut stands under `extra["_cut"]`, with its former length in bytes.
    """
    if len(line) <= MAX_LINE_BYTES:
        return line
    cut: dict[str, int] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str) and len(value) > _KEEP_CHARS:
            cut[name] = len(value.encode())
            setattr(event, name, value[:_KEEP_CHARS])
        elif isinstance(value, (dict, list)):
            setattr(event, name, _shorten(value, name, cut))
    event.extra = {**(event.extra or {}), "_cut": cut}
    logger.warning(
        "fedsight: a %s event of %d bytes is longer than a journal line may be (%d): cut %s.",
        event.__struct_config__.tag,
        len(line),
        MAX_LINE_BYTES,
        ", ".join(f"{name} ({size} bytes)" for name, size in cut.items()),
    )
    return encode(event)


def _shorten(value: Any, name: str, cut: dict[str, int]) -> Any:
    """`value` with its longest parts cut; numbers in maps are kept up to a limit."""
    size = len(msgspec.json.encode(value))
    if size <= _KEEP_CHARS * 16:
        return value
    if isinstance(value, str):
        cut[name] = size
        return value[:_KEEP_CHARS]
    if isinstance(value, list):
        if size > MAX_LINE_BYTES // 4:
            cut[name] = size
            value = value[:_KEEP_ITEMS]
        return [_shorten(item, f"{name}[{i}]", cut) for i, item in enumerate(value)]
    if isinstance(value, dict):
        if len(value) > _KEEP_ITEMS * 50:
            cut[name] = size
            value = dict(list(value.items())[: _KEEP_ITEMS * 10])
        return {key[:_KEEP_CHARS]: _shorten(item, f"{name}.{key[:40]}", cut) for key, item in value.items()}
    return value
