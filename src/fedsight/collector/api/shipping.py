"""The producers' routes: ship a journal, ask how far its copy goes."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import Parameter

from fedsight.collector.access import Grant
from fedsight.collector.api import schemas
from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of, path_id
from fedsight.collector.errors import Refused
from fedsight.collector.ingest import Held, Ingest

CONTENT_TYPES = ("application/x-ndjson", "application/octet-stream", "")

JournalId = Annotated[str, Parameter(description="The journal's id: `journal` in its header line.")]


@get(
    "/api/v1/journals/{journal:str}",
    tags=["shipping"],
    summary="How far a journal has arrived",
    responses=answers(Held, "Go on from `offset`, if your line before it has the SHA-256 `last_line`.", 400, 404),
)
async def get_journal(request: AnyRequest, journal: JournalId) -> Response[bytes]:
    """What a sender asks first."""
    return json_answer(request, await _ingest(request).held(path_id(journal, "journal"), _grant(request)))


@post(
    "/api/v1/journals/{journal:str}",
    status_code=200,
    request_max_body_size=None,  # Ingest counts for itself, and says more
    tags=["shipping"],
    summary="Ship lines of a journal",
    responses=answers(schemas.OffsetAnswer, "The bytes are on disk.", 400, 404, 409, 413, 415, 429, 503),
)
async def post_journal(
    request: AnyRequest,
    journal: JournalId,
    offset: Annotated[int, Parameter(ge=0, le=1 << 62, description="The stream offset at which the body begins.")],
) -> Response[bytes]:
    """The body is whole lines of the journal (NDJSON, at most 8 MiB; `Content-Encoding: gzip` or `zstd`).

    An empty body is a heartbeat. The first body of a journal begins with its header line.
    """
    ingest = _ingest(request)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise Refused(
            415, f"Content-Type {content_type!r} is not supported; use application/x-ndjson", field="content-type"
        )
    encoding = request.headers.get("content-encoding", "").strip().lower()
    length = request.headers.get("content-length")
    end = await ingest.receive(
        path_id(journal, "journal"),
        offset,
        _grant(request),
        encoding,
        int(length) if length is not None and length.isdigit() else None,
        request.stream(),
    )
    return json_answer(request, schemas.OffsetAnswer(end))


def _ingest(request: AnyRequest) -> Ingest:
    ingest = parts_of(request).ingest
    if ingest is None:
        raise Refused(404, "This is `fedsight view`, which takes nothing in; ship to a `fedsight serve`.")
    return ingest


def _grant(request: AnyRequest) -> Grant:
    """What the front door found out about the caller."""
    grant: Grant = request.scope["fedsight.grant"]  # type: ignore[typeddict-item]
    return grant


HANDLERS: list[Any] = [get_journal, post_journal]
