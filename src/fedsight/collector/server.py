"""Running the collector: the socket, uvicorn, and an end that waits for nobody."""

from __future__ import annotations

import errno
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import uvicorn

from fedsight.collector.app import FrontDoor, create_app
from fedsight.collector.http_limits import LimitedHttp
from fedsight.collector.lock import FolderLock
from fedsight.collector.settings import Settings
from fedsight.collector.tls import Tls
from fedsight.errors import UsageError

logger = logging.getLogger(__name__)

GRACE_SEC = 1
"""How long requests under way may go on after a stop."""

MAX_PORTS_TRIED = 20

MANY_FILES = 65_536
"""The usual 1024 would be spent by a thousand sites that ship."""


def serve(
    settings: Settings, *, on_start: Callable[[str, FrontDoor], None] | None = None, next_port: bool = False
) -> None:
    """Run a collector until SIGINT or SIGTERM.

    on_start: called with the collector's URL once it can be opened.
    next_port: where the port is taken, take the next free one.

    Raises `UsageError` when the address can't be had, `StoreError` when the index can't.
    """
    allow_many_files()
    with _lock(settings), bind(settings.host, settings.port, next_port=next_port) as listener:
        app = create_app(settings)
        # Decoded events can't form cycles: looking for them all the time costs a twentieth of the ingest.
        gc.set_threshold(50_000, 20, 50)
        server = _Server(app, url_of(settings.host, listener, settings.tls), on_start, settings.tls)
        # uvicorn raises the signal that ended it once more when it is done; by then we are, too.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            server.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def allow_many_files() -> None:
    """Each sender and each reader is a file descriptor, each journal that is read another: take as many as are to be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        logger.warning("no more than %d files can be open at a time: %s", soft, error)


@contextmanager
def _lock(settings: Settings) -> Any:
    if settings.mode == "serve":
        with FolderLock(settings.folder / "collector.lock", "fedsight serve"):
            yield
    else:
        yield


def bind(host: str, port: int, *, next_port: bool = False) -> socket.socket:
    """A listening socket.

    Raises `UsageError` naming the address and the remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for tried in range(port, min(port + (MAX_PORTS_TRIED if next_port and port else 1), 65536)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), tried))
            listener.listen(2048)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise UsageError("host", f"can't listen on {host}:{tried}: {error.strerror or error}") from error
        else:
            listener.set_inheritable(False)
            return listener
    raise UsageError("port", f"port {port} is taken on {host}; give another with --port, or --port 0 for any free one")


def url_of(host: str, listener: socket.socket, tls: Tls | None = None) -> str:
    """The address as a URL that a browser opens."""
    shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{shown}:{listener.getsockname()[1]}"


class _Server(uvicorn.Server):
    """uvicorn, with the streams ended before it waits for open connections (it would wait for them for ever)."""

    def __init__(
        self, app: FrontDoor, url: str, on_start: Callable[[str, FrontDoor], None] | None, tls: Tls | None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                # The peer's address decides about access: no header may change it.
                proxy_headers=False,
                http=LimitedHttp,
                ws="websockets-sansio",
                ws_max_size=1 << 16,
                # Packing each message for each reader costs more than the bytes it saves, and 250 KB a reader.
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=GRACE_SEC,
                lifespan="on",
                ssl_certfile=tls.cert if tls is not None else None,
                ssl_keyfile=tls.key if tls is not None else None,
            )
        )
        self._app = app
        self._url = url
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; then say so."""
        await super().startup(sockets=sockets)
        if self.started and self._on_start is not None:
            self._on_start(self._url, self._app)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then the rest."""
        self._app.parts.hub.close()
        await super().shutdown(sockets=sockets)
