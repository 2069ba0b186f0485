"""The server's side of the connections: who is here, and one queue of what they say."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from fedsight.demo import wire


class Joined(msgspec.Struct):
    """A client connected; `returned` when it had been here before."""

    client_id: str
    returned: bool


class Arrived(msgspec.Struct):
    """A client's update came in, with the bytes that its round trip took."""

    client_id: str
    update: wire.Update
    weights: list[wire.Array]
    bytes_up: int
    bytes_down: int


class Lost(msgspec.Struct):
    """A client is gone: it said so (`left`), or its connection failed."""

    client_id: str
    reason: str
    left: bool


News: TypeAlias = Joined | Arrived | Lost
WelcomeFor: TypeAlias = Callable[[wire.Hello], tuple[wire.Welcome, Sequence[wire.Array]]]


class Lobby:
    """Accepts clients on a loopback port, answers their pings, and queues their news."""

    def __init__(self, welcome_for: WelcomeFor, *, timeout_sec: float) -> None:
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._welcome_for = welcome_for
        self._timeout_sec = timeout_sec
        self._links: dict[str, wire.Connection] = {}
        self._marks: dict[str, tuple[int, int]] = {}
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        threading.Thread(target=self._accept, name="demo-accept", daemon=True).start()

    def connected(self) -> set[str]:
        """Ids of the clients that are here now."""
        with self._lock:
            return set(self._links)

    def send(self, client_id: str, message: wire.Message, arrays: Sequence[wire.Array] = ()) -> bool:
        """Send to a client; False when it is not here or its connection fails (which is news, too)."""
        with self._lock:
            link = self._links.get(client_id)
        if link is None:
            return False
        if isinstance(message, wire.Train):
            self._marks[client_id] = (link.bytes_received, link.bytes_sent)
        try:
            link.send(message, arrays)
        except OSError as error:
            self._lose(client_id, link, str(error), left=False)
            return False
        return True

    def close(self) -> None:
        """Let nobody in any more, and tell all clients that training is over; they hang up.

        Hanging up from here could throw away a stop that a client has not read yet.
        """
        if self._closing:
            return
        self._closing = True
        # On Linux, close alone would leave the thread in accept() waiting.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client_id in self.connected():
            self.send(client_id, wire.Stop())

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # closed
            link = wire.Connection(sock, timeout_sec=self._timeout_sec)
            threading.Thread(target=self._serve, args=(link,), name="demo-client", daemon=True).start()

    def _serve(self, link: wire.Connection) -> None:
        """One connection, from its hello to its end."""
        try:
            hello = self._hello(link)
            link.send(*self._welcome_for(hello))
        except (OSError, ValueError, KeyError, msgspec.MsgspecError):
            link.close()  # whoever this is, it is none of our clients
            return
        client_id = hello.client_id
        with self._lock:
            stale = self._links.pop(client_id, None)
            self._links[client_id] = link
            returned = client_id in self._seen
            self._seen.add(client_id)
        if stale is not None:
            stale.close()
            self.news.put(Lost(client_id, "replaced by a new connection", left=False))
        self.news.put(Joined(client_id, returned))
        if self._closing:  # it came in while the others were told
            self.send(client_id, wire.Stop())
        try:
            while not self._take(client_id, link, *link.receive()):
                pass
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._lose(client_id, link, str(error), left=False)

    def _hello(self, link: wire.Connection) -> wire.Hello:
        message, _ = link.receive(wait_sec=self._timeout_sec)
        if not isinstance(message, wire.Hello):
            raise wire.ProtocolError(f"expected a hello, got {type(message).__name__}")
        return message

    def _take(self, client_id: str, link: wire.Connection, message: wire.Message, arrays: list[wire.Array]) -> bool:
        """Handle one message; True when it was the last."""
        if isinstance(message, wire.Ping):
            link.send(wire.Pong())
        elif isinstance(message, wire.Update):
            if client_id not in self._marks:
                raise wire.ProtocolError("an update that nobody asked for")
            up, down = self._marks[client_id]
            self.news.put(Arrived(client_id, message, arrays, link.bytes_received - up, link.bytes_sent - down))
        elif isinstance(message, wire.Leave):
            self._lose(client_id, link, message.reason, left=True)
            return True
        else:
            raise wire.ProtocolError(f"a client may not send {type(message).__name__}")
        return False

    def _lose(self, client_id: str, link: wire.Connection, reason: str, *, left: bool) -> None:
        link.close()
        with self._lock:
            if self._links.get(client_id) is not link:
                return  # already known, or replaced by a newer connection
            del self._links[client_id]
        if not self._closing:
            self.news.put(Lost(client_id, reason, left))
