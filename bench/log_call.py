"""(a) What a log call costs the training: p50 and p99, and the time until all is durable.

Every recorder in a process and a virtual environment of its own, in turn, in one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peer import measured, python_of

# How many calls: those that need milliseconds a call get fewer.
CALLS = {
    "jsonl": 10_000,
    "fedsight": 10_000,
    "trackio": 10_000,
    "wandb": 10_000,
    "tensorboard": 10_000,
    "mlflow": 500,
    "hivewatch": 1_000,
}


def measure(name: str, python: Path, pace: float) -> dict[str, Any]:
    calls = CALLS[name] if not pace else min(CALLS[name], 500)
    return measured(python, "worker.py", name, calls, ".", pace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each recorder, taken in turn (default 3)")
    parser.add_argument("--pace", type=float, default=0, help="calls per second; 0 (default): as fast as it goes")
    parser.add_argument("--only", nargs="*", default=list(CALLS), help="which recorders")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()

    pythons = {name: python_of(name) for name in options.only}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    for turn in range(options.repeat):
        for name in options.only:
            runs[name].append(measure(name, pythons[name], options.pace))
            print(f"{turn + 1}/{options.repeat} {name}: p50 {runs[name][-1]['p50_us']:.1f} µs", file=sys.stderr)

    rows = []
    for name, results in runs.items():
        row: dict[str, Any] = {"name": name, "calls": results[0]["calls"]}
        for key in results[0].keys() - {"name", "calls"}:
            row[key] = statistics.median(result[key] for result in results)
        row["best_p50_us"] = min(result["p50_us"] for result in results)
        row["best_p99_us"] = min(result["p99_us"] for result in results)
        row["durable_us_per_call"] = row["durable_sec"] / row["calls"] * 1e6
        rows.append(row)
    print(
        "| recorder | calls | p50 µs (best) | p99 µs (best) | durable µs a call | CPU s | peak RSS MB | bytes a call |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['name']} | {row['calls']:,} | {row['p50_us']:.1f} ({row['best_p50_us']:.1f}) | "
            f"{row['p99_us']:.0f} ({row['best_p99_us']:.0f}) | {row['durable_us_per_call']:.1f} | {row['cpu_sec']:.2f} | "
            f"{row['peak_rss_mb']:.0f} | {row['bytes_per_call']:.0f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
