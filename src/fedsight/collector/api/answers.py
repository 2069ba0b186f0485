"""What all handlers share: the parts of the running collector, path ids, packed JSON answers, their documentation."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec

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


def json_answer(request: AnyRequest, value: Any) -> Response[bytes]:
    """`value` as JSON, packed where that pays."""
    return _packed(request, encode(value))


def table_answer(request: AnyRequest, table: TableLike) -> Response[bytes]:
    """A table as columnar JSON, packed where that pays."""
    return _packed(request, table_json(table))


def _packed(request: AnyRequest, body: bytes) -> Response[bytes]:
    body, encoding = compress(body, request.headers.get("accept-encoding", ""))
    headers = {"cache-control": "no-store", "vary": "accept-encoding"}
    if encoding is not None:
        headers["content-encoding"] = encoding
    return Response(body, media_type="application/json", headers=headers)


_FAULTS = {
    400: "A parameter is wrong; `error.field` names it.",
    401: "A token is needed, or the one given is not known.",
    403: "The token may not do this.",
    404: "There is no such run, client or journal.",
    409: "The collector's copy ends elsewhere; go on from `offset`.",
    413: "The body is too large.",
    415: "The body's type or packing is not supported.",
    429: "The collector is behind; send again after `Retry-After` seconds.",
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
