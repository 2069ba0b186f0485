"""HiveWatch's routes: /runs, /runs/<id>/metadata, /runs/<id>/events and /stream, for viewers and scripts made for it.

They stand beside the dashboard's own addresses: a browser that opens a page (`Accept: text/html`) gets the
dashboard there. Who may read the API may read these; unlike HiveWatch's, they allow no other site's pages (CORS).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from litestar import Response, get
from litestar.params import Parameter
from litestar.response import Stream

from fedsight.collector import retelling
from fedsight.collector.api.answers import AnyRequest, json_answer, parts_of, path_id
from fedsight.collector.parts import Parts
from fedsight.errors import RunNotFound
from fedsight.journal import quote_id
from fedsight.map.form import JsonObject, iso_time, to_json
from fedsight.map.metadata import MapFold, map_json
from fedsight.store import Store, queries
from fedsight.store.queries.event_counts import event_counts

PING_SEC = 20.0
"""HiveWatch pings every 25 s. News of the hub comes every 10 s at least, so ours come after 20 to 30 s."""

_PATHS = re.compile(r"/runs|/runs/[^/]+/(?:metadata|events)|/stream")
_PAGES_TOO = re.compile(r"/runs.*")


def is_for_us(path: str, accept: str) -> bool:
    """Whether a request is for one of these routes, not for a page of the dashboard."""
    if _PATHS.fullmatch(path) is None:
        return False
    return _PAGES_TOO.fullmatch(path) is None or not _wants_page(accept)


def _wants_page(accept: str) -> bool:
    """Whether HTML is asked for before JSON, as browsers do that open a page."""
    accept = accept.lower()
    html, json = accept.find("text/html"), accept.find("application/json")
    return html >= 0 and (json < 0 or html < json)


@get("/runs", sync_to_thread=True, include_in_schema=False)
def list_runs(request: AnyRequest) -> Response[bytes]:
    """All runs, the newest first. `file` and `metadata_file` are named as `fedsight view`'s folder has them."""
    store = parts_of(request).store
    counts = event_counts(store)
    told: list[JsonObject] = []
    cursor: str | None = None
    while True:
        table = queries.runs(store, limit=10_000, cursor=cursor)
        columns = table.columns
        for run_id, algorithm, started_at in zip(
            columns["run_id"], columns["algorithm"], columns["started_at"], strict=True
        ):
            told.append(
                {
                    "run_id": run_id,
                    "algorithm": algorithm,
                    "started_at": iso_time(started_at),
                    "num_events": counts.get(run_id, 0),
                    "file": f"{quote_id(run_id)}.jsonl",
                    "metadata_file": f"{quote_id(run_id)}.map.json",
                    "has_metadata": True,
                }
            )
        cursor = table.next
        if cursor is None:
            return json_answer(request, told)


@get("/runs/{run_id:str}/metadata", sync_to_thread=True, include_in_schema=False)
def get_metadata(request: AnyRequest, run_id: str) -> Stream:
    """map.json of a run, built from the store."""
    events = _run_events(request, run_id)
    fold = MapFold()
    for event in events:
        fold.take(event)
    return _json_stream(map_json(fold))


@get("/runs/{run_id:str}/events", sync_to_thread=True, include_in_schema=False)
def get_events(request: AnyRequest, run_id: str) -> Stream:
    """A run's events, one JSON array, sent as they are read from the store."""
    return _json_stream(_array(_run_events(request, run_id)))


def _run_events(request: AnyRequest, run_id: str) -> Iterator[JsonObject]:
    store, run_id = parts_of(request).store, path_id(run_id, "run_id")
    if queries.run(store, run_id) is None:
        raise RunNotFound(run_id)
    return retelling.run_events(store, run_id)


def _array(events: Iterator[JsonObject]) -> Iterator[bytes]:
    """JSON of a list, about 64 KiB at a time."""
    text = bytearray(b"[")
    for event in events:
        if text != b"[":
            text += b",\n"
        text += to_json(event)
        if len(text) > 1 << 16:
            yield bytes(text)
            text = bytearray(b" ")
    yield bytes(text + b"]\n")


def _json_stream(pieces: Iterator[bytes]) -> Stream:
    return Stream(pieces, media_type="application/json", headers={"cache-control": "no-store", "vary": "accept"})


@get("/stream", include_in_schema=False)
async def stream(
    request: AnyRequest,
    run_id: Annotated[str | None, Parameter(description="Only this run's; the newest run's when absent.")] = None,
    last_event_id: Annotated[str | None, Parameter(header="last-event-id")] = None,
) -> Stream:
    """A run from its beginning, then as it goes on: `connected`, `init`, its events, a `ping` now and then.

    A reader that comes back with the `id` it saw last is told what it missed. The server keeps nothing for a reader
    but that number: a slow one is told less often, the newest figures of each round.
    """
    return Stream(
        _messages(parts_of(request), run_id, last_event_id),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _messages(parts: Parts, wanted: str | None, since: str | None) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n" + _message({"event_type": "connected"})
    run_id = wanted
    while True:
        run_id = run_id or await _in_thread(retelling.newest_run, parts.store)
        following: str | None = None
        async for piece in _of_run(parts, run_id, since, stays=wanted is not None):
            if isinstance(piece, bytes):
                yield piece
            else:
                following = piece.run_id
        if following is None:
            return  # the collector stops
        run_id, since = following or None, None


class _GoOn(msgspec.Struct):
    """Another run is to be told from here on (the empty id: whichever is the newest)."""

    run_id: str


async def _of_run(parts: Parts, run_id: str | None, since: str | None, *, stays: bool) -> AsyncIterator[bytes | _GoOn]:
    """One run's messages. Ends with `_GoOn` where another is to be told, without where the collector stops."""
    store = parts.store
    loop = asyncio.get_running_loop()
    pinged_at = loop.time()
    is_begun = since is not None  # who comes back has seen the beginning
    is_over = False
    async for as_of, body in parts.hub.subscribe(since or f"{store.epoch}-0", run_id):
        message = msgspec.json.decode(body)
        if message["type"] == "reset":
            yield _GoOn(run_id or "")
            return
        if run_id is None and message.get("runs") is not None:
            yield _GoOn("")
            return
        if run_id is not None and not is_begun:
            begin = await _in_thread(_begin, store, run_id)
            if begin is not None:
                is_begun = True
                for event in begin:
                    yield _message(event)
        if run_id is not None and is_begun and message["type"] == "rows":
            told = retelling.changed_events(store, run_id, message)
            while (event := await _in_thread(next, told, None)) is not None:
                is_over = event["event_type"] == "finished"
                yield _message(event)
            # Behind the last of them: who is cut off in their midst hears them again.
            yield b"id: %b\n\n" % as_of.encode()
        if is_over and not stays and (newer := await _in_thread(_newer_than, store, run_id)) is not None:
            yield _GoOn(newer)
            return
        if loop.time() - pinged_at >= PING_SEC:
            pinged_at = loop.time()
            yield _message({"event_type": "ping"})


def _begin(store: Store, run_id: str) -> list[JsonObject] | None:
    try:
        first, *rest = retelling.beginning(store, run_id)
        return [{**first, "mode": "live" if retelling.is_live(store, run_id) else "static"}, *rest]
    except RunNotFound:
        return None  # it has not begun yet


def _newer_than(store: Store, run_id: str) -> str | None:
    newest = retelling.newest_run(store)
    return newest if newest != run_id and newest is not None and retelling.is_live(store, newest) else None


async def _in_thread(call: Any, *arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(call, *arguments)


def _message(event: JsonObject) -> bytes:
    return b"data: %b\n\n" % to_json(event)


HANDLERS: list[Any] = [list_runs, get_metadata, get_events, stream]
