"""The live stream, as server-sent events and over a WebSocket: the same messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import WebSocket, get, websocket
from litestar.params import Parameter
from litestar.response import Stream

from fedsight.collector.api.answers import AnyRequest, answers, parts_of
from fedsight.collector.api.subscriptions import Conversation, names_of, news
from fedsight.collector.errors import Refused
from fedsight.collector.hub import Message
from fedsight.collector.parts import Parts
from fedsight.collector.subscribing import STREAMS, Subscription, UnknownStream


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
    streams: Annotated[
        str | None,
        Parameter(
            description=f"One message an event instead of rows, of these, separated by commas: {', '.join(STREAMS)}."
        ),
    ] = None,
    ticket: Annotated[
        str | None, Parameter(description="From `POST /api/v1/ticket`, where no header can be sent.")
    ] = None,
) -> Stream:
    """Rows that are new or have changed, whole, about four times a second at most; or, with `streams`, what happened."""
    parts = parts_of(request)
    since = last_event_id or since
    messages = parts.hub.subscribe(since, run_id) if streams is None else _chosen(parts, streams, since, run_id)
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


def _chosen(parts: Parts, streams: str, since: str | None, run_id: str | None) -> AsyncIterator[Message]:
    try:
        wanted = Subscription(parts.hub.commit, names_of(streams), run_id)
    except UnknownStream as error:
        raise Refused(400, str(error), field="streams") from None
    return news(parts.hub, parts.newsroom, wanted, since)


@websocket("/ws/metrics")
async def ws_metrics(socket: WebSocket[Any, Any, Any]) -> None:
    """The stream over a WebSocket; `subscriptions` says what a reader may send."""
    parts: Parts = socket.app.state.parts
    await socket.accept()
    await Conversation(socket, parts.hub, parts.newsroom).hold()


HANDLERS: list[Any] = [stream, ws_metrics]
