"""(h) Producers, browsers, questions and sources at once, on one collector: is anything lost, how long do answers take, does memory stay.

    python bench/load.py                                                # 100 producers, 200 WebSockets, 5 sources, 60 s
    python bench/load.py --seconds 1800 --producers 20 --readers 20     # half an hour, for the memory

Everything talks on loopback and ends by itself. Exits with 1 where something was lost. The producers are real runs and sites
that ship their journals; every journal must stand in the collector byte for byte, and every WebSocket must have been told of every
update of its run, or that it was not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ingest import wait_for_url

from collector.sources.replay import replaying
from collector.sources.standins import FLServerStandin, PolicyStandin
from fedsight.collector.access import Tokens

HERE = Path(__file__).parent
PRODUCER_PROCESSES = 2
SITES_A_RUN = 9
QUESTIONS_PER_SEC = 20
SETTLE_SEC = 60.0


def config(fl_url: str, policy_url: str, plain_url: str) -> str:
    """Five sources, each polled every second."""
    mapped = '[source.mapping]\nround = "metrics.current_round"\naccuracy = "metrics.last_round_accuracy"\n'
    tables = [
        ("fl_server", "fl", fl_url, ""),
        ("policy", "policy", policy_url, ""),
        ("prometheus", "gauges", f"{plain_url}/metrics", ""),
        ("fl_server", "mapped", f"{plain_url}/state", mapped),
        ("reach", "reach", "", f'targets = ["{plain_url.replace("http", "tcp")}"]\n'),
    ]
    return "".join(
        f'[[source]]\nkind = "{kind}"\nname = "{name}"\n'
        + (f'url = "{url}"\n' if url else "")
        + f"interval_sec = 1\n{more}"
        for kind, name, url, more in tables
    )


@contextmanager
def asked_systems() -> Iterator[str]:
    """The systems that the sources ask, alive; the configuration that names them."""
    with FLServerStandin(now=time.time()) as fl, PolicyStandin() as policy, replaying() as plain:
        plain.answer("/metrics", "".join(f'load{{core="{n}"}} 0.5\n' for n in range(50)))
        is_over = threading.Event()

        def live() -> None:
            number = 0
            while not is_over.wait(1.0):
                number += 1
                fl.begin_round(number)
                fl.end_round(number, 0.5)
                policy.decide(number % 5 > 0, time.time())
                plain.answer("/state", {"metrics": {"current_round": number, "last_round_accuracy": 0.5}})

        thread = threading.Thread(target=live, daemon=True)
        thread.start()
        try:
            yield config(fl.url, policy.url, plain.url)
        finally:
            is_over.set()
            thread.join()


class Part:
    """A script of `loading/` as a process; its last line is JSON."""

    def __init__(self, script: str, *arguments: object) -> None:
        self.name = script
        self.process = subprocess.Popen(
            [sys.executable, HERE / "loading" / script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def result(self, timeout_sec: float) -> dict[str, Any]:
        """Close its input, and wait for what it has to say."""
        out, _ = self.process.communicate(timeout=timeout_sec)
        if self.process.returncode:
            raise SystemExit(f"{self.name} ended with {self.process.returncode}")
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Watch:
    """The collector's memory and CPU while the load is on."""

    def __init__(self, pid: int, interval_sec: float) -> None:
        self.samples_mb: list[tuple[float, float]] = []
        self._process = psutil.Process(pid)
        self._interval_sec = interval_sec
        self._is_over = threading.Event()
        self._began_sec = time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while True:
            self.samples_mb.append((time.monotonic() - self._began_sec, self._process.memory_info().rss / 1e6))
            if self._is_over.wait(self._interval_sec):
                return

    def cpu_sec(self) -> float:
        return sum(self._process.cpu_times()[:2])

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()


def collected(data: Path) -> set[str]:
    """The hashes of the journals that the collector keeps."""
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in (data / "journals").rglob("*.jsonl")}


def counted(url: str) -> dict[str, int]:
    """What the store says there is of this load."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        columns = client.get("/api/v1/runs", params={"project": "load", "limit": 1000}).json()["columns"]
        status = client.get("/api/v1/status").json()
        sources = client.get("/api/v1/sources").json()["sources"]
    return {
        "num_updates": sum(columns["num_updates"]),
        "num_rounds": sum(columns["num_rounds"]),
        "num_ended": columns["state"].count("finished"),
        "num_dead_letters": status["num_dead_letters"],
        "pending_bytes": status["pending_bytes"],
        "num_sources_up": sum(source["state"] == "up" for source in sources),
    }


def settled(url: str, data: Path, wanted: set[str], told: dict[str, int], num_runs: int) -> dict[str, int]:
    """Wait until everything that was told is there, or until it will not come."""
    deadline_sec = time.monotonic() + SETTLE_SEC
    while True:
        found = counted(url)
        is_whole = (
            found["num_updates"] >= told["num_updates"]
            and found["num_ended"] >= num_runs
            and not found["pending_bytes"]
        )
        if (is_whole and wanted <= collected(data)) or time.monotonic() > deadline_sec:
            return {**found, "num_journals_missing": len(wanted - collected(data))}
        time.sleep(0.5)


def measure(options: argparse.Namespace, folder: Path, settings: str) -> dict[str, Any]:
    (folder / "fedsight.toml").write_text(settings)
    data = folder / "data"
    token, _ = Tokens(data / "tokens.json").create("admin")
    log = folder / "log"
    command = "from fedsight.cli import main; main()"
    with log.open("w") as out:
        collector = subprocess.Popen(
            [
                sys.executable,
                "-c",
                command,
                "serve",
                "--data",
                data,
                "--port",
                "0",
                "--config",
                folder / "fedsight.toml",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
    parts: list[Part] = []
    try:
        url = wait_for_url(log, collector)
        num_runs = options.producers // (SITES_A_RUN + 1)
        readers = Part("readers.py", url, options.readers, num_runs)
        parts.append(readers)
        if readers.line() != "ready\n":
            raise SystemExit("the WebSockets could not subscribe")
        watch = Watch(collector.pid, options.watch_sec)
        cpu_before_sec = watch.cpu_sec()
        began_sec = time.monotonic()
        shares = [
            num_runs // PRODUCER_PROCESSES + (n < num_runs % PRODUCER_PROCESSES) for n in range(PRODUCER_PROCESSES)
        ]
        producers = [
            Part(
                "producers.py", url, token, folder / "runs", sum(shares[:n]), share, SITES_A_RUN, options.seconds,
                options.events_per_sec,
            )
            for n, share in enumerate(shares) if share
        ]  # fmt: skip
        questions = Part("questions.py", url, num_runs, QUESTIONS_PER_SEC)
        parts += [*producers, questions]
        written = [each.result(options.seconds + 180) for each in producers]
        wall_sec = time.monotonic() - began_sec
        asked = questions.result(60)
        told = {key: sum(each[key] for each in written) for key in written[0] if key != "journals"}
        wanted = {sha for each in written for sha in each["journals"].values()}
        found = settled(url, data, wanted, told, num_runs)
        heard = readers.result(120)
        watch.stop()
        return {
            "wall_sec": wall_sec,
            "told": told,
            "found": found,
            "asked": asked,
            "heard": heard,
            "updates_a_run": told["num_updates"] // num_runs,
            "rounds_a_run": told["num_rounds"] // num_runs,
            "num_runs": num_runs,
            "collector_cpu_sec": watch.cpu_sec() - cpu_before_sec,
            "memory_mb": watch.samples_mb,
        }
    finally:
        for part in parts:
            part.end()
        collector.send_signal(signal.SIGTERM)
        collector.wait(30)


def losses(r: dict[str, Any]) -> list[str]:
    """What is missing, in words."""
    told, found, heard = r["told"], r["found"], r["heard"]
    checks = {
        "journals differ from the producers'": found["num_journals_missing"],
        "updates are not in the store": told["num_updates"] - found["num_updates"],
        "rounds are not in the store": told["num_rounds"] - found["num_rounds"],
        "runs have not ended": r["num_runs"] - found["num_ended"],
        "lines were refused": found["num_dead_letters"],
        "events could not be recorded": told["num_not_recorded"],
        "sources are not up": 5 - found["num_sources_up"],
        "WebSockets broke": len(heard["broken"]),
        "WebSockets missed updates without being told": sum(n < r["updates_a_run"] for n in heard["updates"]),
        "questions failed": len(r["asked"]["failures"]),
    }
    return [f"{number} {what}" for what, number in checks.items() if number]


def report(r: dict[str, Any], options: argparse.Namespace) -> str:
    told, asked, heard = r["told"], r["asked"], r["heard"]
    num_events = told["num_updates"] + told["num_steps"] + 2 * told["num_rounds"]
    memory = [mb for _, mb in r["memory_mb"]]
    rows = {
        "producers; WebSockets; sources": f"{options.producers}; {options.readers}; 5",
        "load, s": f"{r['wall_sec']:.0f}",
        "events written; a second": f"{num_events:,}; {num_events / r['wall_sec']:,.0f}",
        "lost": "; ".join(losses(r)) or "nothing",
        "WebSocket messages; skipped and said so": f"{heard['num_messages']:,}; {heard['num_skipped']:,}",
        "from log call to WebSocket, s: median; p99": f"{heard['delay_p50_sec']:.2f}; {heard['delay_p99_sec']:.2f}",
        "reads; a second": f"{asked['num_questions']:,}; {asked['num_questions'] / r['wall_sec']:.0f}",
        "reads, ms: median; p99; max": f"{asked['p50_ms']:.1f}; {asked['p99_ms']:.1f}; {asked['max_ms']:.1f}",
        "collector's CPU, cores": f"{r['collector_cpu_sec'] / r['wall_sec']:.2f}",
        "collector's memory, MB: first; peak; last": f"{memory[0]:.0f}; {max(memory):.0f}; {memory[-1]:.0f}",
    }
    lines = ["| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows.items())]
    if options.seconds >= 600:
        lines += ["", "| from minute | collector's memory, MB (median) |", "|---|---|"]
        for first in range(0, int(options.seconds / 60), 5):
            part = [mb for sec, mb in r["memory_mb"] if first * 60 <= sec < (first + 5) * 60]
            lines += [f"| {first} | {statistics.median(part):.0f} |"] if part else []
    lines += ["", "| question | p99 ms |", "|---|---|"]
    lines += [f"| {path} | {ms:.1f} |" for path, ms in asked["by_path_p99_ms"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--producers", type=int, default=100, help="runs and sites together, in tens")
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--events-per-sec", type=float, default=10, help="of each producer")
    parser.add_argument("--watch-sec", type=float, default=1.0, help="between looks at the collector's memory")
    options = parser.parse_args()
    if options.producers < 10 or options.producers % 10:
        parser.error(f"--producers {options.producers}: allowed are 10, 20, 30, …")
    with tempfile.TemporaryDirectory(prefix="fedsight-load-") as name, asked_systems() as settings:
        result = measure(options, Path(name), settings)
    print(report(result, options))
    if losses(result):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
