"""Where clients and servers are that told a city or a country, but no coordinates."""

from __future__ import annotations

from typing import Any

from fedsight.geo.resolving import are_coordinates, place_of


def with_places(clients: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The clients' columns and `location_precision`; coordinates that nobody told are looked up by name.

    The precision is "given" for coordinates that were told; "city" or "country" where they stand
    for one; None where they are unknown, or no place on the globe.
    """
    lats, lngs = list(clients["lat"]), list(clients["lng"])
    precisions: list[str | None] = [None] * len(lats)
    for row, (lat, lng, city, country) in enumerate(zip(lats, lngs, clients["city"], clients["country"], strict=True)):
        lats[row], lngs[row], precisions[row] = _located(lat, lng, city, country)
    return clients | {"lat": lats, "lng": lngs, "location_precision": precisions}


def with_place(server: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same for what a run's server told of itself."""
    if server is None:
        return None
    lat, lng, precision = _located(*(server.get(name) for name in ("lat", "lng", "city", "country")))
    if precision is None:
        return server
    return {**server, "lat": lat, "lng": lng, "location_precision": precision}


def _located(
    lat: float | None, lng: float | None, city: str | None, country: str | None
) -> tuple[float | None, float | None, str | None]:
    if lat is not None and lng is not None:
        return lat, lng, "given" if are_coordinates(lat, lng) else None
    if lat is not None or lng is not None or (city is None and country is None):
        return lat, lng, None
    place = place_of(city=city, country=country)
    return (None, None, None) if place is None else (place.lat, place.lng, place.precision)
