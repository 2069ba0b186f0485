"""Where OTLP metrics are posted to, and how its answers are read.

The SDK's own exporter isn't used for this: it draws from the process-wide random numbers at every
export (a seeded training would no longer repeat), says nothing of points that the receiver refused,
and logs each failure anew. The settings are the same as the SDK's, by argument or environment:
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import gzip
import os
import ssl
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from fedsight.errors import UsageError

_DEFAULT_TIMEOUT_SEC = 10.0
_REFUSED_FOR_GOOD = (400, 413, 422)


class PointsRefused(ValueError):
    """The receiver can't take these points, now or ever."""


class OTLPEndpoint:
    """One receiver of metrics. endpoint: None is `OTEL_EXPORTER_OTLP_…` or http://localhost:4318.

    Raises `UsageError` for a URL that is none.
    """

    def __init__(self, endpoint: str | None, headers: Mapping[str, str] | None) -> None:
        self.url = _metrics_url(endpoint)
        self._headers = {
            **_headers_of(_setting("HEADERS") or ""),
            **(headers or {}),
            "Content-Type": "application/x-protobuf",
            "User-Agent": "fedsight",
        }
        self._is_compressed = (_setting("COMPRESSION") or "").strip().lower() == "gzip"
        if self._is_compressed:
            self._headers["Content-Encoding"] = "gzip"
        self._timeout_sec = _seconds(_setting("TIMEOUT"))
        self._opener: urllib.request.OpenerDirector | None = None

    @property
    def told_url(self) -> str:
        """The URL without its query, which may hold a key."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    def post(self, body: bytes) -> bytes:
        """The receiver's answer to a request.

        Raises `PointsRefused` where a repetition is useless, `OSError` for all else that goes wrong.
        """
        request = urllib.request.Request(
            self.url, gzip.compress(body, 1) if self._is_compressed else body, self._headers, method="POST"
        )
        try:
            with self._opened().open(request, timeout=self._timeout_sec) as response:
                return bytes(response.read())
        except HTTPError as error:
            with error:
                why = _printable(error.read(500)) or error.reason
            text = f"{self.told_url} answered {error.code}: {why}"
            if error.code in _REFUSED_FOR_GOOD:
                raise PointsRefused(text) from error
            raise OSError(text) from error
        except URLError as error:
            raise OSError(f"{self.told_url}: {error.reason}") from error
        except (OSError, HTTPException) as error:
            raise OSError(f"{self.told_url}: {error or type(error).__name__}") from error

    def _opened(self) -> urllib.request.OpenerDirector:
        if self._opener is None:
            context = ssl.create_default_context(cafile=_setting("CERTIFICATE"))
            if certificate := _setting("CLIENT_CERTIFICATE"):
                context.load_cert_chain(certificate, _setting("CLIENT_KEY"))
            self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        return self._opener


def _setting(name: str) -> str | None:
    """Of metrics, else of all signals."""
    return os.environ.get(f"OTEL_EXPORTER_OTLP_METRICS_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or None


def _metrics_url(endpoint: str | None) -> str:
    if endpoint is None:
        if url := os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
            return _checked(url, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")  # as it is, says the specification
        base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
        return _checked(base, "OTEL_EXPORTER_OTLP_ENDPOINT").rstrip("/") + "/v1/metrics"
    url = _checked(endpoint, "endpoint")
    return url.rstrip("/") + "/v1/metrics" if urlsplit(url).path in ("", "/") else url


def _checked(url: object, field: str) -> str:
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not isinstance(url, str) or parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(field, f"{field} must be like http://127.0.0.1:4318, not {url!r}.")
    if "@" in parts.netloc:
        raise UsageError(field, f"{field} can't hold a user and a password: pass headers={{'Authorization': …}}.")
    return url


def _headers_of(text: str) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def _seconds(text: str | None) -> float:
    try:
        return float(text) if text else _DEFAULT_TIMEOUT_SEC
    except ValueError:
        return _DEFAULT_TIMEOUT_SEC


def _printable(body: bytes) -> str:
    """Of an answer that may be protobuf, what can be read."""
    text = body.decode(errors="ignore")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
