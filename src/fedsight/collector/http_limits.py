"""How slowly a connection may say what it wants, and with how much: uvicorn itself waits for ever, for any amount."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
"""Of a request: its first line and its headers."""

PATIENCE_SEC = 30.0
"""So long a new connection, or one that has begun a request, may take to bring the head to its end."""

MIN_BODY_BYTES = 4 << 10
"""So much of a body must come in that time, each time anew, or its end."""


class LimitedHttp(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it; a head that is too long, and a request that comes too slowly, end the connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._num_bytes = 0
        """Of the head so far, or of the body since the last look."""
        self._is_in_head = True
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and has said nothing yet."""
        super().connection_made(transport)
        self._expect(head=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._expect(head=True)

    def on_headers_complete(self) -> None:
        """It has said what it wants; a body may come."""
        self._expect(head=False)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there."""
        self._stop_timer()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """More bytes; those of a head are limited."""
        self._num_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._num_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head is longer than {MAX_HEAD_BYTES} bytes.")

    def _expect(self, *, head: bool) -> None:
        self._num_bytes, self._is_in_head = 0, head
        self._stop_timer()
        self._timer = self.loop.call_later(PATIENCE_SEC, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # a WebSocket by now
            return
        # While it is we who do not read, nothing can come.
        if not self._is_in_head and (self.flow.read_paused or self._num_bytes >= MIN_BODY_BYTES):
            self._expect(head=False)
        else:
            self.transport.close()
