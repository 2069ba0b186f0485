"""A stream is told to until the token that opened it is taken away; an answer that is no stream comes whole."""

from __future__ import annotations

import asyncio
from typing import Any

from fedsight.collector.revocation import CHECK_SEC, while_good


def told(*messages: dict[str, Any], good_until: int) -> list[Any]:
    """What gets through of messages that come `CHECK_SEC` apart. good_until: how many of them the token outlives."""
    found: list[Any] = []
    number = 0

    async def send(message: Any) -> None:
        found.append(message)

    async def scene() -> None:
        nonlocal number
        guarded = while_good(send, lambda: number <= good_until, lambda: number * CHECK_SEC)
        for message in messages:
            number += 1
            await guarded(message)  # type: ignore[arg-type]

    asyncio.run(scene())
    return found


def test_a_stream_ends_with_what_it_would_have_been_told() -> None:
    start = {"type": "http.response.start", "status": 200}
    pieces = [{"type": "http.response.body", "body": bytes([n]), "more_body": True} for n in range(4)]
    last = {"type": "http.response.body", "body": b"", "more_body": False}
    assert told(start, *pieces, good_until=3) == [start, *pieces[:2], last]


def test_a_websocket_is_closed() -> None:
    news = {"type": "websocket.send", "text": "news"}
    first, second, *rest = told(news, news, news, good_until=1)
    assert (first, second["type"], second["code"], rest) == (news, "websocket.close", 1008, [])


def test_an_answer_that_has_said_how_long_it_is_comes_whole() -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    body = {"type": "http.response.body", "body": b"ok", "more_body": False}
    assert told(start, body, good_until=0) == [start, body]
