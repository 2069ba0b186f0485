"""Whoever says too much, or says it too slowly, before it has asked for anything, is hung up on."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from websockets.sync.client import connect

from collector.harness import until
from fedsight.collector.http_limits import MAX_HEAD_BYTES, LimitedHttp

PATIENCE_SEC = 1.0
START = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(2.5 * PATIENCE_SEC)
        await send({"type": "websocket.send", "text": "still there"})
        return
    if scope["path"] == "/busy":
        await asyncio.sleep(2.5 * PATIENCE_SEC)
    while scope["path"] != "/refused" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr("fedsight.collector.http_limits.PATIENCE_SEC", PATIENCE_SEC)
    config = uvicorn.Config(app, http=LimitedHttp, ws="websockets-sansio", port=0, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        until(lambda: server.started, "it listens")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def told(client: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    client.settimeout(20)
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_a_head_without_end_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        try:
            client.sendall(START + b"X: ")
            for _ in range(100):
                client.sendall(b"a" * MAX_HEAD_BYTES)
        except OSError:
            return  # it hung up while we were still talking
        assert b"head is longer" in told(client)


@pytest.mark.parametrize("said", [b"", START, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + START])
def test_a_head_that_does_not_come_ends_the_connection(port: int, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(said)
        assert told(client).count(b"200 OK") == said.count(b"\r\n\r\n")


@pytest.mark.parametrize("path", [b"/", b"/refused"])
def test_a_body_that_trickles_ends_the_connection(port: int, path: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.05)
        client.sendall(START.replace(b"/", path, 1) + b"Content-Length: 200000\r\n\r\n")
        found = b""
        for _ in range(400):
            try:
                client.sendall(b"b")
                if not (part := client.recv(1000)):
                    break
                found += part
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            raise AssertionError("it is still there")
        assert found.count(b"200 OK") == (path == b"/refused")


def test_a_long_body_may_take_its_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(START + b"Connection: close\r\nContent-Length: 200000\r\n\r\n")
        client.settimeout(PATIENCE_SEC / 5)
        for _ in range(10):  # twice as long as a head may take
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.sendall(b"b" * 20_000)
        assert told(client).endswith(b"ok")


def test_a_body_that_nobody_reads_yet_is_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(START.replace(b"/", b"/busy", 1) + b"Connection: close\r\nContent-Length: 200000\r\n\r\n")
        client.sendall(b"b" * 200_000)
        assert told(client).endswith(b"ok")


def test_a_websocket_may_say_nothing(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
        assert client.recv(timeout=20) == "still there"
