"""What pages of other origins may ask (CORS): nothing, unless the settings name the origin."""

from __future__ import annotations

from collections.abc import Collection

METHODS = b"GET, HEAD, POST"
ALLOWED_HEADERS = b"authorization, content-type, content-encoding, if-none-match, last-event-id"
EXPOSED_HEADERS = b"etag, retry-after"
PREFLIGHT_AGE_SEC = 600

Headers = list[tuple[bytes, bytes]]


def headers_for(origin: str | None, allowed: Collection[str]) -> Headers:
    """The headers that let a page of `origin` read an answer. Cookies don't count there: its token goes in a header."""
    if not allowed:
        return []
    vary = (b"vary", b"origin")
    if origin is None or origin not in allowed:
        return [vary]
    return [
        vary,
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED_HEADERS),
    ]


def is_preflight(method: str, headers: dict[str, str]) -> bool:
    """Whether a browser asks beforehand what a page may."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_headers() -> Headers:
    """The headers of the answer to that, besides `headers_for`."""
    return [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", ALLOWED_HEADERS),
        (b"access-control-max-age", str(PREFLIGHT_AGE_SEC).encode()),
        (b"content-length", b"0"),
    ]
