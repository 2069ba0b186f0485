"""The HTTP endpoint that Prometheus scrapes: /metrics, the last reading. No web framework, no client library.

`http.server` would load TLS and e-mail parsing into the child; all that is needed is one path.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
import time
import weakref
from collections.abc import Callable

from fedsight.monitor.exposition import CONTENT_TYPE

_LONGEST_REQUEST_BYTES = 16 << 10
_TIMEOUT_SEC = 5.0


class PrometheusEndpoint:
    """Serves what `page` returns at http://addr:port/metrics. Raises `OSError` where the port can't be had."""

    def __init__(self, addr: str, port: int, page: Callable[[], bytes]) -> None:
        self._server = _Server(addr, port, page)
        self._addr = addr
        self._is_closing = False
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._run, name="fedsight-prometheus", daemon=True)
        self._thread.start()
        _endpoints.add(self)

    def _run(self) -> None:
        # Not serve_forever: it looks around twice a second, and closing would wait for that.
        while True:
            try:
                request, address = self._server.get_request()
            except OSError:
                if self._is_closing:
                    return
                time.sleep(0.1)  # out of descriptors, for example: others may give some back
                continue
            if self._is_closing:
                request.close()
                return
            self._server.process_request(request, address)

    def close(self) -> None:
        """No longer answer; the port is free when this returns."""
        _endpoints.discard(self)
        self._is_closing = True
        with contextlib.suppress(OSError):  # wakes the thread that waits for a connection
            socket.create_connection((self._addr, self.port), timeout=_TIMEOUT_SEC).close()
        self._thread.join(_TIMEOUT_SEC)
        self._server.server_close()

    def forget_after_fork(self) -> None:
        """In a forked child: the port is the parent's."""
        self._server.socket.close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, addr: str, port: int, page: Callable[[], bytes]) -> None:
        self.page = page
        self.address_family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        super().__init__((addr, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, or says nothing in time, is no trouble of ours."""


class _Handler(socketserver.StreamRequestHandler):
    timeout = _TIMEOUT_SEC
    server: _Server

    def handle(self) -> None:
        request = self.rfile.readline(_LONGEST_REQUEST_BYTES).split()
        left = _LONGEST_REQUEST_BYTES
        while left > 0 and (line := self.rfile.readline(left)) not in (b"\r\n", b"\n", b""):
            left -= len(line)
        if len(request) != 3 or left <= 0:
            self._answer("400 Bad Request", "text/plain", b"That is no HTTP request.\n")
        elif request[0] not in (b"GET", b"HEAD"):
            self._answer("405 Method Not Allowed", "text/plain", b"Only GET.\n")
        elif request[1].partition(b"?")[0] not in (b"/metrics", b"/"):
            self._answer("404 Not Found", "text/plain", b"The metrics are at /metrics.\n")
        else:
            self._answer("200 OK", CONTENT_TYPE, self.server.page(), is_head=request[0] == b"HEAD")

    def _answer(self, status: str, content_type: str, body: bytes, *, is_head: bool = False) -> None:
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.wfile.write(head.encode() + (b"" if is_head else body))


_endpoints: weakref.WeakSet[PrometheusEndpoint] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for endpoint in list(_endpoints):
        endpoint.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
