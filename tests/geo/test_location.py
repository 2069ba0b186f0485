"""Where a client is, asked by the client itself. Only the test's own server is ever called."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedsight.errors import UsageError
from fedsight.geo import extract_client_id, get_location
from geo.test_mmdb import NESTED, write

TOLD = {
    "ip": "8.8.8.8",
    "city": "Toulouse",
    "region": "Occitanie",
    "country": "FR",
    "org": "AS1",
    "loc": "43.6043,1.4437",
}


class Service:
    """Answers like ipinfo.io, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: tuple[int, bytes] = 200, json.dumps(TOLD).encode()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                status, body = service.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    running = Service()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr("fedsight.geo.location._SERVICES", {"ipinfo.io": running.url})
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def in_paris(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Paris")


def test_a_service_that_is_named_is_asked(service: Service) -> None:
    assert get_location("8.8.8.8", online="ipinfo.io") == {
        "ip": "8.8.8.8",
        "city": "Toulouse",
        "region": "Occitanie",
        "country": "FR",
        "org": "AS1",
        "lat": 43.6043,
        "lng": 1.4437,
    }
    assert get_location(online="ipinfo.io")["city"] == "Toulouse"
    assert service.asked == ["/8.8.8.8/json", "/json"]


def test_nobody_is_asked_unless_named(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    assert get_location() == {**dict.fromkeys(["ip", "city", "region", "org", "lat", "lng"]), "country": "FR"}
    assert get_location("8.8.8.8") == {}
    assert "looks nowhere" in caplog.text
    assert service.asked == []


@pytest.mark.parametrize("online", [True, "example.org", "http://ipinfo.io", None])
def test_only_a_service_that_is_known_can_be_named(service: Service, online: Any) -> None:
    with pytest.raises(UsageError, match="online must name the service to ask"):
        get_location(online=online)
    assert service.asked == []


@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1", "fe80::1"])
def test_addresses_of_a_private_network_stay_there(service: Service, ip: str) -> None:
    assert get_location(ip, online="ipinfo.io") == {}
    assert service.asked == []


def test_an_address_can_not_become_another_request(service: Service) -> None:
    with pytest.raises(UsageError, match="ip must be"):
        get_location("8.8.8.8/json?token=", online="ipinfo.io")
    assert service.asked == []


@pytest.mark.parametrize("answer", [(500, b""), (429, b"{}"), (200, b"<html>"), (200, b"[1]"), (200, b"\xff\xfe")])
def test_a_service_in_trouble_is_logged_and_harms_nothing(
    service: Service, answer: tuple[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    service.answer = answer
    assert get_location("8.8.8.8", online="ipinfo.io") == {}
    assert caplog.record_tuples[-1][:2] == ("fedsight", logging.WARNING)
    assert "8.8.8.8" in caplog.text


def test_a_service_that_is_gone_is_logged(service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr("fedsight.geo.location._SERVICES", {"ipinfo.io": "http://127.0.0.1:1"})
    assert get_location(online="ipinfo.io") == {}
    assert "does not say where this machine is" in caplog.text


def test_what_a_service_does_not_know_is_unknown(service: Service) -> None:
    service.answer = 200, b'{"country": "FR", "loc": "somewhere", "city": null, "org": 7}'
    found = get_location("8.8.8.8", online="ipinfo.io")
    assert found == {**dict.fromkeys(["city", "region", "org", "lat", "lng"]), "ip": "8.8.8.8", "country": "FR"}


def test_a_file_of_ones_own_comes_before_a_service(service: Service, tmp_path: Path) -> None:
    database = write(tmp_path / "places.mmdb", {"9.9.9.0/24": NESTED})
    assert get_location("9.9.9.9", mmdb=database, online="ipinfo.io") == {
        "ip": "9.9.9.9",
        "city": "Toulouse",
        "region": "Occitanie",
        "country": "FR",
        "org": None,
        "lat": 43.6045,
        "lng": 1.4441,
    }
    assert service.asked == []
    assert get_location("8.8.8.8", mmdb=database) == {}
    assert get_location("8.8.8.8", mmdb=database, online="ipinfo.io")["org"] == "AS1"
    with pytest.raises(UsageError, match="knows places by addresses"):
        get_location(mmdb=database)


def test_without_a_time_zone_of_a_country_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert get_location() == {}


def test_client_ids_are_found_where_frameworks_keep_them() -> None:
    header = SimpleNamespace(header=SimpleNamespace(client_id="a"), client_id="b", id="c")
    assert extract_client_id(header) == "a"
    assert extract_client_id(SimpleNamespace(client_id="b", id="c")) == "b"
    assert extract_client_id(SimpleNamespace(client_id="", id="c")) == "c"
    assert extract_client_id(SimpleNamespace(header=None, id=0)) == 0
    assert extract_client_id(object()) is None
