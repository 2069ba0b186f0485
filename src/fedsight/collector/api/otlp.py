"""OTLP over HTTP: what any OpenTelemetry SDK or Collector exports by `/v1/metrics`."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio.to_thread
import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from fedsight.collector.access import Access, Caller, Denied, Grant
from fedsight.collector.api.answers import AnyRequest, answers, parts_of
from fedsight.collector.bodies import unpack
from fedsight.collector.errors import Refused
from fedsight.collector.otlp import Node, Unreadable, nodes_of
from fedsight.collector.producer import Producers
from fedsight.collector.settings import MB, is_loopback

PATH = "/v1/metrics"
MAX_BODY_BYTES = 4 * MB
MAX_DECODED_BYTES = 16 * MB
MAX_NODES = 1_000
"""Each has a journal: somebody who makes them up must not fill the disk with files."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"

INVALID_ARGUMENT, UNAVAILABLE = 3, 14
"""Codes of google.rpc.Status."""


def sender(access: Access, who: Caller) -> Grant | None:
    """The grant of a caller who reports metrics; None where this machine may without a token.

    A token opens it as it opens shipping: roles producer and admin. Without one, it is open to this machine alone, where the collector
    listens to this machine alone, and never to a web page. Raises `Denied`.
    """
    if who.origin is not None:  # a page of any site can post to this machine
        raise Denied(403, "forbidden_origin", f"A page of {who.origin!r} may not send metrics here.")
    if who.bearer is None and access.on_loopback and not who.forwarded and who.peer and is_loopback(who.peer):
        return None
    grant = access.login(who.bearer)
    if grant.role == "viewer":
        raise Denied(403, "forbidden", "This token may only read; metrics need one with the role producer or admin.")
    return grant


class _Status(msgspec.Struct):
    """google.rpc.Status, in which OTLP tells faults."""

    code: int
    message: str


class PartialSuccess(msgspec.Struct, rename="camel", omit_defaults=True):
    """What was not kept of a request."""

    rejected_data_points: str = "0"
    error_message: str = ""


class ExportAnswer(msgspec.Struct, rename="camel", omit_defaults=True):
    """ExportMetricsServiceResponse."""

    partial_success: PartialSuccess | None = None


@post(
    PATH,
    status_code=200,
    request_max_body_size=MAX_BODY_BYTES,
    tags=["shipping"],
    summary="Take OpenTelemetry metrics",
    responses={
        **answers(ExportAnswer, "It is on disk, but for what `partialSuccess` says.", 413, 415, 429),
        400: ResponseSpec(_Status, description="The body is no OTLP request.", generate_examples=False),
        503: ResponseSpec(_Status, description="It can't be written at present.", generate_examples=False),
    },
)
async def post_metrics(request: AnyRequest) -> Response[bytes]:
    """An OTLP `ExportMetricsServiceRequest`, protobuf or JSON, gzip or not. Its data points become samples of a node."""
    producers = parts_of(request).producers
    if producers is None:
        raise Refused(404, "This is `fedsight view`, which takes nothing in; send to a `fedsight serve`.")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (PROTOBUF, JSON):
        raise Refused(
            415, f"Content-Type {content_type!r} is not supported; use {PROTOBUF} or {JSON}", field="content-type"
        )
    is_json = content_type == JSON
    grant: Grant | None = request.scope.get("fedsight.grant")  # type: ignore[assignment]
    body, encoding = await request.body(), request.headers.get("content-encoding", "").lower()
    try:
        nodes = await anyio.to_thread.run_sync(partial(_read, body, encoding, is_json))
    except Unreadable as error:
        return _fault(400, INVALID_ARGUMENT, f"the body is no OTLP metrics request: {error}", is_json)
    try:
        num_rejected, reason = await _keep(producers, nodes, grant)
    except OSError as error:
        message = f"the collector could not write it ({error.strerror}); send it again later"
        return _fault(503, UNAVAILABLE, message, is_json)
    return _answer(num_rejected, reason, is_json)


def _read(body: bytes, encoding: str, is_json: bool) -> list[Node]:
    return nodes_of(unpack(body, encoding, MAX_DECODED_BYTES), is_json=is_json)


async def _keep(producers: Producers, nodes: list[Node], grant: Grant | None) -> tuple[int, str]:
    """Append what there is; how many points were not kept, and why.

    Raises `OSError`: a node's samples are kept whole or not at all, those of the nodes before it are.
    """
    num_rejected, reason = 0, ""
    run_id, client_id = (grant.run, grant.client) if grant is not None else (None, None)
    for node in nodes:
        if node.num_rejected:
            num_rejected += node.num_rejected
            reason = "a metric's name with its attributes is too long"
        if not node.samples:
            continue
        # What a token is bound to stands in the journal's header: its samples are that run's and client's.
        subject = f"otlp {node.name}" if grant is None else f"otlp {node.name}\n{run_id}\n{client_id}"
        if producers.num_made >= MAX_NODES and not producers.knows("monitor", subject):
            num_rejected += node.num_points - node.num_rejected
            reason = f"{MAX_NODES} nodes have been heard of since the start; no more are taken"
            continue
        await producers.append("monitor", subject, node.samples, run_id=run_id, client_id=client_id)
    return num_rejected, reason


def _answer(num_rejected: int, reason: str, is_json: bool) -> Response[bytes]:
    if is_json:
        told = ExportAnswer(PartialSuccess(str(num_rejected), reason) if num_rejected else None)
        return Response(msgspec.json.encode(told), media_type=JSON)
    response = ExportMetricsServiceResponse()
    if num_rejected:
        partial_success = ExportMetricsPartialSuccess(rejected_data_points=num_rejected, error_message=reason)
        response.partial_success.CopyFrom(partial_success)
    return Response(response.SerializeToString(), media_type=PROTOBUF)


def _fault(status: int, code: int, message: str, is_json: bool) -> Response[bytes]:
    headers = {"retry-after": "5"} if status == 503 else {}
    if is_json:
        return Response(
            msgspec.json.encode(_Status(code, message)), status_code=status, media_type=JSON, headers=headers
        )
    text = message.encode()[:4000]
    # Status in protobuf: 1: int32 code, 2: string message.
    data = bytes((0x08, code, 0x12)) + _varint(len(text)) + text
    return Response(data, status_code=status, media_type=PROTOBUF, headers=headers)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


HANDLERS: list[Any] = [post_metrics]
