"""(j) NVFLARE: what of 3 sites x 900 fast metrics is kept, and what an MLflow that is away, slow or picky costs the job."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peer import HERE, python_of

from fedsight.cli.reindexing import build
from fedsight.store import Store
from fedsight.store.queries.series import series

SITES = ("site-1", "site-2", "site-3")
EXPECTED = 2700
AWAY = "http://127.0.0.1:9"


@contextmanager
def a_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=HERE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(version: str, script: str, *arguments: object, folder: Path, **variables: str) -> dict[str, Any]:
    """What a script prints in its last line, with Fedsight and the peers importable."""
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE / "peers")])
    out = subprocess.run(
        [python_of(f"nvflare-{version}"), HERE / "peers" / script, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "BENCH_FOLDER": str(folder)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=900,
    )
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def num_disordered(steps: list[int]) -> int:
    """How many come after one that is later."""
    latest, found = -1, 0
    for step in steps:
        found += step < latest
        latest = max(latest, step)
    return found


def counted(folder: Path) -> tuple[int, int]:
    """How many records a receiver wrote, and how many of them out of order."""
    records = [json.loads(line) for line in (folder / "counted.jsonl").read_text().splitlines()]
    return len(records), sum(num_disordered([step for who, _, step in records if who == site]) for site in SITES)


def stored(folder: Path) -> tuple[int, int]:
    """How many points a store of the run's journals has, and how many of them out of order."""
    build(folder / "runs", folder / "index.duckdb", on_total=lambda _: None, on_progress=lambda _: None)
    (path,) = (folder / "runs").glob("*.jsonl")
    with Store.open(folder / "index.duckdb") as store:
        curves = [
            series(store, path.stem, scope="step", metrics=["loss"], client_id=site).columns["step"] for site in SITES
        ]
    return sum(map(len, curves)), sum(map(num_disordered, curves))


def fast_metrics(version: str, receiver: str) -> str:
    with a_folder() as folder:
        took = run(version, "nvflare_job.py", receiver, folder, folder=folder)
        if receiver == "none":
            return f" | | {took['job_sec']:.1f}"
        found, disordered = stored(folder) if receiver.startswith("fedsight") else counted(folder)
    return f"{found} of {EXPECTED} ({found / EXPECTED:.0%}) | {disordered} | {took['job_sec']:.1f}"


def a_changed_parameter(receiver: str) -> str:
    with a_folder() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        took = run("2.9", "nvflare_job.py", receiver, folder, uri, folder=folder, BENCH_CHANGES="1")
        found = run("2.9", "mlflow_points.py", uri, folder=folder)
    points = sum(found["points"].values())
    return f"{points} of {EXPECTED} ({points / EXPECTED:.0%}) | {took['job_sec']:.1f}"


def mlflow_away(receiver: str) -> str:
    with a_folder() as folder:
        took = run("2.9", "nvflare_job.py", receiver, folder, AWAY, folder=folder)
        kept = "none" if receiver == "mlflow" else "" if receiver == "none" else f"{stored(folder)[0]} of {EXPECTED}"
    return f"{took['start_sec']:.1f} | {took['job_sec']:.1f} | {kept}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fast metrics on 2.9 through Fedsight alone")
    options = parser.parse_args()
    print("| NVFLARE, receiver | fast metrics kept | out of order, as it can be read | job s |\n|---|---|---|---|")
    receivers = {
        "none": "none",
        "counting": "one that writes in `save`",
        "slow": "one whose `save` takes 20 ms",
        "fedsight": "Fedsight",
        "fedsight+slow": "Fedsight, a destination that takes 20 ms an event",
        "fedsight+hanging": "Fedsight, a destination that hangs",
    }
    for version in ("2.9",) if options.quick else ("2.8", "2.9"):
        for name, title in receivers.items():
            if not options.quick or name == "fedsight":
                print(f"| {version}, {title} | {fast_metrics(version, name)} |", flush=True)
    if options.quick:
        return
    print("\n| MLflow in a database, a parameter that changes | points in MLflow | job s |\n|---|---|---|")
    for name, title in {"mlflow": "NVFLARE's MLflowReceiver", "fedsight+mlflow": "Fedsight's MLflowReceiver"}.items():
        print(f"| {title} | {a_changed_parameter(name)} |", flush=True)
    print("\n| MLflow away | s until the first task | job s | kept, to be delivered |\n|---|---|---|---|")
    for name, title in {
        "none": "no receiver",
        "fedsight+mlflow": "Fedsight's MLflowReceiver",
        "mlflow": "NVFLARE's MLflowReceiver",
    }.items():
        print(f"| {title} | {mlflow_away(name)} |", flush=True)


if __name__ == "__main__":
    main()
