"""How often one address may ask; and what a collector answers to more."""

from __future__ import annotations

from pathlib import Path

from collector.harness import Collector, header
from fedsight.collector.rate_limits import MAX_ADDRESSES, RateLimit


class Clock:
    """A clock that is put forward by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate_counts() -> None:
    clock = Clock()
    limit = RateLimit(per_sec=0.5, burst_sec=6.0, clock=clock)
    assert [limit.wait_sec("a") for _ in range(4)] == [0, 0, 0, 2]
    clock.now += 1.0
    assert limit.wait_sec("a") == 1
    clock.now += 1.0
    assert [limit.wait_sec("a"), limit.wait_sec("a")] == [0, 2]
    clock.now += 1000.0
    assert [limit.wait_sec("a") for _ in range(4)] == [0, 0, 0, 2]


def test_addresses_do_not_share() -> None:
    limit = RateLimit(per_sec=1.0, burst_sec=1.0, clock=Clock())
    assert [limit.wait_sec(a) for a in ("a", "b", "a", "b")] == [0, 0, 1, 1]


def test_more_addresses_than_are_kept_cost_no_memory() -> None:
    limit = RateLimit(per_sec=1.0, burst_sec=1.0, clock=Clock())
    for number in range(MAX_ADDRESSES + 10):
        limit.wait_sec(str(number))
    assert len(limit._buckets) == MAX_ADDRESSES


def test_who_guesses_tokens_is_told_to_wait(tmp_path: Path) -> None:
    with Collector(tmp_path, environ={"FEDSIGHT_MAX_LOGINS_PER_MIN": "3"}) as collector:
        answers = [collector.http.post("/api/v1/login", json={"token": "fs_no_such"}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert answers[3].json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(answers[3].headers["retry-after"]) <= 20
        # It still reads, and ships.
        assert collector.http.get("/api/v1/runs").status_code == 200
        assert collector.post("j1", 0, header()).status_code == 200


def test_writes_have_a_limit_of_their_own(tmp_path: Path) -> None:
    with Collector(tmp_path, environ={"FEDSIGHT_MAX_WRITES_PER_SEC": "1"}) as collector:
        assert collector.post("j1", 0, header()).status_code == 200
        beats = [collector.post("j1", len(header()), b"") for _ in range(20)]
        refused = [answer for answer in beats if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in beats} == {200, 429}
        assert refused[0].headers["retry-after"] == "1"
        assert collector.http.get("/api/v1/runs").status_code == 200
