"""How large what is sent is: the model's numbers, before NVFLARE packs them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


def payload_bytes(payload: Any) -> int | None:
    """Bytes of all arrays, texts and numbers in a task's data or result; None where a part tells no size.

    payload: nested dicts and lists; arrays and tensors are what has `nbytes`.
    """
    if payload is None or isinstance(payload, (bool, Enum)):
        return 0
    if isinstance(payload, (int, float)):
        return 8
    if isinstance(payload, str):
        return len(payload.encode("utf-8", "replace"))
    if isinstance(payload, (bytes, bytearray)):
        return len(payload)
    if isinstance(payload, Mapping):
        return _sum([*payload.keys(), *payload.values()])
    if isinstance(payload, (list, tuple, set, frozenset)):
        return _sum(payload)
    size = getattr(payload, "nbytes", None)  # what is fetched later (a reference to a stream) has none
    return size if isinstance(size, int) else None


def _sum(parts: Any) -> int | None:
    total = 0
    for part in parts:
        size = payload_bytes(part)
        if size is None:
            return None
        total += size
    return total
