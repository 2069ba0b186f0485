"""The way to Redis: a few calls that never hold anybody up, and never fail: where Redis is away, there is nothing in it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fedsight.errors import UsageError

logger = logging.getLogger(__name__)

TIMEOUT_SEC = 2.0
RETRY_SEC = 2.0
"""After a call that failed, so long nothing is asked of it."""
LONGEST_WAIT_SEC = 10.0
PING_SEC = 5.0


class RedisState(msgspec.Struct, frozen=True, kw_only=True):
    """How Redis does. address: without secrets. is_up: None before the first answer."""

    address: str
    is_up: bool | None
    last_error: str | None
    num_failures: int


class RedisLink:
    """One Redis. For the event loop's thread.

    url: like "redis://127.0.0.1:6379/0" (`rediss` for TLS). Raises `UsageError` for one that can't be meant.
    """

    def __init__(self, url: str, password: str | None = None) -> None:
        if not _names_a_server(url):
            # The URL stays out of it: it may hold a password.
            raise UsageError("redis_url", "REDIS_URL can't be meant; give redis://HOST:PORT/0")
        self._client = redis.asyncio.Redis.from_url(
            url,
            password=password or None,  # one in the URL wins
            socket_timeout=TIMEOUT_SEC,
            socket_connect_timeout=TIMEOUT_SEC,
            # What fails is said at once; when to try again is decided here.
            retry=Retry(NoBackoff(), 0),
        )
        where = self._client.connection_pool.connection_kwargs
        self._address = f"{where.get('host', where.get('path', 'localhost'))}:{where.get('port', 6379)}"
        self._is_up: bool | None = None
        self._last_error: str | None = None
        self._num_failures = 0
        self._retry_at = 0.0

    def state(self) -> RedisState:
        """How it does now."""
        return RedisState(
            address=self._address, is_up=self._is_up, last_error=self._last_error, num_failures=self._num_failures
        )

    @property
    def is_away(self) -> bool:
        """A call just failed: for a while there is no use in asking."""
        return time.monotonic() < self._retry_at

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()

    async def put(self, key: str, text: bytes, lifetime_sec: int) -> None:
        """Keep a value for a time."""
        await self._try(lambda: self._client.set(key, text, ex=lifetime_sec))

    async def get(self, key: str) -> bytes | None:
        """A value; None where there is none, or Redis is away."""
        found = await self._try(lambda: self._client.get(key))
        return found if isinstance(found, bytes) else None

    async def publish(self, channel: str, messages: Sequence[bytes]) -> bool:
        """Tell all who listen; whether Redis took it."""

        async def send() -> bool:
            async with self._client.pipeline(transaction=False) as pipeline:
                for message in messages:
                    pipeline.publish(channel, message)
                await pipeline.execute()
            return True

        return await self._try(send) is True

    async def listen(self, channel: str, heard: Callable[[bytes], None]) -> None:
        """Call `heard` with every message, for ever, over all of Redis' comings and goings. Ends by being cancelled."""
        wait_sec = 0.0
        while True:
            try:
                async with self._client.pubsub() as subscription:
                    await subscription.subscribe(channel)
                    while True:
                        message = await _next_message(subscription)
                        wait_sec = 0.0
                        self._is_there()
                        if message["type"] == "message" and isinstance(message["data"], bytes):
                            heard(message["data"])
            except (RedisError, OSError, asyncio.TimeoutError) as error:
                self._is_gone(error)
                wait_sec = min(LONGEST_WAIT_SEC, wait_sec * 2 or 0.25)
                await asyncio.sleep(wait_sec * random.uniform(0.75, 1.25))

    async def _try(self, call: Callable[[], Awaitable[object]]) -> object:
        if self.is_away:
            return None
        try:
            answer = await call()
        except (RedisError, OSError, asyncio.TimeoutError) as error:
            self._is_gone(error)
            return None
        self._is_there()
        return answer

    def _is_there(self) -> None:
        if self._is_up is False:
            logger.warning("Redis is back")
        self._is_up, self._last_error, self._retry_at = True, None, 0.0

    def _is_gone(self, error: Exception) -> None:
        if self._is_up is not False:
            logger.warning("Redis is away; this collector goes on without it: %s", error)
        self._is_up = False
        self._last_error = f"{type(error).__name__}: {error}"
        self._num_failures += 1
        self._retry_at = time.monotonic() + RETRY_SEC


async def _next_message(subscription: Any) -> dict[str, Any]:
    """The next message, the answer to a ping among them. Raises `TimeoutError` where not even that comes.

    So a connection that is open and dead is told from a quiet one.
    """
    message = await subscription.get_message(timeout=PING_SEC)
    if message is None:
        await subscription.ping()
        message = await subscription.get_message(timeout=PING_SEC)
    if message is None:
        raise asyncio.TimeoutError(f"no answer to a ping within {PING_SEC:g} s")
    found: dict[str, Any] = message
    return found


def _names_a_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_tcp = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False
    return is_tcp or (parts.scheme == "unix" and url.startswith("unix://") and bool(parts.path))
