"""The live stream, as server-sent events and over a WebSocket: the same messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import anyio
from litestar import WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import Parameter
from litestar.response import Stream

from fedsight.collector.api.answers import AnyRequest, answers, parts_of
from fedsight.collector.hub import Hub


@get(
    "/api/v1/stream",
    tags=["live"],
    summary="News as they are stored",
    responses=answers(
        str, "Server-sent events; `data` is a JSON message, `id` its `as_of`.", 400, media_type="text/event-stream"
    ),
)
async def stream(
    request: AnyRequest,
    run_id: Annotated[
        str | None, Parameter(description="A run whose rounds, clients and events are wanted too.")
    ] = None,
    since: Annotated[str | None, Parameter(description="`as_of` of what you have; absent: from now on.")] = None,
    last_event_id: Annotated[
        str | None, Parameter(header="last-event-id", description="Sent by browsers that reconnect; like `since`.")
    ] = None,
) -> Stream:
    """Rows that are new or have changed, whole, about four times a second at most."""
    hub = parts_of(request).hub
    messages = hub.subscribe(last_event_id or since, run_id)
    return Stream(
        _events(messages),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(messages: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[bytes]:
    # Tells the browser how soon to come back, and opens the stream before there is news.
    yield b"retry: 1000\n\n"
    async for as_of, body in messages:
        yield b"id: %b\ndata: %b\n\n" % (as_of.encode(), body)


@websocket("/ws/metrics")
async def ws_metrics(socket: WebSocket[Any, Any, Any]) -> None:
    """The stream for those who prefer a WebSocket."""
    hub: Hub = socket.app.state.parts.hub
    since, run_id = socket.query_params.get("since"), socket.query_params.get("run_id")
    await socket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_gone, socket, tasks.cancel_scope)
        with suppress(WebSocketDisconnect, RuntimeError):
            async for _, body in hub.subscribe(since, run_id):
                await socket.send_text(body.decode())
            await socket.close(code=1001, reason="the collector stops")
        tasks.cancel_scope.cancel()


async def _until_gone(socket: WebSocket[Any, Any, Any], scope: anyio.CancelScope) -> None:
    """Nothing is expected of the other side but its going."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()


HANDLERS: list[Any] = [stream, ws_metrics]
