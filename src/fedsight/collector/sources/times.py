"""Times and numbers as other systems write them: epoch in seconds (or ms, µs, ns), ISO 8601, numbers as texts."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

_UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""No epoch in seconds reaches 1e11 before the year 5138: such a number counts milliseconds, and so on."""


def epoch_sec(value: Any) -> float | None:
    """UTC epoch seconds; None where it is no time. A text without a zone is taken for UTC."""
    if isinstance(value, str):
        try:
            # Python 3.10 does not know "Z".
            moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00").replace("z", "+00:00"))
            return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        except (ValueError, OverflowError):
            return _of_number(number(value))
    return _of_number(number(value))


def _of_number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return next((value * unit for least, unit in _UNITS if abs(value) >= least), value)


def number(value: Any) -> float | None:
    """A number, also from a text such as "0.5" or "NaN"; None for everything else, true and false among it."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float, str)):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def whole(value: Any) -> int | None:
    """A whole number, also from 3.0 or "3"; None for everything else."""
    found = number(value)
    if found is None or not math.isfinite(found) or found != int(found) or abs(found) >= 1 << 53:
        return None
    return int(found)


def numbers_in(values: Any, skip: frozenset[str] = frozenset()) -> dict[str, float]:
    """The numbers of an object, by name, at most 200 of them. Texts are no numbers here."""
    if not isinstance(values, dict):
        return {}
    found = {
        str(key): float(value)
        for key, value in values.items()
        if key not in skip and (type(value) is float or (type(value) is int and abs(value) < 10**300))
    }
    return dict(list(found.items())[:200])
