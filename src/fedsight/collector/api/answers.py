"""What all handlers share: the parts of the running collector, path ids, packed JSON answers, their documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec

from fedsight import __version__
from fedsight.collector.api.tables import TableLike, compress, encode, table_json
from fedsight.collector.errors import ErrorAnswer, Refused
from fedsight.collector.parts import Parts

AnyRequest = Request[Any, Any, Any]


def parts_of(request: AnyRequest) -> Parts:
    """The running collector's parts."""
    parts: Parts = request.app.state.parts
    return parts


def path_id(text: str, field: str) -> str:
    """An id as it stands percent-encoded in a path.

    Raises `Refused` (400) when it is not UTF-8.
    """
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Refused(400, f"{text!r} is not percent-encoded UTF-8", field=field) from None


def json_answer(request: AnyRequest, value: Any, *, as_of: str | None = None) -> Response[bytes]:
    """`value` as JSON, packed where that pays. as_of: where it says all that was true then, and nothing else."""
    return _packed(request, lambda: encode(value), as_of)


def table_answer(request: AnyRequest, table: TableLike) -> Response[bytes]:
    """A table as columnar JSON, packed where that pays; 304 where the caller has it already."""
    return _packed(request, lambda: table_json(table), table.as_of)


def etag_of(as_of: str) -> str:
    """The tag of an answer that the store alone decides: weak, for it is the same in every packing."""
    return f'W/"{as_of}-{__version__}"'


def _packed(request: AnyRequest, make_body: Callable[[], bytes], as_of: str | None) -> Response[bytes]:
    # Whoever may keep an answer asks each time whether it still holds, and whether they still may have it.
    headers = {"cache-control": "no-store" if as_of is None else "private, no-cache", "vary": "accept-encoding"}
    if as_of is not None:
        headers["etag"] = etag_of(as_of)
        if is_known(request.headers.get("if-none-match", ""), headers["etag"]):
            return Response(b"", status_code=304, headers=headers)
    body, encoding = compress(make_body(), request.headers.get("accept-encoding", ""))
    if encoding is not None:
        headers["content-encoding"] = encoding
    return Response(body, media_type="application/json", headers=headers)


def is_known(if_none_match: str, etag: str) -> bool:
    """Whether the header names the tag (RFC 9110, 13.1.2: compared weakly)."""
    bare = etag.removeprefix("W/")
    return any(tag.strip().removeprefix("W/") in (bare, "*") for tag in if_none_match.split(","))


_FAULTS = {
    400: "A parameter is wrong; `error.field` names it.",
    401: "A token is needed, or the one given is not known.",
    403: "The token may not do this.",
    404: "There is no such run, client or journal.",
    409: "The collector's copy ends elsewhere; go on from `offset`.",
    413: "The body is too large.",
    415: "The body's type or packing is not supported.",
    429: "Too much or too often; send again after `Retry-After` seconds.",
    503: "The collector can't write at present; nothing of the body was kept.",
}


def answers(
    shape: type, description: str, *faults: int, status: int = 200, media_type: str = "application/json"
) -> dict[int, ResponseSpec]:
    """The OpenAPI description of a handler's answers."""
    described = {status: ResponseSpec(shape, description=description, generate_examples=False, media_type=media_type)}
    for fault in (401, 403, *faults):
        described[fault] = ResponseSpec(ErrorAnswer, description=_FAULTS[fault], generate_examples=False)
    return dict(sorted(described.items()))
