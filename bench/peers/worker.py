"""One recorder, one process: times every log call and the time until all is durable; prints JSON.

Runs in each peer's own virtual environment: `python worker.py NAME CALLS FOLDER PACE_PER_SEC`.
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from workload import client_of, metrics_of, round_of


def main() -> None:
    name, calls, folder, pace = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
    os.chdir(folder)
    opened = time.perf_counter()
    recorder = importlib.import_module(f"recorder_{name}").Recorder()
    work = [(client_of(call), round_of(call), metrics_of(call)) for call in range(calls)]
    for client, round_, metrics in work[:100]:  # warm caches; not counted
        recorder.log(client, round_, metrics)
    open_sec = time.perf_counter() - opened
    clock = time.perf_counter_ns
    times = []
    began = time.perf_counter()
    for call, (client, round_, metrics) in enumerate(work):
        if pace:
            time.sleep(max(0.0, began + call / pace - time.perf_counter()))
        start = clock()
        recorder.log(client, round_, metrics)
        times.append(clock() - start)
    logged = time.perf_counter() - began
    recorder.close()
    durable = time.perf_counter() - began
    times.sort()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(
        json.dumps(
            {
                "name": name,
                "calls": calls,
                "p50_us": times[len(times) // 2] / 1e3,
                "p99_us": times[len(times) * 99 // 100] / 1e3,
                "max_us": times[-1] / 1e3,
                "open_sec": open_sec,
                "logged_sec": logged,
                "durable_sec": durable,
                "cpu_sec": sum(u.ru_utime + u.ru_stime for u in usage),
                "peak_rss_mb": usage[0].ru_maxrss / 1024,
                "bytes_per_call": size / calls,
            }
        )
    )


if __name__ == "__main__":
    main()
