"""Making a line fit: a journal line is 1 MiB at most, so a longer value is cut, and says so."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from fedsight.events import MAX_LINE_BYTES, Event, RoundStart, encode

logger = logging.getLogger("fedsight")

_FIRST_KEEP_BYTES = 1 << 18
_ROOM_BYTES = 20_000
"""Left for saying what was cut."""
_MOST_NAMED = 100
_LONGEST_KEY = 200


def fit(event: Event, line: bytes) -> bytes:
    """`line` (the encoded `event`), or a shorter one whose longest values are cut.

    What was cut stands under `extra["_cut"]`, with its former length in bytes.
    """
    if len(line) <= MAX_LINE_BYTES:
        return line
    cut: dict[str, int] = {}
    if isinstance(event, RoundStart) and event.selected is not None:
        event.num_selected = len(event.selected)
    size, keep_bytes = len(line), _FIRST_KEEP_BYTES
    while len(line) > MAX_LINE_BYTES - _ROOM_BYTES and keep_bytes > 1:
        for name in event.__struct_fields__:
            setattr(event, name, _shorten(getattr(event, name), name, keep_bytes, cut))
        line = encode(event)
        keep_bytes //= 4
    named = sorted(cut, key=cut.__getitem__, reverse=True)
    event.extra = {**(event.extra or {}), "_cut": {name: cut[name] for name in named[:_MOST_NAMED]}}
    logger.warning(
        "fedsight: a %s event of %d bytes is longer than a journal line may be (%d): cut %s.",
        event.__struct_config__.tag,
        size,
        MAX_LINE_BYTES,
        ", ".join(f"{name} ({cut[name]} bytes)" for name in named[:5]),
    )
    return encode(event)


def _shorten(value: Any, name: str, keep_bytes: int, cut: dict[str, int]) -> Any:
    """`value`, or the beginning of it where it takes more than `keep_bytes`, going into its parts first."""
    if not isinstance(value, (str, list, dict)) or (size := len(msgspec.json.encode(value))) <= keep_bytes:
        return value
    if isinstance(value, str):
        cut.setdefault(name, size)
        return value[: keep_bytes // 8]
    parts = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    if len(parts) > keep_bytes // 8:
        cut.setdefault(name, size)
        parts = parts[: keep_bytes // 16]
    short = [
        (
            str(key)[:_LONGEST_KEY] if isinstance(value, dict) else key,
            _shorten(part, f"{name}.{key}"[:99], keep_bytes, cut),
        )
        for key, part in parts
    ]
    return dict(short) if isinstance(value, dict) else [part for _, part in short]
