"""One point as a line of InfluxDB's line protocol.

Format: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/. Numbers are always written
as floats: a field's type is that of its first point, and a later point of another type would be refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping

MAX_TAG_CHARS = 256
"""A longer tag value is cut and told apart by a hash: the key of a series has at most 64 KiB."""

MAX_TEXT_CHARS = 4_096

NANOS_PER_MS = 1_000_000

# A backslash can't be escaped in InfluxDB 1, and a line break ends the line whatever stands before it.
_UNSPEAKABLE = re.compile(r"[\\\x00-\x1f\x7f]")
_IN_KEY = re.compile(r"[,= ]")
_IN_MEASUREMENT = re.compile(r"[, ]")
_IN_TEXT = re.compile(r'["\\]')


def line(
    measurement: str, tags: Mapping[str, str | None], fields: Mapping[str, float | str | None], time_ns: int
) -> bytes | None:
    """The point, newline included; None where no field has a value.

    What is missing (None), no finite number or an empty tag is left out: the protocol has no way to say it.
    """
    told = ",".join(f"{_key(name)}={text}" for name, value in fields.items() if (text := _value(value)) is not None)
    if not told:
        return None
    series = _IN_MEASUREMENT.sub(r"\\\g<0>", _speakable(measurement))
    # Sorted by key, as InfluxDB asks for best speed.
    for name, tag in sorted(tags.items()):
        if tag:
            series += f",{_key(name)}={_key(_short(tag))}"
    return f"{series} {told} {time_ns}\n".encode()


def _value(value: float | str | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return '"' + _IN_TEXT.sub(r"\\\g<0>", value[:MAX_TEXT_CHARS].replace("\n", " ").replace("\r", " ")) + '"'
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the largest float
        return None
    return repr(number) if math.isfinite(number) else None


def _key(text: str) -> str:
    return _IN_KEY.sub(r"\\\g<0>", _speakable(text))


def _speakable(text: str) -> str:
    return _UNSPEAKABLE.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _short(text: str) -> str:
    if len(text) <= MAX_TAG_CHARS:
        return text
    return f"{text[: MAX_TAG_CHARS - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def time_ns(ts: float, number: int) -> int | None:
    """UTC epoch nanoseconds of an event: its own time to the millisecond, and below that its number.

    A point that is equal to another in measurement, tags and time takes its place. `number` is the event's line in its
    journal: a line that is written again finds its own point, and two lines of one client and one instant stay two, as long as
    less than a million lines are between them. None for a time that can't be written (not finite, before 1970, after 2262).
    """
    if not math.isfinite(ts):
        return None
    time = math.floor(ts * 1000) * NANOS_PER_MS + number % NANOS_PER_MS
    return time if ts >= 0 and time < (1 << 63) - NANOS_PER_MS else None
