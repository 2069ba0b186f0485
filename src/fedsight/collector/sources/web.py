"""HTTP for sources: a largest body, no redirects, no proxies of the environment, one clear error without secrets."""

from __future__ import annotations

import json
import ssl
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio.to_thread
import httpx
import msgspec

from fedsight.collector.sources.config import Access
from fedsight.collector.sources.source import SourceDown

T = TypeVar("T")

MB = 1 << 20
THREAD_BYTES = 256 << 10
"""Longer bodies are decoded in a thread: the collector answers others meanwhile."""


class Answered(SourceDown):
    """The system answered, with a status that is no success."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_absent(self) -> bool:
        """Whether there is no such path, in this version of the system or at all."""
        return self.status in (404, 405, 410, 501)


class HttpWeb:
    """The `Web` of one source. Paths are taken as under its URL; what opens the source is sent to no other host."""

    def __init__(self, base_url: str, access: Access, timeout_sec: float) -> None:
        self._base = httpx.URL(base_url)
        self._max_bytes = access.max_body_mb * MB
        self._timeout_sec = timeout_sec
        self._headers = {"authorization": f"Bearer {access.token}"} if access.token else {}
        self._auth: httpx.BasicAuth | None = None
        if access.username is not None:
            self._auth = httpx.BasicAuth(access.username, access.password or "")
        self._client = httpx.AsyncClient(
            verify=_certificates(access.ca_file),
            trust_env=False,
            follow_redirects=False,
            timeout=timeout_sec,
            # Unpacking could blow a small body up: it is asked for as it is.
            headers={"user-agent": "fedsight", "accept-encoding": "identity"},
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=2),
        )

    async def json(self, url: str, **params: Any) -> Any:
        """GET and decode; numbers that JSON does not have (NaN) are taken as Python's servers write them."""
        body, where = await self._get(url, params)
        try:
            if len(body) < THREAD_BYTES:
                return _decode_json(body)
            return await anyio.to_thread.run_sync(_decode_json, body)
        except (ValueError, RecursionError) as error:
            kind = "HTML" if body.lstrip()[:1] == b"<" else "no whole JSON"
            raise SourceDown(f"{where} answered {kind} where JSON was expected") from error

    async def text(self, url: str, **params: Any) -> str:
        """GET as text (UTF-8; what is none is replaced)."""
        body, _ = await self._get(url, params)
        return body.decode("utf-8", "replace")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _get(self, url: str, params: dict[str, Any]) -> tuple[bytes, str]:
        target = self._target(url)
        if params:
            target = target.copy_merge_params({k: v for k, v in params.items() if v is not None})
        where = f"GET {target.path}"
        try:
            try:
                return await self._ask(target, where), where
            except httpx.RemoteProtocolError as error:
                if "without sending a response" not in str(error):
                    raise
                # It hung up on a connection that we kept, just when we spoke.
                return await self._ask(target, where), where
        except httpx.TimeoutException as error:
            raise SourceDown(f"{where}: no answer within {self._timeout_sec:g} s") from error
        except httpx.ConnectError as error:
            raise SourceDown(f"no connection to {target.host}:{target.port or target.scheme}") from error
        except httpx.RemoteProtocolError as error:
            raise SourceDown(f"{where}: the answer broke off, or is no HTTP") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceDown(f"{where}: {type(error).__name__}") from error

    async def _ask(self, target: httpx.URL, where: str) -> bytes:
        ours = (target.scheme, target.host, target.port) == (self._base.scheme, self._base.host, self._base.port)
        async with self._client.stream(
            "GET", target, headers=self._headers if ours else {}, auth=self._auth if ours else None
        ) as answer:
            if not answer.is_success:
                raise Answered(
                    f"{where} answered {answer.status_code} {answer.reason_phrase}".rstrip(), answer.status_code
                )
            packing = answer.headers.get("content-encoding", "identity")
            if packing != "identity":
                raise SourceDown(f"{where} answered packed ({packing}), unasked")
            return await self._body(answer, where)

    async def _body(self, answer: httpx.Response, where: str) -> bytes:
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > self._max_bytes:
                raise SourceDown(f"{where} answered more than {self._max_bytes // MB} MiB")
        return bytes(body)

    def _target(self, url: str) -> httpx.URL:
        if "://" in url:
            return httpx.URL(url)
        path, _, query = url.partition("?")
        base = self._base.copy_with(path=f"{self._base.path.rstrip('/')}/{path.lstrip('/')}".rstrip("/") or "/")
        return base.copy_with(query=query.encode()) if query else base


def _certificates(ca_file: str | None) -> Any:
    if ca_file is None:
        return True
    return ssl.create_default_context(cafile=ca_file)


def _decode_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.MsgspecError:
        # NaN and Infinity, as Python writes them.
        found = json.loads(body)
    return _whole(found) if b"\\ud" in body.lower() else found


def _whole(value: Any) -> Any:
    """`value` with halves of surrogate pairs, which no UTF-8 can hold, replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


async def if_there(answer: Coroutine[Any, Any, T]) -> T | None:
    """The answer, None where the system has no such path."""
    try:
        return await answer
    except Answered as error:
        if error.is_absent:
            return None
        raise
