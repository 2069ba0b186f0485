"""A stream ends when the token that opened it is taken away."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from litestar.types import Send

CHECK_SEC = 1.0
"""So long at most is told on a token that is no more."""

_LAST: dict[str, dict[str, Any]] = {
    "http.response.body": {"type": "http.response.body", "body": b"", "more_body": False},
    "websocket.send": {"type": "websocket.close", "code": 1008, "reason": "the token was taken away"},
}
"""What stands in a message's place where the token has gone; the server then tells the handler that its reader left."""


def while_good(send: Send, is_good: Callable[[], bool], clock: Callable[[], float] = monotonic) -> Send:
    """`send` as long as `is_good`; behind it nothing."""
    checked_at = clock()
    is_over = False

    async def send_while_good(message: Any) -> None:
        nonlocal checked_at, is_over
        if is_over:
            return
        # What is not a stream is answered whole: it has said how long it is.
        is_stream = message["type"] == "websocket.send" or message.get("more_body", False)
        if is_stream and clock() - checked_at >= CHECK_SEC:
            checked_at = clock()
            is_over = not is_good()
        await send(_LAST[message["type"]] if is_over else message)  # type: ignore[arg-type]

    return send_while_good
