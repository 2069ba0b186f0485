"""Fill a store through `apply`, and time that and the questions a dashboard asks.

    nice .venv/bin/python bench/queries.py [--rounds 1000] [--clients 1000] [--json FILE]

Prints Markdown tables. One core applies: DuckDB gets one thread while filling.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from timing import median_ms

from fedsight import events
from fedsight.store import Receipt, Store, queries

FIELDS = ("local_accuracy", "local_loss", "num_samples", "gradient_norm", "bytes_sent", "bytes_received")
FIELDS += ("train_time_sec", "cpu_pct", "ram_mb")


def lines(rounds: int, clients: int, seed: int = 1) -> Iterator[bytes]:
    """The journal of a run, round by round: 9 contract fields and one metric of the application's own."""
    rng = random.Random(seed)
    for number in range(rounds):
        made: list[events.Event] = [events.RoundStart(ts=float(number), round=number)]
        for i in range(clients):
            values = {name: rng.random() * 100 for name in FIELDS}
            made.append(
                events.ClientUpdate(
                    ts=number + i / clients,
                    client_id=f"site-{i:05d}",
                    round=number,
                    base_round=number - i % 3,
                    status="failed" if rng.random() < 0.02 else None,
                    metrics={"proximal_term": rng.random()},
                    **values,
                )
            )
        made.append(events.RoundEnd(ts=number + 1.0, round=number, global_accuracy=rng.random(), global_loss=1.0))
        yield b"".join(map(events.encode, made))


def fill(store: Store, rounds: int, clients: int, block: int, run_id: str = "bench") -> tuple[float, list[float]]:
    """Apply a run in blocks of about `block` updates. Returns the CPU seconds in `apply`, and the wall seconds of each block."""
    header = events.JournalHeader(ts=0.0, version=1, journal=f"j-{run_id}", role="server", run_id=run_id)
    pending = events.encode(header) + events.encode(events.RunStart(ts=0.0, run_id=run_id))
    start, count, cpu = 0, 0, 0.0
    took: list[float] = []
    for number, data in enumerate(lines(rounds, clients)):
        pending += data
        count += clients
        if count >= block or number == rounds - 1:
            decoded = events.decode_block(pending, start)
            began, cpu_began = time.perf_counter(), time.process_time()
            store.apply([Receipt(header, decoded, float(number))])
            took.append(time.perf_counter() - began)
            cpu += time.process_time() - cpu_began
            start += len(pending)
            pending, count = b"", 0
    return cpu, took


def questions(store: Store) -> dict[str, Callable[[], object]]:
    """What a run's page asks, then what is asked now and then."""
    run = "bench"
    return {
        "runs": lambda: queries.runs(store),
        "run": lambda: queries.run(store, run),
        "rounds (1,000)": lambda: queries.rounds(store, run),
        "series global, 2 metrics": lambda: queries.series(
            store, run, scope="global", metrics=["global_accuracy", "global_loss"], max_points=500
        ),
        "series clients (band)": lambda: queries.series(store, run, scope="clients", metrics=["local_loss"]),
        "clients (1,000)": lambda: queries.clients(store, run),
        "clients (1,000) with sparkline": lambda: queries.clients(store, run, sparkline="local_accuracy"),
        "clients (50) with sparkline": lambda: queries.clients(store, run, sparkline="local_accuracy", limit=50),
        "events (100)": lambda: queries.events(store, run, limit=100),
        "changes, nothing new": lambda: queries.changes(store, store.commit, run),
        "changes of the last commit": lambda: queries.changes(store, store.commit - 1, run),
        "one client's series, 2 metrics": lambda: queries.series(
            store, run, scope="client", client_id="site-00007", metrics=["local_loss", "local_accuracy"]
        ),
        "updates of one round": lambda: queries.updates(store, run, from_=500, to=500),
        "updates, first page": lambda: queries.updates(store, run),
        "updates of one client": lambda: queries.updates(store, run, client_id="site-00007"),
        "metric names": lambda: queries.metric_names(store, run),
        "status": lambda: queries.status(store),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--block", type=int, default=30_000, help="updates in one apply")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.duckdb"
        with Store.open(path, threads=1) as store:
            cpu, took = fill(store, args.rounds, args.clients, args.block)
        updates = args.rounds * args.clients
        figures: dict[str, float] = {
            "apply_updates_per_sec": updates / sum(took),
            "apply_updates_per_cpu_sec": updates / cpu,
            "apply_block_median_ms": 1000 * statistics.median(took),
            "file_mb": path.stat().st_size / 1e6,
            "bytes_per_point": path.stat().st_size / (updates * 10),
            "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        with Store.open(path) as store:
            medians = {name: median_ms(ask, 15) for name, ask in questions(store).items()}
            cpu_small, small = fill(store, 200, 20, 20, "small")
            figures["apply_20_updates_mean_cpu_ms"] = 1000 * cpu_small / 200
            figures["apply_20_updates_median_ms"] = 1000 * statistics.median(small)
    print(f"| what | value | ({platform.machine()}, {os.cpu_count()} cores) |\n|---|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value:,.2f} | |")
    print("\n| question | median ms |\n|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} |")
    if args.json:
        args.json.write_text(json.dumps({"figures": figures, "medians_ms": medians}, indent=1))


if __name__ == "__main__":
    main()
