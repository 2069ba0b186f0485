"""The collector as one ASGI app: a front door that checks who comes in, the API behind it, the dashboard beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Receive, Scope, Send

from fedsight import __version__
from fedsight.collector import cors
from fedsight.collector.access import Caller, Denied, Grant, caller
from fedsight.collector.api import (
    flopynet,
    health,
    heflwr,
    hivewatch,
    live,
    metrics,
    network,
    otlp,
    policy,
    reads,
    samples,
    service,
    shipping,
    sources,
    system,
)
from fedsight.collector.dashboard import CONTENT_SECURITY_POLICY, Dashboard
from fedsight.collector.errors import CODES, Refused
from fedsight.collector.parts import Parts
from fedsight.collector.revocation import while_good
from fedsight.collector.self_metrics import registry_of
from fedsight.collector.settings import MB, Settings
from fedsight.collector.traffic_meter import DASHBOARD, ROUTED
from fedsight.errors import RunNotFound, UsageError

logger = logging.getLogger(__name__)

LOGIN_PATH = "/api/v1/login"
OPEN_PATHS = (LOGIN_PATH, "/api/v1/logout", *health.PROBES)
"""What everybody may call: how one gets in, and whether the collector is there."""

OUTSIDE_API = (*heflwr.PATHS, otlp.PATH, metrics.PATH, health.PATH, *health.PROBES)
"""Addresses that are the API's though they don't begin like it: others have made them well known."""

SHIPPING_PREFIX = "/api/v1/journals/"

STREAM_PATHS = ("/ws/metrics", "/api/v1/stream")
"""Where a ticket opens: a browser's WebSocket and EventSource can send no header."""

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def create_app(settings: Settings) -> FrontDoor:
    """The collector's ASGI app; it starts and stops with its lifespan.

    Raises `StoreError` when the index can't be opened, `UsageError` for settings that can't be meant.
    """
    parts = Parts(settings)
    return FrontDoor(parts, _api(parts), Dashboard())


class FrontDoor:
    """Decides, before anything else runs, whether a request may be, and who answers it."""

    def __init__(self, parts: Parts, api: ASGIApp, dashboard: ASGIApp) -> None:
        self.parts = parts
        self._api = api
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        await self.parts.traffic.measure(self._answer, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "lifespan":
            await self._api(scope, receive, send)
            return
        # Routes are matched on the path as it was sent: "%2F" in an id is part of the id.
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw.partition(b"?")[0].decode("latin-1")
        is_api = path == "/api" or path.startswith(("/api/", "/ws/"))
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        if kind == "http":
            is_api = is_api or path in OUTSIDE_API or hivewatch.is_for_us(path, _accept(scope))
            may_read = cors.headers_for(headers.get("origin"), self.parts.settings.cors_origins)
            send = _with_headers(send, None if is_api else CONTENT_SECURITY_POLICY, may_read)
        try:
            if is_api and cors.is_preflight(method_of(scope), headers):
                await _answer_preflight(send, self._who(scope, headers), self.parts)
                return
            self._check(scope, path, headers, is_api=is_api)
        except Denied as denied:
            await _deny(scope, send, denied)
            return
        grant: Grant | None = scope.get("fedsight.grant")  # type: ignore[assignment]
        if grant is not None:
            send = while_good(send, partial(self.parts.access.is_good, grant))
        routed: Any = {**scope, "path": path} if is_api else DASHBOARD
        scope[ROUTED] = routed  # type: ignore[literal-required]
        if is_api:
            await self._api(routed, receive, send)
        elif kind == "http":
            await self._dashboard(scope, receive, send)
        else:
            await _deny(scope, send, Denied(404, "not_found", f"There is no stream at {path!r}."))

    def _who(self, scope: Scope, headers: dict[str, str]) -> Caller:
        client = scope.get("client")
        return caller(client[0] if client else None, headers)

    def _check(self, scope: Scope, path: str, headers: dict[str, str], *, is_api: bool) -> None:
        """Raises `Denied`. What is not named here is a read."""
        who = self._who(scope, headers)
        access = self.parts.access
        access.check_host(who)
        kind: str = scope["type"]
        if is_api and method_of(scope) not in ("", "GET", "HEAD", "OPTIONS"):
            self._check_rate(who, path)
        if not is_api or path in OPEN_PATHS:
            return
        if "//" in path:
            # The router takes it for one "/": what is checked here would not be what answers.
            raise Denied(404, "not_found", f"There is nothing at {path!r}; /api/docs lists what there is.")
        if kind == "websocket":
            access.check_origin(who, self.parts.settings.cors_origins)
        if path.startswith(SHIPPING_PREFIX):
            scope["fedsight.grant"] = access.writer(who)  # type: ignore[typeddict-unknown-key]
        elif path in heflwr.PATHS:
            access.log_sender(who)
        elif path == otlp.PATH:
            scope["fedsight.grant"] = otlp.sender(access, who)  # type: ignore[typeddict-unknown-key]
        else:
            scope["fedsight.grant"] = self._reader(who, path, scope["query_string"])  # type: ignore[typeddict-unknown-key]

    def _check_rate(self, who: Caller, path: str) -> None:
        limit = self.parts.logins if path == LOGIN_PATH else self.parts.writes
        wait_sec = limit.wait_sec(who.peer or "")
        if wait_sec:
            raise Denied(429, "too_many_requests", f"Too many requests; ask again in {wait_sec} s.", wait_sec)

    def _reader(self, who: Caller, path: str, query: bytes) -> Grant | None:
        """The grant of a reader, its ticket's where it has one; None where reads are open to it. Raises `Denied`."""
        access = self.parts.access
        try:
            return access.reader(who)
        except Denied:
            text = parse_qs(query.decode("latin-1")).get("ticket", [""])[0] if path in STREAM_PATHS else ""
            if not text:
                raise
            ticket = self.parts.tickets.redeem(text)
            if ticket is None or (ticket.grant is not None and not access.is_good(ticket.grant)):
                raise Denied(
                    401, "unauthorized", "The ticket is not known, was used, or is too old; POST /api/v1/ticket anew."
                ) from None
            return ticket.grant


def method_of(scope: Scope) -> str:
    """The method of a request; empty for what has none (a WebSocket)."""
    return str(scope.get("method", ""))


def _accept(scope: Scope) -> str:
    return b",".join(value for name, value in scope["headers"] if name.lower() == b"accept").decode("latin-1")


def _with_headers(send: Send, policy: str | None, more: cors.Headers) -> Send:
    async def send_with_headers(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), *SECURITY_HEADERS, *more]
            if policy is not None:
                headers.append((b"content-security-policy", policy.encode()))
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


async def _answer_preflight(send: Send, who: Caller, parts: Parts) -> None:
    parts.access.check_host(who)
    await send({"type": "http.response.start", "status": 204, "headers": cors.preflight_headers()})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _deny(scope: Scope, send: Send, denied: Denied) -> None:
    kind: str = scope["type"]
    if kind == "websocket":
        # Before it was accepted, this becomes a plain 403.
        await send({"type": "websocket.close", "code": 1008, "reason": denied.message})
        return
    body = Refused(denied.status, denied.message, code=denied.code).body()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if denied.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if denied.retry_after_sec is not None:
        headers.append((b"retry-after", str(denied.retry_after_sec).encode()))
    await send({"type": "http.response.start", "status": denied.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _api(parts: Parts) -> Litestar:
    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        parts.start()
        try:
            yield
        finally:
            parts.hub.close()
            await anyio.to_thread.run_sync(parts.stop)

    return Litestar(
        route_handlers=[
            *service.HANDLERS,
            *sources.HANDLERS,
            *reads.HANDLERS,
            *samples.HANDLERS,
            *flopynet.HANDLERS,
            *network.HANDLERS,
            *policy.HANDLERS,
            *system.HANDLERS,
            *live.HANDLERS,
            *shipping.HANDLERS,
            *hivewatch.HANDLERS,
            *heflwr.HANDLERS,
            *otlp.HANDLERS,
            *health.HANDLERS,
            *metrics.HANDLERS,
        ],
        lifespan=[running],
        state=State({"parts": parts, "metrics_registry": registry_of(parts)}),
        openapi_config=OpenAPIConfig(
            title="Fedsight",
            version=__version__,
            description="Observability for federated learning: runs, rounds and clients, as they happen.",
            path="/api",
            render_plugins=[JsonRenderPlugin(path="/openapi.json", media_type="application/json")],  # type: ignore[arg-type]
            use_handler_docstrings=True,
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            security=[{}, {"token": []}],
        ),
        exception_handlers={
            Refused: _refused,
            Denied: _denied,
            RunNotFound: _run_not_found,
            UsageError: _usage_error,
            HTTPException: _http_error,
            RecursionError: _too_deep,
            Exception: _internal_error,
        },
        request_max_body_size=1 * MB,
        logging_config=None,
    )


# ── faults ────────────────────────────────────────────────────────────────────────────────────


def _refused(_: Request[Any, Any, Any], error: Refused) -> Response[bytes]:
    return Response(error.body(), status_code=error.status, media_type="application/json", headers=error.headers)


def _denied(request: Request[Any, Any, Any], error: Denied) -> Response[bytes]:
    return _refused(request, Refused(error.status, error.message, code=error.code))


def _run_not_found(request: Request[Any, Any, Any], error: RunNotFound) -> Response[bytes]:
    return _refused(request, Refused(404, str(error), field="run_id"))


def _usage_error(request: Request[Any, Any, Any], error: UsageError) -> Response[bytes]:
    return _refused(request, Refused(400, str(error), field=error.field))


_MISSING = re.compile(r"missing required (?:field|query parameter) [`'](\w+)[`']", re.IGNORECASE)
_QUERY_NAMES = {"of": "scope", "from_": "from", "run_state": "state", "last_event_id": "last-event-id"}
"""Parameters whose names in a query Python can't (or the framework won't) have."""


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework itself refuses: unknown paths, wrong methods, parameters of the wrong type."""
    field: str | None = None
    message = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first: Any = error.extra[0]
        message = str(first.get("message"))
        missing = _MISSING.search(message)
        key = missing[1] if missing else first.get("key")
        field = _QUERY_NAMES.get(key, key)
        message = f"{field}: {message}" if field else message
    elif missing := _MISSING.search(message):
        field = missing[1]
        message = f"{field}: this parameter is needed"
    elif error.status_code == 404:
        message = f"There is nothing at {request.scope['path']!r}; /api/docs lists what there is."
    code = CODES.get(error.status_code, "error")
    headers = {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"}
    return _refused(request, Refused(error.status_code, message, code=code, field=field, headers=headers))


def _too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    return _refused(request, Refused(400, "The body is nested too deeply."))


def _internal_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    logger.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    return _refused(request, Refused(500, f"The collector failed ({type(error).__name__}); its log says more."))
