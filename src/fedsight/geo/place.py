"""A place on the map, and how sure one can be of it."""

from __future__ import annotations

from typing import Literal

import msgspec


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where something is.

    lat, lng: degrees north and east (WGS 84).
    country: ISO 3166-1, two letters, where it was looked up.
    precision: what the coordinates stand for. "given": somebody gave them; "city": the middle of
        that city; "country": its capital; "timezone": the largest city that has that time.
    """

    lat: float
    lng: float
    precision: Literal["given", "city", "country", "timezone"]
    city: str | None = None
    country: str | None = None
