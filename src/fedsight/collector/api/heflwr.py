"""The two routes that heflwr's RemoteMonitors and loggers post to: they come without a receiver of their own."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from litestar import MediaType, Response, post

from fedsight.collector.api.answers import AnyRequest, answers, parts_of
from fedsight.collector.errors import Refused
from fedsight.collector.heflwr import event_of

PATHS = ("/simple_log", "/log")
MAX_BODY_BYTES = 64 << 10
MAX_IDENTIFIERS = 1_000
"""Each has a journal: somebody who makes them up must not fill the disk with files."""


@post(
    list(PATHS),
    status_code=200,
    request_max_body_size=MAX_BODY_BYTES,
    media_type=MediaType.TEXT,
    tags=["shipping"],
    summary="Take what a heflwr RemoteMonitor sends",
    responses=answers(str, "It is on disk.", 400, 403, 413, 429, 503),
)
async def post_log(request: AnyRequest) -> Response[str]:
    """A form with `identifier` and `message`. Samples become samples of the node `identifier`, all else log lines."""
    producers = parts_of(request).producers
    if producers is None:
        raise Refused(404, "This is `fedsight view`, which takes nothing in; send to a `fedsight serve`.")
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
    try:
        event = event_of(form)
    except ValueError as error:
        field, _, what = str(error).partition(": ")
        raise Refused(400, f"{field}: {what}", field=field) from error
    subject = f"heflwr {form['identifier']}"
    if producers.num_made >= MAX_IDENTIFIERS and not producers.knows("monitor", subject):
        raise Refused(429, f"{MAX_IDENTIFIERS} identifiers have been heard of since the start; no more are taken.")
    try:
        await producers.append("monitor", subject, [event])
    except OSError as error:
        raise Refused(503, f"The collector could not write it ({error.strerror}); send it again later.") from error
    return Response("ok")


HANDLERS: list[Any] = [post_log]
