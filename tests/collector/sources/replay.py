"""A controller that replays captured answers over a real socket, and a plain way to ask it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from fedsight.collector.sources.source import Source, SourceDown
from fedsight.events import Event, Log, Sample, Topology, decode, encode

FIXTURES = Path(__file__).parent / "fixtures"


class Replay:
    """What the server answers, by path; anything else is a 404 with HTML, as controllers do it."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""

    def answer(self, path: str, body: Any) -> None:
        """body: text as it is, anything else as JSON."""
        self.answers[path] = (body if isinstance(body, str) else json.dumps(body)).encode()

    def answer_file(self, path: str, name: str) -> None:
        self.answers[path] = (FIXTURES / name).read_bytes()


@contextmanager
def replaying() -> Iterator[Replay]:
    replay = Replay()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            replay.asked.append(self.path)
            body = replay.answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(b"<html><h1>404 Not Found</h1></html>" if body is None else body)

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    replay.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield replay
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class PlainWeb:
    """The protocol `Web`, and no more than that."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def json(self, url: str, **params: Any) -> Any:
        try:
            return json.loads(await self.text(url, **params))
        except ValueError as error:
            raise SourceDown(f"{url}: no JSON") from error

    async def text(self, url: str, **params: Any) -> str:
        try:
            answer = await self._client.get(url, params=params)
        except httpx.HTTPError as error:
            raise SourceDown(f"{url}: {type(error).__name__}") from error
        if not answer.is_success:
            raise SourceDown(f"{url}: {answer.status_code}")
        return answer.text


def poll(source: Source) -> list[Event]:
    """One poll; its events as a journal gives them back."""

    async def ask() -> list[Event]:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            return (await source.poll(PlainWeb(client), None)).events

    events = [decode(encode(event)) for event in asyncio.run(ask())]
    assert all(isinstance(event, Event) for event in events)
    return events  # type: ignore[return-value]


def metrics(events: list[Event], node: str) -> dict[str, float]:
    """The sample of a node."""
    found = [event.metrics for event in events if isinstance(event, Sample) and event.node == node]
    assert len(found) == 1, f"{len(found)} samples of {node}"
    return found[0]


def nodes(events: list[Event]) -> set[str]:
    return {event.node for event in events if isinstance(event, Sample)}


def topology(events: list[Event]) -> Topology:
    (found,) = [event for event in events if isinstance(event, Topology)]
    return found


def topologies(events: list[Event]) -> list[Topology]:
    return [event for event in events if isinstance(event, Topology)]


def logged(events: list[Event]) -> list[str]:
    """What the log lines say: their event names."""
    return [event.event for event in events if isinstance(event, Log)]
