"""What comes in at the front door, counted: requests by route and code, how soon they are answered, open streams."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

BOUNDS_SEC = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

DASHBOARD, REFUSED, UNKNOWN = "(dashboard)", "(refused)", "(unknown)"
"""Stand for a route where there is none: pages and files, what may not be, what is not there."""

ROUTED = "fedsight.routed"
"""The key under which the front door leaves the scope that it gave to the API: the router writes the route into it."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Durations:
    """How long something took, in buckets (seconds)."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SEC) + 1)
        self.sum_sec = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS_SEC, seconds)] += 1
        self.sum_sec += seconds


class TrafficMeter:
    """Counts for one collector, in the event loop's thread. Routes are templates: there are as many as the API has."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str], int] = {}
        """By method, route and code."""
        self.durations: dict[str, Durations] = {}
        """Until the answer begins, by route: a stream's end says nothing of its speed."""
        self.websockets = 0
        self.event_streams = 0
        self.in_flight = 0

    async def measure(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let `app` answer, and count it."""
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]
            await app(scope, receive, send)
            return
        told = _Told(self, scope)
        self.in_flight += 1

        async def send_and_note(message: Any) -> None:
            told.note(message)
            await send(message)

        try:
            await app(scope, receive, send_and_note)
        finally:
            self.in_flight -= 1
            told.ended()


class _Told:
    """One request under way."""

    def __init__(self, meter: TrafficMeter, scope: Scope) -> None:
        self._meter = meter
        self._scope = scope
        self._began = time.perf_counter()
        self._open: str | None = None
        self._is_counted = False

    def note(self, message: Any) -> None:
        """A message to the other side."""
        kind = message["type"]
        if kind == "http.response.start":
            self._count(str(message["status"]))
            if any(k == b"content-type" and v.startswith(b"text/event-stream") for k, v in message.get("headers", ())):
                self._open = "event_streams"
                self._meter.event_streams += 1
        elif kind == "websocket.accept":
            self._count("101")
            self._open = "websockets"
            self._meter.websockets += 1
        elif kind == "websocket.close":
            self._count("403")

    def ended(self) -> None:
        """The request is over; one that was never answered counts as 499, as nginx has it."""
        self._count("499")
        if self._open is not None:
            setattr(self._meter, self._open, getattr(self._meter, self._open) - 1)

    def _count(self, code: str) -> None:
        if self._is_counted:
            return
        self._is_counted = True
        scope: Any = self._scope
        method = scope["method"] if scope["type"] == "http" else "GET"
        route = self._route()
        key = (method if method in METHODS else "OTHER", route, code)
        self._meter.requests[key] = self._meter.requests.get(key, 0) + 1
        self._meter.durations.setdefault(route, Durations()).add(time.perf_counter() - self._began)

    def _route(self) -> str:
        scope: Any = self._scope
        routed = scope.get(ROUTED)
        if routed is None:
            return REFUSED
        if isinstance(routed, str):
            return routed
        return routed.get("path_template") or UNKNOWN
