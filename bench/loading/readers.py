"""Browsers: WebSockets that subscribe to a run each and count what they are told; prints JSON.

`python readers.py URL NUM_READERS NUM_RUNS`. Says "ready" once all have subscribed, and ends when standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import msgspec
import websockets

GRACE_SEC = 5.0
"""How long the last news may take after the end is called."""


class Told(msgspec.Struct):
    """What one reader heard."""

    run_id: str
    updates: set[tuple[str, int]]
    rounds: set[int]
    num_skipped: int = 0
    num_messages: int = 0


async def read(url: str, told: Told, delays_sec: list[float], subscribed: asyncio.Event) -> None:
    async with websockets.connect(f"{url.replace('http', 'ws')}/ws/metrics", max_size=None, proxy=None) as socket:
        await socket.send(json.dumps({"action": "subscribe", "streams": ["fl_training"], "run_id": told.run_id}))
        async for text in socket:
            message: dict[str, Any] = msgspec.json.decode(text)
            told.num_messages += 1
            kind = message["type"]
            if kind == "client_update":
                told.updates.add((message["update"]["client_id"], message["update"]["round"]))
                delays_sec.append(time.time() - message["update"]["ts"])
            elif kind == "fl_round_update":
                told.rounds.add(message["metrics"]["round"])
            elif kind == "skipped":
                told.num_skipped += message["num_skipped"]
            elif kind == "ack":
                subscribed.set()


async def main() -> None:
    url, num_readers, num_runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    everybody = [Told(f"load-{number % num_runs}", set(), set()) for number in range(num_readers)]
    delays_sec: list[float] = []
    events = [asyncio.Event() for _ in everybody]
    tasks = [
        asyncio.create_task(read(url, told, delays_sec, event)) for told, event in zip(everybody, events, strict=True)
    ]
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in events)), 60)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    before = -1
    while (now := sum(told.num_messages for told in everybody)) != before:
        before = now
        await asyncio.sleep(GRACE_SEC)
    ended = [repr(task.exception()) for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    delays_sec.sort()
    result = {
        "broken": ended,
        "num_messages": now,
        "num_skipped": sum(told.num_skipped for told in everybody),
        "updates": [len(told.updates) + told.num_skipped for told in everybody],
        "rounds": [len(told.rounds) for told in everybody],
        "delay_p50_sec": statistics.median(delays_sec) if delays_sec else None,
        "delay_p99_sec": delays_sec[int(len(delays_sec) * 0.99)] if delays_sec else None,
    }
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    asyncio.run(main())
