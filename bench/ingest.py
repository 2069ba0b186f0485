"""How many client updates a second one core of a collector takes in, until they can be queried.

A real `fedsight serve` is pinned to one core; the senders are a process on another. They post
journals of client updates (12 fields each) in bodies of about 1 MB. The clock runs from the first
post until the collector's own answer counts them all.

    python bench/ingest.py --updates 300000 --repeats 3 --json ingest.json
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import multiprocessing
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil
import zstandard

from fedsight.collector.access import Tokens
from fedsight.events import ClientUpdate, JournalHeader, RoundEnd, RoundStart, RunStart, encode

NUM_JOURNALS = 4
CLIENTS_PER_ROUND = 100
BODY_BYTES = 1 << 20
PACKINGS = ("identity", "gzip", "zstd")


class Result(msgspec.Struct):
    """One measurement."""

    packing: str
    num_updates: int
    wall_sec: float
    updates_per_sec: float
    collector_cpu_sec: float
    collector_peak_mb: float
    sent_mb: float
    journal_mb: float
    num_refused_429: int


def journal_bodies(journal: str, run_id: str, num_updates: int, seed: int) -> list[bytes]:
    """One run's journal, cut into bodies of whole lines."""
    rng = random.Random(seed)
    bodies: list[bytes] = []
    lines = [
        encode(JournalHeader(ts=0.0, version=1, journal=journal, role="server", run_id=run_id)),
        encode(RunStart(ts=0.0, run_id=run_id, project="bench")),
    ]
    size = 0
    for number in range(num_updates // CLIENTS_PER_ROUND):
        ts = 1.7e9 + number
        clients = [f"site-{n}" for n in range(CLIENTS_PER_ROUND)]
        lines.append(encode(RoundStart(ts=ts, round=number, selected=clients)))
        for client in clients:
            lines.append(
                encode(
                    ClientUpdate(
                        ts=ts + rng.random(),
                        client_id=client,
                        round=number,
                        base_round=number,
                        status="active",
                        local_accuracy=rng.random(),
                        local_loss=rng.random() * 2,
                        num_samples=rng.randrange(100, 1000),
                        gradient_norm=rng.random() * 10,
                        bytes_sent=rng.randrange(10**6),
                        bytes_received=rng.randrange(10**6),
                        train_time_sec=rng.random() * 30,
                        cpu_pct=rng.random() * 100,
                    )
                )
            )
            size += len(lines[-1])
            if size >= BODY_BYTES:
                bodies.append(b"".join(lines))
                lines, size = [], 0
        lines.append(encode(RoundEnd(ts=ts + 1, round=number, global_accuracy=rng.random(), global_loss=rng.random())))
    if lines:
        bodies.append(b"".join(lines))
    return bodies


def pack(body: bytes, packing: str) -> bytes:
    if packing == "gzip":
        return gzip.compress(body, 1, mtime=0)
    return zstandard.ZstdCompressor(level=1).compress(body) if packing == "zstd" else body


def send(url: str, token: str, packing: str, num_updates: int, core: int, ready, go, done) -> None:
    """The senders' process: one connection a journal, bodies made beforehand."""
    os.sched_setaffinity(0, {core})
    parts = urlsplit(url)
    journals = []
    for number in range(NUM_JOURNALS):
        bodies = journal_bodies(f"bench{number}", f"bench-{number}", num_updates // NUM_JOURNALS, number)
        offset, posts = 0, []
        for body in bodies:
            posts.append((offset, pack(body, packing)))
            offset += len(body)
        journals.append((f"bench{number}", posts, offset))
    refused = [0]

    def one(journal: str, posts: list[tuple[int, bytes]]) -> None:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        for offset, body in posts:
            while True:
                connection.request(
                    "POST",
                    f"/api/v1/journals/{journal}?offset={offset}",
                    body,
                    {
                        "Authorization": f"Bearer {token}",
                        "Content-Type": "application/x-ndjson",
                        "Content-Encoding": packing,
                    },
                )
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    break
                if answer.status != 429:
                    raise SystemExit(f"{answer.status} {text!r}")
                refused[0] += 1
                time.sleep(0.2)

    ready.set()
    go.wait()
    threads = [threading.Thread(target=one, args=(journal, posts)) for journal, posts, _ in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = sum(len(body) for _, posts, _ in journals for _, body in posts)
    done.put((sent, sum(size for _, _, size in journals), refused[0]))


def measure(packing: str, num_updates: int, cores: tuple[int, int]) -> Result:
    with tempfile.TemporaryDirectory(prefix="fedsight-bench-") as folder:
        data = Path(folder) / "data"
        token, _ = Tokens(data / "tokens.json").create("admin")
        log = (Path(folder) / "log").open("w+")
        collector = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from fedsight.cli import main; main()",
                "serve",
                "--data",
                str(data),
                "--port",
                "0",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
            preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]}),
        )
        try:
            url = wait_for_url(Path(folder) / "log", collector)
            context = multiprocessing.get_context("spawn")
            ready, go, done = context.Event(), context.Event(), context.Queue()
            sender = context.Process(
                target=send, args=(url, token, packing, num_updates, cores[1], ready, go, done), daemon=True
            )
            sender.start()
            ready.wait()
            process = psutil.Process(collector.pid)
            cpu_before = sum(process.cpu_times()[:2])
            began = time.perf_counter()
            go.set()
            peak = 0
            while counted(url) < num_updates:
                peak = max(peak, process.memory_info().rss)
                time.sleep(0.1)
                if time.perf_counter() - began > 300 or not (sender.is_alive() or sender.exitcode == 0):
                    raise SystemExit("the updates did not all arrive within 300 s")
            wall = time.perf_counter() - began
            cpu = sum(process.cpu_times()[:2]) - cpu_before
            sent, size, refused = done.get(timeout=30)
            sender.join()
            return Result(
                packing, num_updates, wall, num_updates / wall, cpu, peak / 2**20, sent / 2**20, size / 2**20, refused
            )
        finally:
            collector.terminate()
            collector.wait(30)
            log.close()


def wait_for_url(log: Path, collector: subprocess.Popen[bytes]) -> str:
    while collector.poll() is None:
        if found := re.search(r"http://\S+:\d+", log.read_text()):
            return found.group()
        time.sleep(0.05)
    raise SystemExit(log.read_text())


def counted(url: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", "/api/v1/runs?project=bench")
    columns = json.loads(connection.getresponse().read())["columns"]
    connection.close()
    return sum(columns["num_updates"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--packing", choices=[*PACKINGS, "all"], default="all")
    parser.add_argument("--json", type=Path, help="Write the results to this file.")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("needs two cores: one for the collector, one for the senders")
    per_journal = CLIENTS_PER_ROUND * NUM_JOURNALS
    num_updates = arguments.updates // per_journal * per_journal
    medians = []
    for packing in PACKINGS if arguments.packing == "all" else (arguments.packing,):
        results = [measure(packing, num_updates, (cores[0], cores[1])) for _ in range(arguments.repeats)]
        middle = statistics.median_low([r.updates_per_sec for r in results])
        medians.append(next(r for r in results if r.updates_per_sec == middle))
        m = medians[-1]
        print(
            f"{packing:9} {m.updates_per_sec:10,.0f} updates/s  wall {m.wall_sec:6.2f} s  collector CPU "
            f"{m.collector_cpu_sec:6.2f} s  peak {m.collector_peak_mb:5.0f} MB  sent {m.sent_mb:6.1f} MB of "
            f"{m.journal_mb:6.1f} MB  refused {m.num_refused_429}   all: "
            + ", ".join(f"{r.updates_per_sec:,.0f}" for r in results),
            flush=True,
        )
    if arguments.json:
        machine = {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cores": len(cores),
            "load": os.getloadavg(),
        }
        arguments.json.write_bytes(
            msgspec.json.format(msgspec.json.encode({"machine": machine, "medians": medians}), indent=2) + b"\n"
        )


if __name__ == "__main__":
    main()
