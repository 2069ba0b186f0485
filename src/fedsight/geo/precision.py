"""How exactly a recording says where somebody is: what is finer than wanted is taken out before it is written.

- `"exact"`: as given.
- `"city"`: coordinates to one decimal of a degree (11 km north to south); addresses, host and provider names go.
- `"country"`: nothing but the country.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from fedsight.errors import UsageError

Precision: TypeAlias = Literal["country", "city", "exact"]

_DECIMALS_OF_A_CITY = 1

_COORDINATES = frozenset({"lat", "lng", "lon", "long", "latitude", "longitude"})
_FINER_THAN_A_CITY = (
    frozenset({"ip", "ip_address", "ipv4", "ipv6", "hostname", "host", "org", "organization", "isp", "asn"})
    | {"address", "street", "postal", "postal_code", "postcode", "zip", "zip_code", "zipcode", "district"}
    | {"loc", "location", "coordinates", "coords", "gps", "geo", "geohash", "altitude"}
)
_FINER_THAN_A_COUNTRY = frozenset({"city", "region", "region_name", "region_code", "province", "timezone"})

_PLAIN = frozenset({float, int, str, type(None)})

_TOUCHED = {
    "city": _COORDINATES | _FINER_THAN_A_CITY,
    "country": _COORDINATES | _FINER_THAN_A_CITY | _FINER_THAN_A_COUNTRY,
}


def precision_of(value: str) -> Precision:
    """`value`, checked. Raises `UsageError` for anything but "country", "city" and "exact"."""
    if value not in get_args(Precision):
        raise UsageError("precision", f"precision must be 'country', 'city' or 'exact', not {value!r}.")
    return value  # type: ignore[return-value]


def blur(fields: Mapping[str, Any], precision: Precision) -> dict[str, Any]:
    """`fields` of an update or a server, without what is finer than `precision`.

    Names are told in any case, and in nested mappings too. A country stays as it was given. An
    object under a name like `location` is gone through where it is a mapping, else left out.
    """
    if precision == "exact":
        return dict(fields)
    return _blurred(fields, precision, _TOUCHED[precision])


def _blurred(fields: Mapping[str, Any], precision: Precision, touched: frozenset[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if type(value) not in _PLAIN and isinstance(value, Mapping):
            kept[name] = _blurred(value, precision, touched)
            continue
        key = name.lower() if isinstance(name, str) else name
        if key not in touched:
            kept[name] = value
        elif precision == "city" and key in _COORDINATES:
            rounded = _rounded(value)
            if rounded is not None:
                kept[name] = rounded
    return kept


def _rounded(value: Any) -> float | None:
    """A coordinate to the precision of a city; None for what is no number, and so can't be blurred."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return round(number, _DECIMALS_OF_A_CITY) if math.isfinite(number) else None
