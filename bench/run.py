"""Everything that is measured, in one go; the figures go into RESULTS.md, each part with its machine.

python bench/run.py [--quick] [--only log_call ingest …]
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
MARK = "<!-- figures -->"

PARTS: dict[str, tuple[str, list[str], list[str]]] = {
    # name: (title, arguments, arguments when quick)
    "log_call": (
        "(a) A log call: 8 metrics for one of 100 clients, beside peers",
        ["--repeat", "3"],
        ["--repeat", "1", "--only", "jsonl", "fedsight"],
    ),
    "ingest": (
        "(b) Ingest over HTTP, collector pinned to one core, until queryable",
        ["--updates", "300000", "--repeats", "3"],
        ["--updates", "50000", "--repeats", "1"],
    ),
    "queries": (
        "(c) Filling and reading 1,000 rounds x 1,000 clients x 10 metrics",
        [],
        ["--rounds", "100", "--clients", "100"],
    ),
    "memory": ("(d) Memory over a run of a million updates", [], ["--updates", "100000"]),
    "rounds": ("(f) HiveWatch's workload: rounds of client updates with 14 fields", [], ["--quick"]),
    "monitor": ("(g) Resource monitors, beside heflwr's, and beside the readings alone", [], ["--quick"]),
    "load": (
        "(h) A collector under load: producers, WebSockets, questions and sources at once",
        [],
        ["--seconds", "5", "--producers", "10", "--readers", "10"],
    ),
    "flower": (
        "(i) The Flower bridge: rounds of a strategy, driven without a network",
        [],
        ["--quick", "--repeats", "1"],
    ),
    "nvflare": (
        "(j) NVFLARE: metrics that are kept, with NVFLARE's own receivers and with Fedsight's",
        [],
        ["--quick"],
    ),
    "dashboard": ("(e) The dashboard of a run of 200 rounds x 100 clients", [], ["--repeat", "2"]),
}


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), "
        f"{int(memory[1]) / 1e6:.0f} GB, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"load {load:.1f} at the start"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and without peers; nothing is written")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS), help="which parts")
    options = parser.parse_args()
    for name in options.only:
        title, arguments, quick = PARTS[name]
        print(f"── {title}", file=sys.stderr, flush=True)
        began = f"{machine()}; {time.strftime('%Y-%m-%d', time.gmtime())}"
        command = [sys.executable, str(HERE / f"{name}.py"), *(quick if options.quick else arguments)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        print(out, flush=True)
        if not out.startswith("|"):
            out = f"```\n{out}\n```"
        if not options.quick:
            write(title, f"`{' '.join(['python', f'bench/{name}.py', *arguments])}` on {began}\n\n{out}")
            print(f"written to {RESULTS.name}", file=sys.stderr)


def write(title: str, text: str) -> None:
    """Put one part into the results, in its place; the others stay as they were measured."""
    head, _, figures = RESULTS.read_text().partition(MARK)
    parts = {}
    for part in f"\n{figures}".split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        parts[heading] = body.strip()
    parts[title] = text
    ordered = [f"## {heading}\n\n{parts[heading]}\n" for heading in sorted(parts)]
    RESULTS.write_text(head + MARK + "\n\n" + "\n".join(ordered))


if __name__ == "__main__":
    main()
