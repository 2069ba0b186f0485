"""What was worked out lately: the state of a component, figures over a span of time. In memory, and in Redis where there is one.

Keys and lifetimes are those of the FLOPY-NET text: `current:<component>` 300 s, `aggregated:<timeframe>` 60 s; values are JSON.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from fedsight.collector.api.tables import encode

if TYPE_CHECKING:
    from fedsight.collector.redis import RedisLink

COMPONENTS = ("fl_server", "policy_engine", "sdn_controller")
"""Of which the present state is kept."""
CURRENT_SEC = 300
AGGREGATED_SEC = 60
MAX_KEPT = 1_000


class Cache:
    """For the event loop's thread. Where Redis is away, this collector's own memory answers."""

    def __init__(self, link: RedisLink | None = None) -> None:
        self._link = link
        self._kept: dict[str, tuple[float, bytes]] = {}
        """By key: until when (monotonic), and the JSON."""

    async def put_current(self, component: str, state: dict[str, Any]) -> None:
        """Keep the present state of a component such as "fl_server"."""
        await self._put(f"current:{component}", state, CURRENT_SEC)

    async def current(self, component: str) -> dict[str, Any] | None:
        """The state of a component that any collector has put within 300 s; None where there is none."""
        return await self._get(f"current:{component}")

    async def put_aggregated(self, timeframe: str, metrics: dict[str, Any]) -> None:
        """Keep figures over a span of time such as "1h"."""
        await self._put(f"aggregated:{timeframe}", metrics, AGGREGATED_SEC)

    async def aggregated(self, timeframe: str) -> dict[str, Any] | None:
        """Figures that any collector has put within 60 s; None where there are none."""
        return await self._get(f"aggregated:{timeframe}")

    async def _put(self, key: str, value: dict[str, Any], lifetime_sec: int) -> None:
        text = encode(value)
        self._kept.pop(key, None)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = time.monotonic() + lifetime_sec, text
        if self._link is not None:
            await self._link.put(key, text, lifetime_sec)

    async def _get(self, key: str) -> dict[str, Any] | None:
        text = await self._link.get(key) if self._link is not None else None
        if text is None:
            until, kept = self._kept.get(key, (0.0, None))
            text = kept if until > time.monotonic() else None
        try:
            return msgspec.json.decode(text, type=dict[str, Any]) if text is not None else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # somebody else's: as good as not there
