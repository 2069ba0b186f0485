"""Images, models and other large values that a site sent, as files beside the journal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from fedsight.fields import plain_json

_STARTS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}


class KeptFile(msgspec.Struct, frozen=True):
    """Where a value is."""

    path: Path
    size_bytes: int
    sha256: str


def keep_file(folder: Path, client_id: str, tag: str, step: int | None, value: Any) -> KeptFile:
    """Write `value` to `<folder>/<client>/<tag>[.step<n>].<ending>`: bytes as they are, arrays as .npy, all else as JSON.

    A second one of the same name gets a number. Raises `OSError` where it can't be written.
    """
    data, ending = _bytes_of(value)
    stem = quote(tag, safe="")[:120] + ("" if step is None else f".step{step}")
    place = folder / quote(client_id, safe="")
    place.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = place / f"{stem}{'' if number == 1 else f'-{number}'}{ending}"
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            number += 1
            continue
        return KeptFile(path, len(data), hashlib.sha256(data).hexdigest())


def _bytes_of(value: Any) -> tuple[bytes, str]:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value), next((ending for start, ending in _STARTS.items() if value.startswith(start)), ".bin")
    if hasattr(value, "__array__"):
        import io

        import numpy as np

        array = np.asarray(value)
        if array.dtype != object:
            file = io.BytesIO()
            np.save(file, array, allow_pickle=False)
            return file.getvalue(), ".npy"
    return json.dumps(plain_json(value)).encode(), ".json"
