"""Addresses in database files, which are written here and read by maxminddb."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from fedsight.errors import MissingExtra, UsageError
from fedsight.geo import Place, by_ip
from fedsight.geo.mmdb import IpRecord, _reader, lookup

NESTED = {  # as GeoLite2-City has it
    "city": {"geoname_id": 2972315, "names": {"de": "Toulouse", "en": "Toulouse"}},
    "country": {"iso_code": "FR", "names": {"en": "France"}},
    "location": {"latitude": 43.6045, "longitude": 1.4441, "accuracy_radius": 20, "time_zone": "Europe/Paris"},
    "subdivisions": [{"iso_code": "OCC", "names": {"en": "Occitanie"}}],
}
FLAT = {  # as IPinfo has it
    "city": "Lyon",
    "region": "Auvergne-Rhône-Alpes",
    "country": "FR",
    "lat": "45.7485",
    "lng": "4.8467",
    "as_name": "Example SAS",
}


def write(path: Path, records: dict[str, Any]) -> Path:
    writer = MMDBWriter(ip_version=6, database_type="Test-City", ipv4_compatible=True)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    records = {
        "192.0.2.0/24": NESTED,
        "198.51.100.0/24": FLAT,
        "203.0.113.0/24": {"country": {"iso_code": "FR"}},
        "2001:db8::/32": {"autonomous_system_organization": "Example"},
    }
    return write(tmp_path / "places.mmdb", records)


def test_an_address_is_somewhere(database: Path) -> None:
    assert by_ip("192.0.2.7", database) == Place(43.6045, 1.4441, "city", "Toulouse", "FR")
    assert by_ip("198.51.100.1", str(database)) == Place(45.7485, 4.8467, "city", "Lyon", "FR")


def test_a_country_alone_stands_at_its_capital(database: Path) -> None:
    assert by_ip("203.0.113.9", database) == Place(48.85341, 2.3488, "country", None, "FR")


def test_an_address_that_is_not_in_the_file_is_nowhere(database: Path) -> None:
    assert by_ip("10.0.0.1", database) is None
    assert by_ip("2001:db8::1", database) is None, "its provider is known, its place is not"


def test_the_rest_of_what_a_file_says(database: Path) -> None:
    assert lookup("198.51.100.1", database) == IpRecord(
        "Lyon", "Auvergne-Rhône-Alpes", "FR", "Example SAS", 45.7485, 4.8467
    )
    assert lookup("2001:db8::1", database) == IpRecord(org="Example")


def test_a_file_that_was_replaced_is_read_anew(database: Path) -> None:
    assert by_ip("192.0.2.7", database) is not None
    write(database.with_suffix(".new"), {"198.51.100.0/24": FLAT}).replace(database)
    assert by_ip("192.0.2.7", database) is None


@pytest.mark.parametrize("ip", ["", "localhost", "192.0.2.300", "192.0.2.7/../x"])
def test_what_is_no_address_is_refused(database: Path, ip: str) -> None:
    with pytest.raises(UsageError, match="ip must be an IPv4 or IPv6 address"):
        by_ip(ip, database)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        by_ip("192.0.2.7", tmp_path / "none.mmdb")
    (tmp_path / "text.mmdb").write_text("no database")
    with pytest.raises(UsageError, match="is no MaxMind database"):
        by_ip("192.0.2.7", tmp_path / "text.mmdb")


def test_without_the_package_one_is_told_how_to_install_it(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _reader.cache_clear()
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedsight\[geo\]'"):
        by_ip("192.0.2.7", database)
