"""The protocol of `/ws/metrics`: what a reader may say, and what it is answered.

A reader that says nothing gets rows, as the dashboard does. From its first `subscribe` on it gets what it subscribed to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Literal

import anyio
import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from fedsight.collector.errors import Fault
from fedsight.collector.hub import Hub, Message
from fedsight.collector.subscribing import STREAMS, Newsroom, Subscription, UnknownStream

MESSAGES_IN_TURN = 5
"""After so many, others have their turn: all readers are told at the same tick."""

AnySocket = WebSocket[Any, Any, Any]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a reader sends. `id` is given back. `since` and `run_id` count for all of the connection's streams.

    Absent, they are at first what the address says, and stay as they are later.
    """

    action: Literal["subscribe", "unsubscribe"]
    streams: list[str] | None = None
    run_id: str | msgspec.UnsetType | None = msgspec.UNSET
    since: str | None = None
    id: str | int | None = None


def names_of(streams: str) -> list[str]:
    """Names of streams that are separated by commas."""
    return [name for name in (part.strip() for part in streams.split(",")) if name]


async def news(hub: Hub, newsroom: Newsroom, wanted: Subscription, since: str | None) -> AsyncIterator[Message]:
    """The messages of a subscription, one by one, from `since` (absent: from now) on; first says where that is."""
    position = hub.position(since)
    wanted.position = hub.commit if position is None else position
    yield hub.plain("reset" if position is None else "heartbeat", wanted.position)
    async for messages in newsroom.follow(wanted):
        for message in messages:
            yield message


class Conversation:
    """One WebSocket: what it is told, and what it says."""

    def __init__(self, socket: AnySocket, hub: Hub, newsroom: Newsroom) -> None:
        self._socket = socket
        self._hub = hub
        self._newsroom = newsroom
        self._since, self._run_id = socket.query_params.get("since"), socket.query_params.get("run_id")
        self._wanted = Subscription(hub.commit, (), self._run_id)
        self._has_subscribed = asyncio.Event()
        self._sending = asyncio.Lock()

    async def hold(self) -> None:
        """Tell and listen until either side ends it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._begin()
                await self._tell_rows()
                await self._tell_news()
                await self._socket.close(code=1001, reason="the collector stops")
            tasks.cancel_scope.cancel()

    async def _send(self, body: bytes) -> None:
        async with self._sending:
            await self._socket.send_text(body.decode())

    async def _begin(self) -> None:
        streams = self._socket.query_params.get("streams")
        if streams is None:
            return
        for answer in self._take(Request("subscribe", names_of(streams), self._run_id, self._since)):
            await self._send(answer)

    # ── telling ───────────────────────────────────────────────────────────────────────────────

    async def _tell_rows(self) -> None:
        rows = self._hub.subscribe(self._since, self._run_id)
        while not self._hub.closing and not self._has_subscribed.is_set():
            message = await self._next(rows)
            if message is not None:
                await self._send(message[1])

    async def _next(self, rows: AsyncIterator[Message]) -> Message | None:
        """The next message of rows; None once there is a subscription, or the end."""
        coming = asyncio.ensure_future(_one_of(rows))
        subscribed = asyncio.ensure_future(self._has_subscribed.wait())
        try:
            await asyncio.wait((coming, subscribed), return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() and not subscribed.done() else None
        finally:
            subscribed.cancel()
            coming.cancel()

    async def _tell_news(self) -> None:
        if self._hub.closing:
            return
        async for messages in self._newsroom.follow(self._wanted):
            for number, (_, body) in enumerate(messages):
                if number % MESSAGES_IN_TURN == 0:
                    await asyncio.sleep(0)  # a send that needs not wait lets nobody else in
                await self._send(body)

    # ── listening ─────────────────────────────────────────────────────────────────────────────

    async def _listen(self, scope: anyio.CancelScope) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while (event := await self._socket.receive())["type"] != "websocket.disconnect":
                text: Any = event.get("text") or event.get("bytes") or b""
                for answer in self._answer(text):
                    await self._send(answer)
        scope.cancel()

    def _answer(self, text: str | bytes) -> list[bytes]:
        try:
            request = msgspec.json.decode(text, type=Request)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            example = '{"action": "subscribe", "streams": ["fl_training"]}'
            return [_error(f"{error}. Send JSON such as {example}.", None, {})]
        return self._take(request)

    def _take(self, request: Request) -> list[bytes]:
        """Do what the reader asks; the answers."""
        named = {} if request.id is None else {"id": request.id}
        streams = request.streams
        if streams is None:
            if request.action == "subscribe":
                return [_error(f"streams: choose of {', '.join(STREAMS)}.", "streams", named)]
            streams = list(STREAMS)
        try:
            if request.action == "subscribe":
                self._wanted.add(streams)
            else:
                self._wanted.remove(streams)
        except UnknownStream as error:
            return [_error(str(error), "streams", named)]
        is_first = not self._has_subscribed.is_set()
        since = self._since if is_first and request.since is None else request.since
        position = self._hub.position(since)
        if request.action == "subscribe":
            if request.run_id is not msgspec.UNSET:
                self._wanted.run_id = request.run_id
            if is_first or since is not None:
                self._wanted.position = self._hub.commit if position is None else position
            self._has_subscribed.set()
        as_of = self._hub.as_of(self._wanted.position)
        ack = {
            "type": "ack",
            "action": request.action,
            "streams": list(self._wanted.streams),
            "run_id": self._wanted.run_id,
            "as_of": as_of,
            **named,
        }
        answers = [msgspec.json.encode(ack)]
        if request.action == "subscribe" and position is None:  # another store's token: it may have missed something
            answers.append(self._hub.plain("reset", self._wanted.position)[1])
        return answers


async def _one_of(messages: AsyncIterator[Message]) -> Message | None:
    async for message in messages:
        return message
    return None


def _error(message: str, field: str | None, named: dict[str, Any]) -> bytes:
    fault = Fault("bad_request", message, field)
    return msgspec.json.encode({"type": "error", "error": fault, **named})
