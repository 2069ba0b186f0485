"""Runs and their sites, each a producer with a journal of its own that is shipped while it is written; prints JSON.

`python producers.py URL TOKEN FOLDER FIRST_RUN NUM_RUNS SITES_A_RUN SECONDS EVENTS_PER_SEC`: a server and SITES_A_RUN sites for each
run. EVENTS_PER_SEC is of each producer; a round is a second long. Every site tells its update, and steps of a curve in between.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from pathlib import Path

import fedsight
from fedsight.emitters import CollectorEmitter
from fedsight.run import Run

ROUND_SEC = 1.0


def pace(began_sec: float, number: int, interval_sec: float) -> None:
    """Wait for the time of event `number`, not for a time since the one before: a late producer catches up."""
    left_sec = began_sec + number * interval_sec - time.monotonic()
    if left_sec > 0:
        time.sleep(left_sec)


def serve(run: Run, sites: list[str], seconds: float) -> None:
    began_sec = time.monotonic()
    for number in range(int(seconds / ROUND_SEC)):
        run.round_start(number, selected=sites)
        pace(began_sec, number + 1, ROUND_SEC)
        run.log_round(number, global_accuracy=number / seconds, global_loss=1 - number / seconds)
    run.finish()


def train(site: Run, seconds: float, events_per_sec: float) -> None:
    began_sec, steps = time.monotonic(), max(1, round(events_per_sec * ROUND_SEC) - 1)
    interval_sec = ROUND_SEC / (steps + 1)
    for number in range(int(seconds / ROUND_SEC)):
        for step in range(steps):
            site.log_metric("train_loss", 1.0 / (number + 1), step=number * steps + step)
            pace(began_sec, number * (steps + 1) + step + 1, interval_sec)
        site.log_client_update(
            round=number, local_accuracy=0.5, local_loss=0.7, num_samples=512, gradient_norm=1.5, bytes_sent=1 << 20,
            bytes_received=1 << 20, train_time_sec=ROUND_SEC,
        )  # fmt: skip
        pace(began_sec, (number + 1) * (steps + 1), interval_sec)
    site.finish()


def main() -> None:
    url, token, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    first, num_runs, num_sites = map(int, sys.argv[4:7])
    seconds, events_per_sec = float(sys.argv[7]), float(sys.argv[8])
    producers: list[Run] = []
    threads: list[threading.Thread] = []
    for number in range(first, first + num_runs):
        sites = [f"site-{n}" for n in range(num_sites)]
        server = Run(
            f"load-{number}", project="load", verbose=False, runs_dir=folder, emitters=[CollectorEmitter(url, token)]
        )
        threads.append(threading.Thread(target=serve, args=(server, sites, seconds)))
        producers.append(server)
        for name in sites:
            site = fedsight.join(server.run_id, name, runs_dir=folder, emitters=[CollectorEmitter(url, token)])
            threads.append(threading.Thread(target=train, args=(site, seconds, events_per_sec)))
            producers.append(site)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rounds, steps = int(seconds / ROUND_SEC), max(1, round(events_per_sec * ROUND_SEC) - 1)
    journals = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for p in producers if (path := p.path)}
    told = {
        "journals": journals,
        "num_bytes": sum(p.path.stat().st_size for p in producers),
        "num_updates": num_runs * num_sites * rounds,
        "num_rounds": num_runs * rounds,
        "num_steps": num_runs * num_sites * rounds * steps,
        "num_not_recorded": sum(p.num_not_recorded for p in producers),
    }
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
