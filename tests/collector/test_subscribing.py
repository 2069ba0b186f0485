"""What readers of several runs are told, and what it costs the store."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from collector.harness import a_round, header, run_start
from fedsight.collector import subscribing
from fedsight.collector.hub import Hub
from fedsight.collector.subscribing import Newsroom, Subscription
from fedsight.events import JournalHeader, decode_block
from fedsight.store import Receipt, Store, queries

RUNS = [f"r{number}" for number in range(5)]


def filled() -> Store:
    """A store in which each of the runs has one round of one client."""
    store = Store.open(None)
    for run_id in RUNS:
        journal = JournalHeader(ts=1.0, version=1, journal=run_id, role="server", run_id=run_id)
        body = header(run_id, run_id=run_id) + run_start(run_id) + a_round(0, "a")
        store.apply([Receipt(journal, decode_block(body, 0), 1.0)])
    return store


async def first_news(newsroom: Newsroom, run_id: str) -> list[dict[str, Any]]:
    async for messages in newsroom.follow(Subscription(0, ["fl_training"], run_id)):
        return [json.loads(body) for _, body in messages]
    return []


def told_to_all(store: Store) -> list[list[dict[str, Any]]]:
    async def listen() -> list[list[dict[str, Any]]]:
        newsroom = Newsroom(store, Hub(store))
        return await asyncio.gather(*(first_news(newsroom, run_id) for run_id in RUNS))

    return asyncio.run(listen())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Of which runs the store was asked."""
    runs: list[str | None] = []

    def noting(store: Store, feeds: Any, since: int, run_id: str | None, *, limit: int) -> queries.News:
        runs.append(run_id)
        return real(store, feeds, since, run_id, limit=limit)

    real = queries.news
    monkeypatch.setattr(queries, "news", noting)
    return runs


def test_the_store_is_asked_once_for_the_readers_of_all_runs_and_each_hears_of_its_own(asked: list[str | None]) -> None:
    with filled() as store:
        heard = told_to_all(store)
        after = f"{store.epoch}-{store.commit}"
    assert asked == [None]
    for run_id, messages in zip(RUNS, heard, strict=True):
        assert {message["run_id"] for message in messages} == {run_id}
        assert {message["type"] for message in messages} == {"fl_round_update", "client_update"}
        assert messages[-1]["as_of"] == after
        assert all(message["as_of"] != after for message in messages[:-1])


def test_where_not_all_of_it_fits_each_reader_is_asked_for_alone(
    asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "MAX_ITEMS", 2)
    with filled() as store:
        heard = told_to_all(store)
    assert asked[0] is None
    assert set(asked[1:]) == set(RUNS)
    assert all("skipped" not in {message["type"] for message in messages} for messages in heard)
