"""Tables on the wire: columnar JSON, with the numbers that JSON lacks spelled as strings."""

from __future__ import annotations

import gzip
import math
from typing import Any, Protocol

import msgspec
import zstandard

from fedsight.events import float_name

_encode = msgspec.json.Encoder().encode

COMPRESS_FROM_BYTES = 1400


class TableLike(Protocol):
    """What the store's queries answer."""

    as_of: str
    columns: dict[str, list[Any]]
    next: str | None


def encode(value: Any) -> bytes:
    """JSON of an answer; NaN and infinities become strings."""
    text = _encode(value)
    # msgspec writes null for them; an answer without any null holds none.
    if b"null" in text and holds_nonfinite(value):
        return _encode(spell_out(value))
    return text


def table_json(table: TableLike) -> bytes:
    """JSON of a table, column by column: only a column that holds a NaN is gone through."""
    columns = {name: msgspec.Raw(encode(values)) for name, values in table.columns.items()}
    return _encode({"as_of": table.as_of, "next": table.next, "columns": columns})


def holds_nonfinite(value: Any) -> bool:
    """Whether a NaN or an infinity stands anywhere in `value`."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(holds_nonfinite(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return any(holds_nonfinite(v) for v in value)
    if isinstance(value, msgspec.Struct):
        return any(holds_nonfinite(getattr(value, name)) for name in value.__struct_fields__)
    return False


def spell_out(value: Any) -> Any:
    """`value` with every NaN and infinity as its string."""
    if isinstance(value, float):
        return value if math.isfinite(value) else float_name(value)
    if isinstance(value, dict):
        return {k: spell_out(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [spell_out(v) for v in value]
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {encoded: spell_out(getattr(value, name)) for name, encoded in names}
    return value


def compress(body: bytes, accept_encoding: str) -> tuple[bytes, str | None]:
    """A large body packed as the caller accepts it, and the name of the packing."""
    if len(body) < COMPRESS_FROM_BYTES:
        return body, None
    accepted = accepted_encodings(accept_encoding)
    if "zstd" in accepted:
        return zstandard.ZstdCompressor(level=3).compress(body), "zstd"
    if "gzip" in accepted:
        return gzip.compress(body, compresslevel=4, mtime=0), "gzip"
    return body, None


def accepted_encodings(header: str) -> set[str]:
    """The names in an Accept-Encoding header."""
    names = set()
    for part in header.lower().split(","):
        name, _, quality = part.strip().partition(";")
        if quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            names.add(name.strip())
    return names
