"""(f) HiveWatch's workload: rounds of client updates with 14 fields, through HiveWatch and through Fedsight.

What logging adds to a round, early and late in a run; memory, disk; the same with the MLflow emitter on. HiveWatch's cost grows
with all that it logged before, so it gets a budget of seconds and the table says how far it came.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peer import measured, python_of

EVERYTHING = "file+mlflow+tensorboard+prometheus+hooks"


def measure(package: str, emitters: str, rounds: int, clients: int, budget_sec: float) -> dict[str, Any]:
    peer = "fedsight" if package == "fedsight" else "hivewatch+mlflow" if "mlflow" in emitters else "hivewatch"
    return measured(python_of(peer), "rounds.py", package, emitters, rounds, clients, budget_sec, timeout_sec=900)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=30, help="seconds of logging for a peer in each line")
    parser.add_argument("--quick", action="store_true", help="short, and without the peer")
    options = parser.parse_args()

    cases = [("file", 100, 10), ("file", 100, 100), ("file", 20, 1_000), ("file", 1_000, 100)]
    cases += [("file+mlflow", 20, 100), ("file+mlflow", 5, 1_000)]
    print(
        "| package | emitters | clients a round | rounds done | updates/s | calling thread's CPU µs an update "
        "| logging s a round: first | last | finish s | RSS growth MB | disk MB | written MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for emitters, rounds, clients in [*cases, (EVERYTHING, 20, 100)]:
        for package in ("fedsight", "hivewatch"):
            if package == "hivewatch" and (options.quick or emitters == EVERYTHING):
                continue
            if options.quick:
                rounds = min(rounds, 20)
            r = measure(package, emitters, rounds, clients, options.budget if package == "hivewatch" else 600)
            done = f"{r['rounds']:,} of {rounds:,}"
            if r["updates"] < r["rounds"] * clients:
                done = f"{r['updates'] / clients:.2f} of {rounds:,}"
            print(
                f"| {package} | {emitters} | {clients:,} | {done} | {r['updates_per_sec']:,.0f} "
                f"| {r['cpu_us_per_update']:,.1f} | {r['first_round_sec']:.4f} | {r['last_round_sec']:.4f} "
                f"| {r['finish_sec']:.2f} | {r['rss_growth_mb']:.1f} | {r['disk_mb']:.1f} | {r['written_mb']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
