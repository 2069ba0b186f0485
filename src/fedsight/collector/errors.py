"""What the HTTP API answers when it refuses: one JSON shape for every fault."""

from __future__ import annotations

from typing import Any

import msgspec

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "offset_mismatch",
    413: "too_large",
    415: "unsupported_media_type",
    429: "overloaded",
    500: "internal_error",
    503: "unavailable",
}


class Fault(msgspec.Struct, omit_defaults=True):
    """What was wrong: a code for programs, a message for people, the field where there is one."""

    code: str
    message: str
    field: str | None = None


class ErrorAnswer(msgspec.Struct, omit_defaults=True):
    """The body of every answer that is no success. `offset` and `last_line` come with `offset_mismatch`."""

    error: Fault
    offset: int | None = None
    last_line: str | None = None


class Refused(Exception):
    """A request that can't be done; becomes an `ErrorAnswer`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        headers: dict[str, str] | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.answer = ErrorAnswer(Fault(code or CODES[status], message, field), **rest)

    def body(self) -> bytes:
        """The answer as JSON."""
        return msgspec.json.encode(self.answer)
