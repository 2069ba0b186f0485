"""One process: a training that one monitor watches; prints JSON.

`python monitored.py heflwr|fedsight|floor process|thread file|prometheus|remote INTERVAL MODE`, in an empty folder.
MODE: `accuracy` (is it right, how long do start and stop take), `cost` (what a sample costs) or `paired` (does the training become
slower). `floor` is a thread that wakes up and reads the three files of /proc that hold the same figures, and does nothing with them.
"""

import importlib
import importlib.util
import json
import os
import random
import resource
import signal
import socket
import statistics
import sys
import threading
import time
import types
from pathlib import Path

WARM_UP_SEC = 6.0
"""heflwr waits 5 s in its first reading: its cost is measured after that, and so is ours."""


def cpu_sec(pid):
    """CPU time of a process, by its POSIX clock."""
    return time.clock_gettime((~pid << 3) | 2)


def threads():
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def thread_cpu_sec(thread):
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def children():
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def memory_kb(pid, *names):
    """The sum of some lines of a process's memory map, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in names)


def pure_python():
    total = 0
    for number in range(60_000):
        total += number * number & 7
    return total


def numpy_step():
    import numpy as np

    random_numbers = np.random.default_rng(0)
    x = random_numbers.standard_normal((10_000, 64))
    y = (x @ random_numbers.standard_normal(64) > 0).astype(float)
    weights = np.zeros(64)

    def step():
        nonlocal weights
        p = 1 / (1 + np.exp(-(x @ weights)))
        weights = weights - 0.1 * (x.T @ (p - y)) / len(y)

    return step


class Floor:
    """What the readings alone cost: `stat`, `statm` and `net/dev`, by descriptors that stay open."""

    def __init__(self, interval):
        self.interval, self.reads, self.over = interval, [], threading.Event()

    def start(self):
        self.files = [os.open(f"/proc/self/{name}", os.O_RDONLY) for name in ("stat", "statm", "net/dev")]
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        due = time.monotonic()
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due += self.interval
            self.reads.append([os.pread(each, 4096, 0) for each in self.files] and time.monotonic())

    def stats(self):
        return {"memory_usage": self.reads}

    def stop(self):
        self.over.set()
        self.thread.join()

    def set_metrics(self, **_):
        pass


def make_monitor(package, form, output, interval):
    before_kb, start = memory_kb("self", "Pss"), time.perf_counter()
    if package == "floor":
        return Floor(interval), {"import_sec": 0.0, "import_mb": 0.0}
    if package == "heflwr":
        # Its __init__ imports torch and flwr, which it does not declare: without them is its best case.
        spec = importlib.util.find_spec("heflwr")
        bare = types.ModuleType("heflwr")
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules["heflwr"] = bare
    module = importlib.import_module(f"{package}.monitor.{form}_monitor")
    imported = {
        "import_sec": time.perf_counter() - start,
        "import_mb": (memory_kb("self", "Pss") - before_kb) / 1024,
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if output == "file":
        monitor = module.FileMonitor(file="log.txt", interval=interval)
    elif output == "prometheus":
        monitor = module.PrometheusMonitor(port=port, interval=interval)
    else:  # a port that nobody listens on: what an outage costs is part of the price
        monitor = module.RemoteMonitor(host=f"127.0.0.1:{port}", interval=interval, identifier="bench")
    return monitor, imported


def accuracy(monitor, interval, result):
    step = numpy_step()
    step()
    start = time.perf_counter()
    monitor.start()
    result["start_ms"] = (time.perf_counter() - start) * 1e3
    # Right or wrong: a training of 2.5 intervals, at least 1 s, from the start on.
    began, busy = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    while time.perf_counter() - began < max(1.0, 2.5 * interval):
        step()
    result["seconds"] = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    truth_sec = after.ru_utime + after.ru_stime - busy.ru_utime - busy.ru_stime
    result["true_cores"] = truth_sec / result["seconds"]
    start = time.perf_counter()
    monitor.stop()
    result["stop_ms"] = (time.perf_counter() - start) * 1e3
    summary = monitor.summary()
    # heflwr reports the share of one core, whatever its text says; ours that of the machine, and cores.
    told = summary.get("avg_cpu_cores")
    result["told_cores"] = summary["avg_cpu_usage"] / 100 if told is None else told


def cost(monitor, result):
    numpy_step()()  # the threads that NumPy begins are not the monitor's
    threads_before = threads()
    monitor.start()
    time.sleep(WARM_UP_SEC)
    pids, own = children(), threads() - threads_before
    count = len(monitor.stats()["memory_usage"])
    before = sum(map(cpu_sec, pids)) + sum(map(thread_cpu_sec, own))
    began = time.perf_counter()
    time.sleep(6.0)
    spent_sec = sum(map(cpu_sec, pids)) + sum(map(thread_cpu_sec, own)) - before
    took_sec = time.perf_counter() - began
    samples = len(monitor.stats()["memory_usage"]) - count
    result["samples_per_sec"] = samples / took_sec
    result["cpu_ms_per_sample"] = spent_sec / samples * 1e3 if samples else None
    result["child_uss_mb"] = sum(memory_kb(pid, "Private_Clean", "Private_Dirty") for pid in pids) / 1024
    monitor.stop()


def paired(monitor, result):
    """The monitor switched on and off in blocks, in random order; the median ratio of on to off."""
    monitor.start()
    time.sleep(WARM_UP_SEC)
    pids = children()

    def switch(is_on):
        if pids:
            for pid in pids:
                os.kill(pid, signal.SIGCONT if is_on else signal.SIGSTOP)
        else:
            monitor.set_metrics(cpu=is_on, memory=is_on, network=is_on)

    order = random.Random(1)
    for name, step in (("python", pure_python), ("numpy", numpy_step())):
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < 0.3:
            step()
            steps += 1
        ratios = []
        for _ in range(30):
            took = {}
            for is_on in order.sample([True, False], 2):
                switch(is_on)
                time.sleep(0.02)
                start = time.perf_counter()
                for _ in range(steps):
                    step()
                took[is_on] = time.perf_counter() - start
            ratios.append(took[True] / took[False])
        medians = sorted(statistics.median(order.choices(ratios, k=len(ratios))) for _ in range(1000))
        result[f"slower_{name}"] = [
            100 * (value - 1) for value in (statistics.median(ratios), medians[25], medians[975])
        ]
    switch(True)
    monitor.stop()


def main():
    package, form, output, interval, mode = *sys.argv[1:4], float(sys.argv[4]), sys.argv[5]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    monitor, result = make_monitor(package, form, output, interval)
    if mode == "accuracy":
        accuracy(monitor, interval, result)
    elif mode == "cost":
        cost(monitor, result)
    else:
        paired(monitor, result)
    sys.stdout.write(f"\n{json.dumps(result)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
