"""(d) Memory over a long run: a recorder that logs a million updates and ships them to a real collector.

Prints resident memory of both at every tenth of the way. The recorder's should not grow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "emitters"))

from collector_process import CollectorProcess, wait_until  # noqa: E402

RECORDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from workload import client_of, metrics_of, round_of
import fedsight
from fedsight.emitters import CollectorEmitter
updates, clients = int(sys.argv[5]), 100
run = fedsight.Run("memory", runs_dir=sys.argv[2], verbose=False, emitters=[CollectorEmitter(sys.argv[3], sys.argv[4])])
for call in range(updates):
    run.log_client_update(client_of(call), round_of(call), **metrics_of(call))
    if call % clients == clients - 1:
        run.log_round(round_of(call), global_loss=1.0)
    if call % (updates // 10) == updates // 10 - 1 or call == updates // 50:
        print(call + 1, flush=True)
        sys.stdin.readline()
run.finish(timeout_sec=600)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=HERE, prefix="bench-") as folder:
        (Path(folder) / "data").mkdir()
        collector = CollectorProcess(Path(folder) / "data")
        collector.start()
        assert collector.process is not None
        served = psutil.Process(collector.process.pid)
        peak_mb = 0.0
        finished = threading.Event()

        def watch() -> None:
            nonlocal peak_mb
            while not finished.wait(0.2):
                peak_mb = max(peak_mb, served.memory_info().rss / 1e6)

        watcher = threading.Thread(target=watch)
        watcher.start()
        recorder = subprocess.Popen(
            [
                sys.executable, "-c", RECORDER, HERE / "peers", Path(folder) / "runs", collector.url, collector.token,
                str(options.updates),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert recorder.stdin
        assert recorder.stdout
        rows = []
        began = time.monotonic()
        for line in recorder.stdout:
            mine = psutil.Process(recorder.pid).memory_info().rss / 1e6
            rows.append({"updates": int(line), "recorder_mb": mine, "collector_mb": served.memory_info().rss / 1e6})
            recorder.stdin.write("\n")
            recorder.stdin.flush()
        recorder.wait()
        wait_until(lambda: _num_updates(collector) == options.updates, 600)
        took = time.monotonic() - began
        finished.set()
        watcher.join()
        end_mb = served.memory_info().rss / 1e6
        collector.stop()
    print("| updates | recorder MB | collector MB |\n|---|---|---|")
    for row in rows:
        print(f"| {row['updates']:,} | {row['recorder_mb']:.0f} | {row['collector_mb']:.0f} |")
    growth = rows[-1]["recorder_mb"] - rows[0]["recorder_mb"]
    print(
        f"\nRecorder grew by {growth:.1f} MB; collector's peak {peak_mb:.0f} MB, {end_mb:.0f} MB at the end; {took:.0f} s."
    )
    if options.json:
        options.json.write_text(
            json.dumps(
                {"rows": rows, "recorder_growth_mb": growth, "collector_peak_mb": peak_mb, "sec": took}, indent=1
            )
        )


def _num_updates(collector: CollectorProcess) -> int:
    answer = collector.get("/api/v1/runs/memory")
    return int(answer["run"]["num_updates"]) if answer else 0


if __name__ == "__main__":
    main()
