"""Killed at any instant: nothing acknowledged is lost, nothing is stored twice."""

from __future__ import annotations

import contextlib
import random
import signal
from pathlib import Path

import httpx
import pytest

from collector.harness import Collector, a_round, header, run_start

KILLS = 12
ROUNDS = 240
CLIENTS = tuple(f"c{n}" for n in range(20))


def stream_of(run_id: str, journal: str) -> bytes:
    return header(journal, run_id=run_id) + run_start(run_id) + b"".join(a_round(n, *CLIENTS) for n in range(ROUNDS))


@pytest.mark.timeout(170)
def test_after_kills_in_the_middle_the_store_equals_the_journals(tmp_path: Path) -> None:
    rng = random.Random(7)
    journals = {f"j{n}": stream_of(f"run {n}", f"j{n}") for n in range(2)}
    acknowledged = dict.fromkeys(journals, 0)
    for life in range(KILLS + 1):
        with Collector(tmp_path) as collector:
            if life == KILLS:  # the last life ends well
                finish(collector, journals)
                check(collector, journals)
                break
            posts_to_live = rng.randrange(2, 12)
            for _ in range(posts_to_live):
                for journal, stream in journals.items():
                    at = where(collector, journal)
                    assert at >= acknowledged[journal], "an acknowledged byte is gone"
                    body = whole_lines(stream, at, rng.randrange(2_000, 60_000))
                    answer = collector.post(journal, at, body)
                    assert answer.status_code == 200, answer.text
                    acknowledged[journal] = answer.json()["offset"]
            # Die with a post on its way: whether it arrived is for the next life to say.
            at = where(collector, "j0")
            body = whole_lines(journals["j0"], at, 200_000)
            kill_in_the_middle_of(collector, "j0", at, body)
            assert collector.stop(signal.SIGKILL) == -signal.SIGKILL


def where(collector: Collector, journal: str) -> int:
    answer = collector.http.get(f"/api/v1/journals/{journal}", headers={"authorization": f"Bearer {collector.admin}"})
    return 0 if answer.status_code == 404 else int(answer.json()["offset"])


def whole_lines(stream: bytes, at: int, size: int) -> bytes:
    if at >= len(stream):
        return b""
    end = stream.find(b"\n", min(at + size, len(stream) - 1)) + 1
    return stream[at:end]


def kill_in_the_middle_of(collector: Collector, journal: str, at: int, body: bytes) -> None:
    def cut_off() -> object:
        yield body[: len(body) // 2]
        yield body[len(body) // 2 :]
        collector.process.kill()

    with contextlib.suppress(httpx.TransportError):
        collector.http.post(
            f"/api/v1/journals/{journal}?offset={at}",
            content=cut_off(),  # type: ignore[arg-type]
            headers={"authorization": f"Bearer {collector.admin}"},
        )


def finish(collector: Collector, journals: dict[str, bytes]) -> None:
    for journal, stream in journals.items():
        while (at := where(collector, journal)) < len(stream):
            assert collector.post(journal, at, whole_lines(stream, at, 500_000)).status_code == 200
    collector.settled()


def check(collector: Collector, journals: dict[str, bytes]) -> None:
    for number, (journal, stream) in enumerate(journals.items()):
        assert (collector.data / "journals" / f"{journal}.jsonl").read_bytes() == stream
        run = collector.get(f"/api/v1/runs/run%20{number}")["run"]
        assert (run["num_rounds"], run["num_updates"]) == (ROUNDS, ROUNDS * len(CLIENTS))
        updates = collector.get(f"/api/v1/runs/run%20{number}/updates", limit=10_000)["columns"]
        assert list(zip(updates["round"], updates["client_id"], strict=True)) == [
            (n, c) for n in range(ROUNDS) for c in sorted(CLIENTS)
        ]
    assert collector.get("/api/v1/status")["num_dead_letters"] == 0
