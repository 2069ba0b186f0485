"""Times and durations as they stand in a query: ISO 8601 with a zone, epoch seconds, "1h"."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

from fedsight.collector.errors import Refused

FORMS = "ISO 8601 with a time zone (2025-01-16T10:30:00Z) or UTC epoch seconds"

_LONGEST_SEC = 1e11
"""Times and time frames beyond some 3,000 years are mistakes (milliseconds, mostly)."""

_ISO = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)([T ](?P<time>\d\d:\d\d(:\d\d([.,]\d+)?)?))?(?P<zone>[Zz]|[+-]\d\d(:?\d\d)?)?", re.ASCII
)
_DURATION = re.compile(r"(?P<number>\d{1,9})(?P<unit>s|m|h|d|w)", re.ASCII)
_UNIT_SEC = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def time_of(field: str, text: str | None) -> float | None:
    """UTC epoch seconds of a time in a query; None for None.

    Raises `Refused` (400) for anything else than the two forms, and for a time that does not say its zone.
    """
    if text is None:
        return None
    number = _number(text)
    if number is None:
        number = _iso(field, text)
    if not math.isfinite(number) or abs(number) > _LONGEST_SEC:
        raise Refused(400, f"{field} is {text!r}; give a time as {FORMS}.", field=field)
    return number


def _number(text: str) -> float | None:
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _iso(field: str, text: str) -> float:
    # A "+" that was not percent-encoded arrives as a space.
    match = _ISO.fullmatch(re.sub(r" (?=\d\d:?\d\d$)", "+", text) if text.count(":") > 1 else text)
    if match is None:
        raise Refused(400, f"{field} is {text!r}; give a time as {FORMS}.", field=field)
    zone = match["zone"]
    if zone is None:
        raise Refused(
            400,
            f"{field} is {text!r}, which does not say its time zone; add Z for UTC, or such as +02:00.",
            field=field,
        )
    clock = (match["time"] or "00:00").replace(",", ".")
    fraction = float("0." + clock.partition(".")[2]) if "." in clock else 0.0
    clock = clock.partition(".")[0]
    offset = "+0000" if zone in "Zz" else zone.replace(":", "").ljust(5, "0")
    if clock.count(":") == 1:
        clock += ":00"
    try:
        moment = datetime.strptime(f"{match['day']}T{clock}{offset}", "%Y-%m-%dT%H:%M:%S%z")
        return moment.timestamp() + fraction
    except ValueError as error:
        raise Refused(400, f"{field} is {text!r}: {error}.", field=field) from error


def duration_of(field: str, text: str) -> float:
    """Seconds of a time frame such as "90s", "15m", "1h", "7d" or "2w".

    Raises `Refused` (400).
    """
    match = _DURATION.fullmatch(text)
    seconds = int(match["number"]) * _UNIT_SEC[match["unit"]] if match else 0
    if not 0 < seconds <= _LONGEST_SEC:
        raise Refused(400, f"{field} is {text!r}; give a number with a unit: s, m, h, d or w (1h).", field=field)
    return float(seconds)


def iso(ts: float | None) -> str | None:
    """A time as ISO 8601 in UTC, to the millisecond; None where it is unknown or no date."""
    if ts is None or not math.isfinite(ts):
        return None
    try:
        moment = datetime.fromtimestamp(ts, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
