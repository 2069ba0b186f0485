"""(i) The Flower bridge: what it adds to a round, to a reply and to a process's memory. The strategy is driven without a network."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from peer import measured, python_of

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests' / 'integrations' / 'flower'}",
}
SIZES = ((10, 300), (100, 60), (1000, 12))
"""Clients, rounds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="processes of each kind; the median counts")
    parser.add_argument("--quick", action="store_true", help="one size")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    python = python_of("flower")
    print(
        "| clients | rounds | CPU ms a round without | with | added µs a reply | peak MB without | with | growth MB with | mod, µs a call |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for num_clients, num_rounds in SIZES[1:2] if options.quick else SIZES:
        runs = [
            [measured(python, "flower_rounds.py", form, num_clients, num_rounds) for form in ("plain", "watched")]
            for _ in range(options.repeats)
        ]
        plain, watched = (
            {name: statistics.median(run[which][name] for run in runs) for name in runs[0][0]} for which in (0, 1)
        )
        added_us = 1e3 * (watched["round_ms"] - plain["round_ms"]) / (2 * num_clients)  # two phases
        print(
            f"| {num_clients:,} | {num_rounds:,} | {plain['round_ms']:.2f} | {watched['round_ms']:.2f} | {added_us:.1f} "
            f"| {plain['peak_mb']:.1f} | {watched['peak_mb']:.1f} | {watched['grown_mb']:.1f} | {watched['mod_us']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
