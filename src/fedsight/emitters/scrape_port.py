"""HTTP ports of this process that Prometheus scrapes; one for all emitters that name the same."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fedsight.emitters.exposition import Exposition
from fedsight.errors import MissingExtra

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

_shared: dict[tuple[int, str], ScrapePort] = {}
_open: set[ScrapePort] = set()
_expositions: WeakKeyDictionary[CollectorRegistry, Exposition] = WeakKeyDictionary()
_lock = threading.Lock()


class ScrapePort:
    """A port that answers scrapes. Raises `OSError` where it can't be had."""

    def __init__(self, port: int, addr: str) -> None:
        client = require_prometheus_client()
        self.registry = client.CollectorRegistry()
        self.exposition = exposition_in(self.registry)
        try:
            self.server, self._thread = client.start_http_server(port, addr, registry=self.registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                f"port {port} on {addr} is in use: end whoever holds it, or pass another (port=0 takes a free one)"
            ) from error
        self.number = int(self.server.server_port)

    def stop(self) -> None:
        """Serve nothing more."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def open_port(port: int, addr: str) -> ScrapePort:
    """The port, opened now or by an earlier emitter of this process; 0 is a new one every time."""
    with _lock:
        found = _shared.get((port, addr))
        if found is None:
            found = ScrapePort(port, addr)
            _open.add(found)
            if port != 0:
                _shared[port, addr] = found
        return found


def stop_port(port: ScrapePort) -> None:
    """Close it, for all its emitters."""
    with _lock:
        for key in [key for key, each in _shared.items() if each is port]:
            del _shared[key]
        if port in _open:
            _open.remove(port)
            port.stop()


def exposition_in(registry: CollectorRegistry) -> Exposition:
    """The one collector of ours in `registry`: two would give families twice."""
    found = _expositions.get(registry)
    if found is None:
        found = _expositions[registry] = Exposition()
        registry.register(found)
    return found


def require_prometheus_client() -> Any:
    """The package. Raises `MissingExtra` where it isn't installed."""
    try:
        import prometheus_client
    except ImportError as error:
        raise MissingExtra("prometheus-client", "prometheus") from error
    return prometheus_client


def _let_go_after_fork() -> None:
    """A child must not hold its parent's ports open, which it doesn't serve."""
    global _lock
    _lock = threading.Lock()
    for port in _open:
        port.server.socket.close()
    _open.clear()
    _shared.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
