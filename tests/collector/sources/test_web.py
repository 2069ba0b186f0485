"""HTTP for sources: whatever a system answers, it becomes data or one short error, and no secret leaves."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from collector.sources.asking import Asking
from collector.sources.standins import Standin, send
from fedsight.collector.sources.config import Access
from fedsight.collector.sources.source import SourceDown
from fedsight.collector.sources.web import HttpWeb

Fault = Callable[[BaseHTTPRequestHandler], None]


class Echo(Standin):
    """Answers with what it was asked."""

    def answer(self, path: str, params: dict[str, str]) -> Any:
        return {"path": path, "params": params}


def ask(url: str, path: str = "/x", access: Access | None = None, timeout_sec: float = 5.0, **params: Any) -> Any:
    async def once() -> Any:
        web = HttpWeb(url, access or Access(), timeout_sec)
        try:
            return await web.json(path, **params)
        finally:
            await web.close()

    return asyncio.run(once())


def refused(fault: Fault, access: Access | None = None, timeout_sec: float = 5.0) -> str:
    with Echo() as system, system.faulty(fault), pytest.raises(SourceDown) as error:
        ask(system.url, access=access, timeout_sec=timeout_sec)
    return str(error.value)


def body(content: bytes, kind: str = "application/json", status: int = 200) -> Fault:
    return lambda handler: send(handler, status, content, kind)


def test_paths_are_taken_as_under_the_sources_url() -> None:
    with Echo() as system:
        assert ask(f"{system.url}/base/", "/a/b", limit=5, since=None) == {
            "path": "/base/a/b",
            "params": {"limit": "5"},
        }
        assert ask(system.url, f"{system.url}/whole?x=1", y="2")["params"] == {"x": "1", "y": "2"}


def test_numbers_beyond_64_bits_and_those_json_does_not_have_are_read() -> None:
    content = b'{"big": 18446744073709551615, "bigger": 184467440737095516150, "nan": NaN, "inf": -Infinity}'
    with Echo() as system, system.faulty(body(content)):
        found = ask(system.url)
    assert (found["big"], found["bigger"]) == (2**64 - 1, 184467440737095516150)
    assert found["nan"] != found["nan"]
    assert found["inf"] == float("-inf")


def test_half_a_surrogate_is_replaced() -> None:
    with Echo() as system, system.faulty(body(b'{"a": ["\\ud800x", NaN]}')):
        assert ask(system.url)["a"][0] == "?x"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (body(b"{}", status=500), "GET /x answered 500 Internal Server Error"),
        (body(b"{}", status=404), "GET /x answered 404 Not Found"),
        (body(b"<html>login</html>", "text/html"), "GET /x answered HTML where JSON was expected"),
        (body(b'{"half": '), "GET /x answered no whole JSON"),
        (body(b""), "GET /x answered no whole JSON"),
        (body(b"[" * 100_000), "GET /x answered no whole JSON"),
        (body(b"\xff\xfe{}"), "GET /x answered no whole JSON"),
    ],
)
def test_what_is_no_answer_is_said_in_a_few_words(fault: Fault, reason: str) -> None:
    assert reason in refused(fault)


def test_a_body_that_breaks_off_is_no_answer() -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"a": 1')
        handler.close_connection = True

    assert "broke off" in refused(half)


def test_something_that_speaks_no_http_is_no_answer() -> None:
    def ssh(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        handler.connection.shutdown(socket.SHUT_RDWR)

    assert "no HTTP" in refused(ssh)


def test_200_mb_are_cut_off_early() -> None:
    sent = 0

    def huge(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("content-length", str(200 << 20))
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" " * (1 << 20))
            sent += 1

    assert refused(huge, timeout_sec=20) == "GET /x answered more than 8 MiB"
    assert sent < 30


def test_a_packed_bomb_is_not_unpacked() -> None:
    def bomb(handler: BaseHTTPRequestHandler) -> None:
        assert handler.headers["accept-encoding"] == "identity"
        packed = gzip.compress(b" " * (50 << 20))
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    assert "packed (gzip)" in refused(bomb)


def test_silence_ends_with_the_timeout() -> None:
    assert refused(lambda _: time.sleep(1), timeout_sec=0.2) == "GET /x: no answer within 0.2 s"


def test_nobody_there_is_said_with_the_address() -> None:
    system = Echo()
    system.kill()
    with pytest.raises(SourceDown, match=f"no connection to 127.0.0.1:{system.port}"):
        ask(system.url)


def test_a_redirect_is_not_followed() -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", "/elsewhere")
        handler.send_header("content-length", "0")
        handler.end_headers()

    assert "answered 302" in refused(elsewhere)


def test_what_opens_the_source_is_sent_to_it_and_to_no_other_host() -> None:
    seen: list[str | None] = []

    def note(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("authorization"))
        send(handler, 200, b"{}")

    with Echo() as system, Echo() as other, system.faulty(note), other.faulty(note):
        ask(system.url, access=Access(token="t0p-secret"))
        ask(system.url, access=Access(username="onos", password="rocks"))
        ask(system.url, f"{other.url}/x", access=Access(token="t0p-secret"))
    assert seen == ["Bearer t0p-secret", "Basic b25vczpyb2Nrcw==", None]


def test_no_secret_stands_in_an_error() -> None:
    system = Echo()
    system.kill()
    url = system.url.replace("http://", "http://user:hunter2@")
    with pytest.raises(SourceDown) as error:
        ask(url, access=Access(token="t0p-secret"), key="k3y")
    assert not any(secret in str(error.value) for secret in ("hunter2", "t0p-secret", "k3y"))


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Echo() as system:
        assert ask(system.url)["path"] == "/x"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("ofctl", {"/stats/switches": list(range(1_000_000))}),
        ("onos", {"/onos/v1/devices": {"devices": [{"id": str(n)} for n in range(200_000)]}}),
        ("fl_server", {"/metrics": {}, "/rounds": {"rounds": [{}] * 1_000_000}}),
        ("fl_server", {"/metrics": {}, "/events": [{}] * 1_000_000, "/rounds": []}),
        ("policy", {"/metrics": {}, "/api/v1/policy_decisions": [{}] * 1_000_000}),
    ],
)
def test_a_million_rows_of_nothing_are_not_gone_through(kind: str, answers: dict[str, Any]) -> None:
    class Flood(Standin):
        def answer(self, path: str, params: dict[str, str]) -> Any:
            return answers.get(path)

    with Flood() as server, pytest.raises(SourceDown, match="at most"):
        Asking(kind=kind, url=server.url, timeout_sec=9).poll()
