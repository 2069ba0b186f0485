"""(g) The resource monitors, beside heflwr's six: what a sample costs, whether it is right, whether the training feels it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peer import measured, python_of

MONITORS = [
    (package, form, output)
    for form in ("thread", "process")
    for output in ("file", "prometheus", "remote")
    for package in ("fedsight", "heflwr")
]


def measure(package: str, form: str, output: str, interval: float, mode: str) -> dict[str, Any]:
    return measured(python_of(package), "monitored.py", package, form, output, interval, mode, timeout_sec=300)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ours alone, file output alone")
    options = parser.parse_args()
    monitors = [m for m in MONITORS if not options.quick or (m[0] == "fedsight" and m[2] == "file")]
    print(
        "| monitor | interval s | CPU ms a sample | samples/s | start ms | stop ms | import s | import MB | child's own MB "
        "| cores told | cores in truth |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for interval in (0.1, 1.0):
        floor = measure("floor", "thread", "file", interval, "cost")
        print(
            f"| the readings alone | {interval} | {floor['cpu_ms_per_sample']:.3f} | {floor['samples_per_sec']:.2f} "
            "| | | | | | | |",
            flush=True,
        )
        for package, form, output in monitors:
            # Apart, since heflwr's Prometheus thread can't be started twice.
            r = measure(package, form, output, interval, "accuracy") | measure(package, form, output, interval, "cost")
            cost = r["cpu_ms_per_sample"]
            print(
                f"| {package} {form}.{output} | {interval} | {'none came' if cost is None else f'{cost:.3f}'} "
                f"| {r['samples_per_sec']:.2f} | {r['start_ms']:.0f} | {r['stop_ms']:.0f} | {r['import_sec']:.3f} "
                f"| {r['import_mb']:.1f} | {r['child_uss_mb']:.1f} | {r['told_cores']:.3f} | {r['true_cores']:.3f} |",
                flush=True,
            )
    print("\n| monitor, 10 samples a second | pure Python slower by | NumPy slower by |\n|---|---|---|")
    for package, form, output in monitors:
        if output != "file":
            continue
        r = measure(package, form, output, 0.1, "paired")
        cells = [
            f"{r[f'slower_{w}'][0]:+.1f} % [{r[f'slower_{w}'][1]:+.1f}, {r[f'slower_{w}'][2]:+.1f}]"
            for w in ("python", "numpy")
        ]
        print(f"| {package} {form}.{output} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
