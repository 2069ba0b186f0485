"""Where a client is, as fields for `log_client_update`; HiveWatch's two functions of these names."""

from __future__ import annotations

import http.client
import json
import logging
import os
import urllib.error
import urllib.request
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from fedsight.errors import MissingExtra, UsageError
from fedsight.geo.gazetteer import find_timezone
from fedsight.geo.mmdb import checked_ip, lookup
from fedsight.geo.resolving import are_coordinates

logger = logging.getLogger("fedsight")

_SERVICES = {"ipinfo.io": "https://ipinfo.io"}
_TIMEOUT_SEC = 5.0
_LARGEST_ANSWER_BYTES = 100_000

_KEYS = ("ip", "city", "region", "country", "org", "lat", "lng")


def get_location(
    ip: str | None = None, *, online: Literal["ipinfo.io", False] = False, mmdb: str | Path | None = None
) -> dict[str, Any]:
    """`{ip, city, region, country, org, lat, lng}`, None for what is unknown; `{}` where nothing is known.

    ip: whose address; None is this machine.
    mmdb: a database file of the user's own to look the address up in.
    online: the name of a service to ask over the internet, if the file didn't know: it learns the address.

    With neither nothing leaves the machine, and all that can be told is its own country, by its
    time zone. A service that does not answer is logged, and `{}`. Who records what this returns
    records an address and a provider: see `precision` of `fedsight.init`.

    Raises `UsageError`; `MissingExtra` where a database is given and maxminddb is not installed.
    """
    if online is not False and online not in _SERVICES:
        raise UsageError(
            "online", f"online must name the service to ask ({', '.join(map(repr, _SERVICES))}), not {online!r}."
        )
    if ip is not None:
        ip = checked_ip(ip)
    if mmdb is not None:
        if ip is None:
            raise UsageError("ip", "ip: a database (mmdb) knows places by addresses; give one.")
        record = lookup(ip, mmdb)
        if record is not None:
            return {name: ip if name == "ip" else getattr(record, name) for name in _KEYS}
    if online:
        return _asked(online, ip)
    if ip is None:
        return _by_own_time()
    if mmdb is None:
        logger.warning("fedsight: get_location(%r) looks nowhere: give mmdb=<file> or online='ipinfo.io'.", ip)
    return {}


def extract_client_id(obj: Any) -> Any:
    """The client's id in a request or a message: `obj.header.client_id`, else `.client_id`, else `.id`, else None."""
    for holder, name in ((getattr(obj, "header", None), "client_id"), (obj, "client_id"), (obj, "id")):
        found = getattr(holder, name, None)
        if found is not None and found != "":
            return found
    return None


def local_timezone() -> str | None:
    """The IANA name of this machine's time zone, where it says one."""
    if name := os.environ.get("TZ", "").lstrip(":"):
        return name
    try:
        return str(Path("/etc/localtime").readlink()).rpartition("zoneinfo/")[2] or None
    except OSError:  # no link, but a copy
        return None


def _by_own_time() -> dict[str, Any]:
    name = local_timezone()
    try:
        found = None if name is None else find_timezone(name)
    except MissingExtra as error:
        logger.info("fedsight: %s", error)
        found = None
    # Not the position: that is some city far away with the same time.
    return {} if found is None else {**dict.fromkeys(_KEYS), "country": found.country}


def _asked(service: str, ip: str | None) -> dict[str, Any]:
    if ip is not None and not ip_address(ip).is_global:
        return {}
    url = f"{_SERVICES[service]}/{'' if ip is None else f'{ip}/'}json"
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "fedsight"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SEC) as answer:
            told = json.loads(answer.read(_LARGEST_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        logger.warning("fedsight: %s does not say where %s is: %s", service, ip or "this machine", error)
        return {}
    if not isinstance(told, dict):
        logger.warning("fedsight: %s does not say where %s is: %r", service, ip or "this machine", told)
        return {}
    location = {name: told[name] if isinstance(told.get(name), str) else None for name in _KEYS}
    location["ip"] = location["ip"] or ip
    location["lat"], location["lng"] = _degrees(told.get("loc"))
    return location


def _degrees(text: Any) -> tuple[float | None, float | None]:
    """Latitude and longitude of "43.6043,1.4437"."""
    try:
        lat, lng = map(float, str(text).split(","))
    except ValueError:
        return None, None
    return (lat, lng) if are_coordinates(lat, lng) else (None, None)
