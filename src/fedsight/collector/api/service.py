"""The collector itself: its status, logging in and out, its API's page for people."""

from __future__ import annotations

import time
from typing import Any

import anyio.to_thread
import msgspec
from litestar import MediaType, Response, get, post
from litestar.datastructures import Cookie

from fedsight import __version__
from fedsight.collector.access import COOKIE
from fedsight.collector.api import schemas
from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of
from fedsight.collector.api.docs_page import docs_page
from fedsight.collector.api.times import iso
from fedsight.collector.cache import COMPONENTS, Cache
from fedsight.collector.errors import Refused
from fedsight.collector.tickets import LIFETIME_SEC
from fedsight.store import queries

COOKIE_AGE_SEC = 30 * 24 * 3600


@get(
    "/api/v1/status",
    tags=["service"],
    summary="What this is and how it does",
    responses=answers(schemas.StatusAnswer, "The collector's state."),
)
async def get_status(request: AnyRequest) -> Response[bytes]:
    """Version, mode, and how much is stored and waiting.

    Of components that this collector knows nothing of, what another one has put into Redis within 300 s is told.
    """
    parts = parts_of(request)
    now = time.time()
    status, around = await anyio.to_thread.run_sync(
        lambda: (queries.status(parts.store), queries.components(parts.store, now))
    )
    around = await _with_others(around, parts.cache)
    is_well = parts.indexer.stalled is None and all(state == "up" for state in around.states.values())
    return json_answer(
        request,
        schemas.StatusAnswer(
            name="fedsight",
            version=__version__,
            mode=parts.settings.mode,
            as_of=status.as_of,
            started_at=parts.started_at,
            num_runs=status.num_runs,
            num_journals=status.num_journals,
            pending_bytes=parts.indexer.pending_bytes,
            num_dead_letters=status.num_dead_letters,
            index_error=parts.indexer.stalled,
            timestamp=iso(now) or "",
            system_health="healthy" if is_well else "degraded",
            components=_components(around),
        ),
    )


class _Current(msgspec.Struct):
    """What stands in the cache of a component, besides its figures."""

    status: str
    last_update: float | None = None


async def _with_others(around: queries.Components, cache: Cache) -> queries.Components:
    for name in COMPONENTS:
        if getattr(around, name).state is not None:
            continue
        kept = await cache.current(name)
        try:
            told = msgspec.convert(kept, _Current) if kept is not None else None
        except msgspec.ValidationError:
            continue  # somebody else's: as good as not there
        if kept is not None and told is not None:
            setattr(around, name, queries.Component(told.status, kept, told.last_update))
    return around


def _components(around: queries.Components) -> schemas.StatusComponents:
    """In the words of the FLOPY-NET text."""
    fl_server, policy_engine, sdn = around.fl_server, around.policy_engine, around.sdn_controller
    return schemas.StatusComponents(
        fl_server=schemas.FlServerStatus(
            status=fl_server.state or "unknown",
            run_id=fl_server.figures.get("run_id"),
            current_round=fl_server.figures.get("current_round"),
            active_clients=fl_server.figures.get("active_clients"),
            last_update=iso(fl_server.last_ts),
        ),
        policy_engine=schemas.PolicyEngineStatus(
            status=_status(policy_engine, "active"),
            active_policies=policy_engine.figures.get("active_policies"),
            events_per_minute=policy_engine.figures.get("events_per_minute"),
            last_update=iso(policy_engine.last_ts),
        ),
        sdn_controller=schemas.SdnControllerStatus(
            status=_status(sdn, "connected"),
            managed_devices=sdn.figures.get("managed_devices"),
            active_flows=sdn.figures.get("active_flows"),
            last_update=iso(sdn.last_ts),
        ),
    )


def _status(component: queries.Component, up: str) -> str:
    return "unknown" if component.state is None else up if component.state == "up" else component.state


class Login(msgspec.Struct):
    """The body of a log-in."""

    token: str


@post(
    "/api/v1/login",
    status_code=200,
    tags=["service"],
    summary="Log a browser in",
    responses=answers(schemas.LoginAnswer, "The cookie is set.", 400),
)
async def login(request: AnyRequest, data: Login) -> Response[bytes]:
    """Exchange a token for a cookie, so that a browser may read."""
    grant = parts_of(request).access.login(data.token)
    if not grant.may_read():
        raise Refused(403, "This token may only ship journals; log in with one of the role viewer or admin.")
    answer = json_answer(request, schemas.LoginAnswer(grant.role, grant.name))
    answer.set_cookie(_cookie(request, data.token, COOKIE_AGE_SEC))
    return answer


@post(
    "/api/v1/ticket",
    status_code=200,
    tags=["live"],
    summary="Get a ticket for a stream",
    responses=answers(schemas.TicketAnswer, "Give it as `?ticket=`; it is good once, for 30 seconds.", 429),
)
async def post_ticket(request: AnyRequest) -> Response[bytes]:
    """For a browser's WebSocket or EventSource, which can send no header."""
    ticket = parts_of(request).tickets.issue(request.scope.get("fedsight.grant"))  # type: ignore[arg-type]
    answer = json_answer(request, schemas.TicketAnswer(ticket, time.time() + LIFETIME_SEC))
    answer.headers["cache-control"] = "no-store"
    return answer


@post(
    "/api/v1/logout",
    status_code=204,
    tags=["service"],
    summary="Log a browser out",
)
async def logout(request: AnyRequest) -> Response[None]:
    """Clear the cookie."""
    answer = Response(None)
    answer.set_cookie(_cookie(request, "", 0))
    return answer


def _cookie(request: AnyRequest, value: str, age_sec: int) -> Cookie:
    return Cookie(
        COOKIE,
        value=value,
        max_age=age_sec,
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
        path="/",
    )


@get("/api/docs", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=True)
def get_docs(request: AnyRequest) -> Response[str]:
    """The API's page for people."""
    page, policy = docs_page(request.app.openapi_schema.to_schema())
    return Response(page, media_type=MediaType.HTML, headers={"content-security-policy": policy})


HANDLERS: list[Any] = [get_status, login, logout, post_ticket, get_docs]
