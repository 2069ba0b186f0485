"""The collector itself: its status, logging in and out, its API's page for people."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import MediaType, Response, get, post
from litestar.datastructures import Cookie

from fedsight import __version__
from fedsight.collector.access import COOKIE
from fedsight.collector.api import schemas
from fedsight.collector.api.answers import AnyRequest, answers, json_answer, parts_of
from fedsight.collector.api.docs_page import docs_page
from fedsight.collector.errors import Refused
from fedsight.store import queries

COOKIE_AGE_SEC = 30 * 24 * 3600


@get(
    "/api/v1/status",
    sync_to_thread=True,
    tags=["service"],
    summary="What this is and how it does",
    responses=answers(schemas.StatusAnswer, "The collector's state."),
)
def get_status(request: AnyRequest) -> Response[bytes]:
    """Version, mode, and how much is stored and waiting."""
    parts = parts_of(request)
    status = queries.status(parts.store)
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
        ),
    )


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


HANDLERS: list[Any] = [get_status, login, logout, get_docs]
