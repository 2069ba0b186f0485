"""How large a model is, told by its parts, whichever library made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_bytes(model: Any) -> int | None:
    """Bytes of a serialised model, or of all arrays and tensors in (nested) dicts, lists and tuples.

    None where nothing in it has a size.
    """
    if isinstance(model, (bytes, bytearray)):
        return len(model)
    if isinstance(model, Mapping):
        return _sum(model.values())
    if isinstance(model, (list, tuple)):
        return _sum(model)
    size = getattr(model, "nbytes", None)
    if isinstance(size, int):
        return size
    try:
        return int(model.element_size()) * int(model.numel())  # tensors of before torch 2.1 have no nbytes
    except (AttributeError, TypeError):
        return None


def _sum(parts: Any) -> int | None:
    sizes = [size for size in map(model_bytes, parts) if size is not None]
    return sum(sizes) if sizes else None
