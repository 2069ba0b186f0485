"""What dashboards ask while the load is on, one question after the other, at a steady rate; prints JSON.

`python questions.py URL NUM_RUNS QUESTIONS_PER_SEC`. Ends when standard input is closed.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import threading
import time

import httpx

PATHS = (
    "/api/v1/runs?limit=50",
    "/api/v1/runs/{run}",
    "/api/v1/runs/{run}/rounds?limit=500",
    "/api/v1/runs/{run}/clients?limit=50",
    "/api/v1/runs/{run}/series?scope=global&metric=global_accuracy,global_loss",
    "/api/v1/runs/{run}/events?limit=100",
    "/api/v1/fl/metrics?run_id={run}",
    "/api/v1/network/metrics?timeframe=1h",
    "/api/v1/status",
    "/api/v1/sources",
)


def main() -> None:
    url, num_runs, per_sec = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    order = random.Random(1)
    took_sec: dict[str, list[float]] = {path: [] for path in PATHS}
    failures: list[str] = []
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        while len(client.get("/api/v1/runs", params={"project": "load"}).json()["columns"]["run_id"]) < num_runs:
            time.sleep(0.1)
        due_sec = time.monotonic()
        while not is_over.is_set():
            path = order.choice(PATHS)
            began_sec = time.perf_counter()
            answer = client.get(path.format(run=f"load-{order.randrange(num_runs)}"))
            took_sec[path].append(time.perf_counter() - began_sec)
            if answer.status_code != 200:
                failures.append(f"{answer.status_code} {path}: {answer.text[:200]}")
            due_sec = max(due_sec + 1 / per_sec, time.monotonic() - 1)
            is_over.wait(max(0.0, due_sec - time.monotonic()))
    everything = sorted(value for values in took_sec.values() for value in values)
    result = {
        "num_questions": len(everything),
        "failures": failures[:20],
        "p50_ms": 1e3 * statistics.median(everything),
        "p99_ms": 1e3 * everything[int(len(everything) * 0.99)],
        "max_ms": 1e3 * everything[-1],
        "by_path_p99_ms": {p: 1e3 * sorted(v)[int(len(v) * 0.99)] for p, v in took_sec.items() if v},
    }
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main()
