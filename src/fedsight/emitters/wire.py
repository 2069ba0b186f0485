"""HTTP to a collector, with the standard library alone: one kept connection, plain answers."""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - looked up at the first connection: a fork amid its import would break the child
import gzip
import http.client
import importlib
import ssl
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec

from fedsight.errors import ShippingError, UsageError

_COMPRESS_FROM_BYTES = 512

_MAX_ANSWER_BYTES = 1 << 20
"""A collector's answers are short; what is longer comes from something else, and must not fill the training's memory."""


class Unreachable(Exception):
    """The collector can't take it now: try again, after `retry_after_sec` where it said so."""

    def __init__(self, why: str, retry_after_sec: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_sec = retry_after_sec


class Moved(Exception):
    """The collector is at another offset than the sender thought: ask where, and go on from there."""


class Whereabouts(msgspec.Struct):
    """How much of a journal the collector has: `offset` bytes, the last line hashing to `last_line`."""

    offset: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
    last_line: str | None = None


class CollectorConnection:
    """A connection to one collector, opened when needed and again when broken.

    Raises `UsageError` for a URL that is not http(s)://host[:port][/path].
    """

    def __init__(self, url: str, token: str | None, timeout_sec: float) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UsageError("url", f"url must be like http://127.0.0.1:8083, not {url!r}.")
        self._host: str = parts.hostname
        self._port = port
        self._is_tls = parts.scheme == "https"
        self._base = parts.path.rstrip("/")
        self._timeout_sec = timeout_sec
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._encoding, self._compress = _best_compression()
        self._http: http.client.HTTPConnection | None = None

    def where(self, journal: str) -> Whereabouts | None:
        """How far the collector has `journal`; None when it doesn't know it."""
        status, headers, body = self._request("GET", f"/api/v1/journals/{quote(journal, safe='')}")
        if status == 404:
            return None
        _require(status, headers, body, 200)
        return _whereabouts(body)

    def post(self, journal: str, offset: int, data: bytes) -> int:
        """Send whole lines that begin at `offset` (none: a heartbeat). The collector's offset after it."""
        headers = {"Content-Type": "application/x-ndjson"}
        if len(data) >= _COMPRESS_FROM_BYTES:
            data = self._compress(data)
            headers["Content-Encoding"] = self._encoding
        path = f"/api/v1/journals/{quote(journal, safe='')}?offset={offset}"
        status, answer_headers, body = self._request("POST", path, data, headers)
        if status == 409:
            raise Moved
        _require(status, answer_headers, body, 200)
        return _whereabouts(body).offset

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        # A connection that lay idle may have been closed at the other end: that is no outage.
        for is_kept in (True, False) if self._http is not None else (False,):
            try:
                return self._exchange(method, path, body, {**self._headers, **(headers or {})})
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not is_kept:
                    raise Unreachable(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        raise AssertionError("unreachable")

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._http is None:
            self._http = self._connect()
        self._http.request(method, self._base + path, body, headers)
        response = self._http.getresponse()
        answer = response.read(_MAX_ANSWER_BYTES)
        if not response.isclosed():  # there is more of it
            self.close()
        return response.status, response.headers, answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_sec, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_sec)

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self._http is not None:
            with contextlib.suppress(OSError):
                self._http.close()
            self._http = None


def _whereabouts(body: bytes) -> Whereabouts:
    try:
        return msgspec.json.decode(body, type=Whereabouts)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ShippingError("what answers at that address is no Fedsight collector; check the URL") from error


def _require(status: int, headers: http.client.HTTPMessage, body: bytes, wanted: int) -> None:
    if status == wanted:
        return
    said = _message(body) or f"HTTP {status}"
    if status == 401:
        raise ShippingError("the collector knows no such token: give the emitter one, or set FEDSIGHT_TOKEN (HTTP 401)")
    if status == 429 or status >= 500 or status == 408:
        raise Unreachable(said, _seconds(headers.get("Retry-After")))
    raise ShippingError(f"the collector refused it (HTTP {status}): {said}")


def _message(body: bytes) -> str | None:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return None


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else min(max(float(text), 0.0), 60.0)
    except ValueError:
        return None


def _best_compression() -> tuple[str, Callable[[bytes], bytes]]:
    """Zstd where Python or a package has it (a third of the time), else gzip."""
    with contextlib.suppress(ImportError):
        compress: Any = importlib.import_module("compression.zstd").compress
        return "zstd", lambda data: bytes(compress(data, 1))
    with contextlib.suppress(ImportError):
        compressor: Any = importlib.import_module("zstandard").ZstdCompressor(level=1)
        return "zstd", lambda data: bytes(compressor.compress(data))
    return "gzip", lambda data: gzip.compress(data, 1, mtime=0)
