"""Fill a store with samples of monitors, and time the questions that are asked of them.

    nice .venv/bin/python bench/samples.py [--nodes 100] [--samples 1000]

Every node is a client's machine with 10 keys a sample; every 10 samples the server tells a round.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timing import median_ms

from fedsight import events
from fedsight.store import Receipt, Store, queries

FIGURES = ("cpu_pct", "cpu_cores", "ram_mb", "gpu_util_pct", "energy_j")
RAW = ("process.cpu.time{cpu.mode=user}", "process.memory.usage", "system.network.io{network.io.direction=transmit}")
INTERVAL_SEC = 5.0
SAMPLES_PER_ROUND = 10
RUN = "bench"


class Journal:
    """A journal that is delivered to a store as it grows."""

    def __init__(self, role: events.Role, client_id: str | None = None) -> None:
        name = client_id or "server"
        self.header = events.JournalHeader(ts=0.0, version=1, journal=name, role=role, run_id=RUN, client_id=client_id)
        self._length = 0

    def receipt(self, *made: events.Event) -> Receipt:
        lines = [self.header, *made] if self._length == 0 else made
        data = b"".join(map(events.encode, lines))
        block = events.decode_block(data, self._length)
        self._length += len(data)
        return Receipt(self.header, block, 1.0)


def fill(store: Store, nodes: int, samples: int) -> list[float]:
    """Returns the wall seconds of each `apply`."""
    rng = random.Random(1)
    server = Journal("server")
    monitors = [Journal("monitor", f"site-{i:05d}") for i in range(nodes)]
    store.apply([server.receipt(events.RunStart(ts=0.0, run_id=RUN))])
    took = []
    for number in range(samples // SAMPLES_PER_ROUND):
        end = (number + 1) * SAMPLES_PER_ROUND
        receipts = [
            monitor.receipt(*(_sample(rng, monitor, k) for k in range(end - SAMPLES_PER_ROUND, end)))
            for monitor in monitors
        ]
        updates = [
            events.ClientUpdate(
                ts=INTERVAL_SEC * end - 3, client_id=str(m.header.client_id), round=number, train_time_sec=30.0
            )
            for m in monitors
        ]
        told = [events.RoundStart(ts=INTERVAL_SEC * end - 40, round=number), *updates]
        receipts.append(server.receipt(*told, events.RoundEnd(ts=INTERVAL_SEC * end, round=number)))
        began = time.perf_counter()
        store.apply(receipts)
        took.append(time.perf_counter() - began)
    return took


def _sample(rng: random.Random, monitor: Journal, k: int) -> events.Sample:
    metrics = {name: rng.random() * 100 for name in (*FIGURES, *RAW)}
    ts = INTERVAL_SEC * k + rng.random() / 100
    metrics |= {"interval_sec": INTERVAL_SEC, "elapsed_sec": INTERVAL_SEC * k}
    return events.Sample(ts=ts, node=f"host-of-{monitor.header.client_id}", metrics=metrics)


def questions(store: Store, last_ts: float) -> dict[str, Callable[[], object]]:
    client = "site-00042"
    rounds = int(last_ts / INTERVAL_SEC / SAMPLES_PER_ROUND)
    return {
        "one metric of a node": lambda: queries.samples(store, RUN, client_id=client, metrics=["cpu_pct"]),
        "five metrics, thinned to 500": lambda: queries.samples(
            store, RUN, client_id=client, metrics=FIGURES, max_points=500
        ),
        "two metrics, the last 10 minutes": lambda: queries.samples(
            store, RUN, client_id=client, metrics=["cpu_pct", "ram_mb"], from_=last_ts - 600
        ),
        "all nodes": lambda: queries.nodes(store),
        "clients, what was told": lambda: queries.clients(store, RUN),
        "clients, what was measured too": lambda: queries.clients(store, RUN, measured=True),
        "updates of a round, measured too": lambda: queries.updates(
            store, RUN, from_=rounds // 2, to=rounds // 2, measured=True
        ),
        "updates of a client, measured too": lambda: queries.updates(store, RUN, client_id=client, measured=True),
        "a page of 1,000 updates, told": lambda: queries.updates(store, RUN),
        "a page of 1,000 updates, measured too": lambda: queries.updates(store, RUN, measured=True),
        "changes of the last commit": lambda: queries.changes(store, store.commit - 1, RUN),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000, help="of each node")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "bench.duckdb") as store:
        took = fill(store, args.nodes, args.samples)
        values = args.nodes * args.samples * (len(FIGURES) + len(RAW) + 2)
        print(f"{values:,} values, {values / sum(took):,.0f} applied a second\n\n| question | median ms |\n|---|---|")
        for name, ask in questions(store, args.samples * INTERVAL_SEC).items():
            print(f"| {name} | {median_ms(ask, 9):.1f} |")


if __name__ == "__main__":
    main()
