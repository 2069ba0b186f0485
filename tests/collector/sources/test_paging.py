"""Reading an event buffer page by page: in order, none twice, none skipped, however little time there is."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from collector.sources.standins import buffered
from fedsight.collector.sources.paging import MAX_EVENTS, event_id, new_events
from fedsight.collector.sources.source import SourceDown


class Buffer:
    """A `Web` to a buffer of events, with a limit of its own."""

    def __init__(self, size: int = 1000, server_limit: int = 1000, key: str = "event_id") -> None:
        self.events: list[dict[str, Any]] = []
        self.num_made = 0
        self._size, self._server_limit, self._key = size, server_limit, key

    def log(self, count: int) -> None:
        for _ in range(count):
            self.num_made += 1
            self.events.append({self._key: f"e{self.num_made}"})
        del self.events[: -self._size]

    async def json(self, url: str, **params: Any) -> Any:
        given = {k: str(v) for k, v in params.items() if v is not None}
        given["limit"] = str(min(self._server_limit, int(given["limit"])))
        return buffered(self.events, given, self._key)

    async def text(self, url: str, **params: Any) -> str:
        raise NotImplementedError


def read(buffer: Any, ids: list[str], until: float = float("inf")) -> tuple[list[str], list[str], bool]:
    page = asyncio.run(new_events(buffer, "/events", ids, until))
    return [event_id(event) for event in page.events], page.ids, page.gap


@pytest.mark.parametrize("server_limit", [2, 3, 7, 1000])
@pytest.mark.parametrize("until", [float("inf"), float("-inf")], ids=["all the time", "one page a poll"])
@pytest.mark.parametrize("key", ["event_id", "id"])
def test_events_come_in_order_once_each(server_limit: int, until: float, key: str) -> None:
    rng = random.Random(server_limit)
    buffer = Buffer(server_limit=server_limit, key=key)
    told: list[str] = []
    ids: list[str] = []
    for _ in range(40):
        buffer.log(rng.randrange(8))
        found, ids, gap = read(buffer, ids, until)
        assert not gap
        told += found
    while found:
        found, ids, _ = read(buffer, ids, until)
        told += found
    assert told == [f"e{n}" for n in range(1, buffer.num_made + 1)]


def test_what_the_buffer_dropped_is_a_gap_and_the_rest_is_told() -> None:
    buffer = Buffer(size=10)
    buffer.log(5)
    _, ids, _ = read(buffer, [])
    buffer.log(9)
    # The last known event is still there.
    found, ids, gap = read(buffer, ids)
    assert (found, gap) == ([f"e{n}" for n in range(6, 15)], False)
    buffer.log(10)
    found, ids, gap = read(buffer, ids)
    assert (found, gap) == ([f"e{n}" for n in range(15, 25)], True)


def test_an_empty_buffer_is_no_gap() -> None:
    buffer = Buffer()
    buffer.log(5)
    _, ids, _ = read(buffer, [])
    buffer.events.clear()
    assert read(buffer, ids) == ([], ids, False)


@pytest.mark.parametrize("reply", [None, 5, {}, {"events": None}, "x"])
def test_a_reply_without_events_is_none(reply: Any) -> None:
    class Wrong(Buffer):
        async def json(self, url: str, **params: Any) -> Any:
            return reply

    with pytest.raises(SourceDown, match="/events answered without a list"):
        read(Wrong(), [])


def test_of_a_reply_without_measure_so_many_are_taken_and_the_rest_comes_next() -> None:
    class Boundless(Buffer):
        async def json(self, url: str, **params: Any) -> Any:
            return buffered(self.events, {"limit": "1000000"}, "event_id")

    buffer = Boundless(size=100_000)
    buffer.log(2 * MAX_EVENTS + 5)
    told: list[str] = []
    ids: list[str] = []
    for expected in (MAX_EVENTS, MAX_EVENTS, 5, 0):
        found, ids, gap = read(buffer, ids)
        assert (len(found), gap) == (expected, False)
        told += found
    assert told == [f"e{n}" for n in range(1, buffer.num_made + 1)]
