"""What is finer than wanted is taken out before it is recorded."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsight.errors import UsageError
from fedsight.geo.precision import blur, precision_of

TOULOUSE = {
    "local_loss": 0.5,
    "lat": 43.60426,
    "lng": 1.44367,
    "city": "Toulouse",
    "country": "FR",
    "region": "Occitanie",
    "timezone": "Europe/Paris",
    "ip": "192.0.2.7",
    "org": "AS64500 Example",
    "loc": "43.60426,1.44367",
    "postal": "31000",
}


def test_exact_is_as_given() -> None:
    assert blur(TOULOUSE, "exact") == TOULOUSE


def test_a_city_is_known_to_eleven_kilometres() -> None:
    assert blur(TOULOUSE, "city") == {
        "local_loss": 0.5,
        "lat": 43.6,
        "lng": 1.4,
        "city": "Toulouse",
        "country": "FR",
        "region": "Occitanie",
        "timezone": "Europe/Paris",
    }


def test_of_a_country_nothing_else_is_known() -> None:
    assert blur(TOULOUSE, "country") == {"local_loss": 0.5, "country": "FR"}


def test_other_spellings_and_nested_fields_are_blurred_too() -> None:
    fields = {"Latitude": 43.60426, "location": {"LON": 1.44367, "city": "Toulouse", "battery_pct": 3}, 7: "kept"}
    assert blur(fields, "city") == {
        "Latitude": 43.6,
        "location": {"LON": 1.4, "city": "Toulouse", "battery_pct": 3},
        7: "kept",
    }
    assert blur(fields, "country") == {"location": {"battery_pct": 3}, 7: "kept"}


def test_coordinates_in_text_are_rounded_and_what_is_no_number_goes() -> None:
    assert blur({"lat": "43.60426", "lng": "1° 26' 37\""}, "city") == {"lat": 43.6}
    assert blur({"lat": math.nan, "lng": None}, "city") == {}


def test_the_given_fields_stay_untouched() -> None:
    before = dict(TOULOUSE)
    blur(TOULOUSE, "country")
    assert before == TOULOUSE


@given(
    st.dictionaries(
        st.sampled_from(["lat", "lng", "latitude", "note", "loss", "ip", "city", "country", "location"]),
        st.floats() | st.text(max_size=4) | st.none(),
    )
)
def test_blurring_twice_is_blurring_once(fields: dict[str, Any]) -> None:
    for precision in ("city", "country"):
        once = blur(fields, precision)
        assert repr(blur(once, precision)) == repr(once)


def test_a_precision_that_can_not_be_meant_is_refused() -> None:
    assert precision_of("city") == "city"
    with pytest.raises(UsageError, match="'country', 'city' or 'exact'"):
        precision_of("street")
