"""Times and time frames in a query: two forms, and a zone that is said."""

from __future__ import annotations

import math

import pytest

from fedsight.collector.api.times import duration_of, iso, time_of
from fedsight.collector.errors import Refused

HALF_PAST_TEN = 1737023400.0
"""2025-01-16T10:30:00Z"""


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-16T10:30:00Z",
        "2025-01-16T10:30Z",
        "2025-01-16 10:30:00z",
        "2025-01-16T11:30:00+01:00",
        "2025-01-16T11:30:00+0100",
        "2025-01-16T11:30:00+01",
        "2025-01-16T11:30:00 01:00",  # "+" that was not percent-encoded
        "2025-01-16T05:00:00-05:30",
        "2025-01-16T10:30:00.000Z",
        "1737023400",
        "1737023400.0",
        "1.7370234e9",
    ],
)
def test_one_time_in_many_spellings(text: str) -> None:
    assert time_of("from", text) == HALF_PAST_TEN


def test_fractions_and_days() -> None:
    assert time_of("from", "2025-01-16T10:30:00.25Z") == HALF_PAST_TEN + 0.25
    assert time_of("from", "2025-01-16Z") == HALF_PAST_TEN - 10.5 * 3600
    assert time_of("from", None) is None


@pytest.mark.parametrize("text", ["2025-01-16T10:30:00", "2025-01-16", "2025-01-16 10:30"])
def test_a_time_without_its_zone_is_refused_and_told_so(text: str) -> None:
    with pytest.raises(Refused) as refused:
        time_of("to", text)
    assert refused.value.status == 400
    assert refused.value.answer.error.field == "to"
    assert "time zone" in refused.value.answer.error.message
    assert text in refused.value.answer.error.message


@pytest.mark.parametrize(
    "text",
    ["", "now", "NaN", "inf", "1e400", "1737023400000", "2025-13-01T00:00:00Z", "2025-01-16T25:00:00Z", "1_0", "١٢"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        time_of("from", text)
    assert (refused.value.status, refused.value.answer.error.field) == (400, "from")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("2w", 1209600)]
)
def test_time_frames(text: str, seconds: float) -> None:
    assert duration_of("timeframe", text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1", "0h", "-1h", "1.5h", "1 h", "1y", "999999999w", "1h1m"])
def test_what_is_no_time_frame_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        duration_of("timeframe", text)
    assert refused.value.answer.error.field == "timeframe"


def test_a_time_as_text() -> None:
    assert iso(HALF_PAST_TEN) == "2025-01-16T10:30:00.000Z"
    for unknown in (None, math.nan, math.inf, 1e20):
        assert iso(unknown) is None
