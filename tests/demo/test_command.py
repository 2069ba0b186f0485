"""`fedsight demo` as a user runs it: a collector, a federation, and nothing left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from fedsight.events import RunEnd, decode
from fedsight.journal import list_journals, read_header

START_SEC = 90
CLIENTS = 6


class Demo:
    """A running `fedsight demo`, its output line by line."""

    def __init__(self, runs, *, rounds):
        options = ["--clients", str(CLIENTS), "--rounds", str(rounds), "--speed", "5", "--runs-dir", str(runs)]
        self.runs = runs
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from fedsight.cli import main; main()", "demo", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines = []

    def read_until(self, pattern):
        """Read on until a line matches."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if re.search(pattern, line):
                return line
        raise AssertionError(f"the demo ended before it said {pattern!r}:\n" + "\n".join(self.lines))

    def end(self):
        """Its exit code."""
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(60)

    def family(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def server_events(self):
        (path,) = [path for path in list_journals(self.runs) if read_header(path).role == "server"]
        return [decode(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def start(tmp_path):
    started = []

    def start_demo(rounds):
        started.append(Demo(tmp_path / "runs", rounds=rounds))
        return started[-1]

    yield start_demo
    for demo in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in demo.family():
                process.kill()
        demo.process.kill()
        demo.process.wait()
        demo.process.stdout.close()


def wait_until_gone(processes, timeout_sec=30):
    _, alive = psutil.wait_procs(processes, timeout=timeout_sec)
    assert alive == []


def test_without_a_terminal_it_ends_with_the_federation_and_all_is_delivered(start):
    demo = start(rounds=4)
    assert "http://127.0.0.1:" in demo.read_until("Dashboard:")
    demo.read_until(r"round +1/4")
    family = demo.family()
    assert len(family) == CLIENTS + 1
    assert demo.end() == 0, "\n".join(demo.lines)
    assert demo.server_events()[-1].status == "finished"
    wait_until_gone(family)
    ours = {read_header(path).journal: path.read_bytes() for path in list_journals(demo.runs)}
    kept = {
        read_header(path).journal: path.read_bytes() for path in list_journals(demo.runs / "collector" / "journals")
    }
    assert len(ours) == CLIENTS + 1
    assert {journal: text for journal, text in kept.items() if not journal.startswith("source-")} == ours


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_and_the_run_says_killed(start, interrupt):
    demo = start(rounds=500)
    demo.read_until(r"round +2/500")
    family = demo.family()
    demo.process.send_signal(interrupt)
    assert demo.end() == 130
    end = demo.server_events()[-1]
    assert isinstance(end, RunEnd)
    assert end.status == "killed"
    wait_until_gone(family)


def test_an_interrupt_before_the_first_round_ends_everything_too(start):
    demo = start(rounds=500)
    demo.read_until("Dashboard:")
    deadline = time.monotonic() + START_SEC
    while not (family := demo.family()):
        assert time.monotonic() < deadline
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == 130
    wait_until_gone(family)


def test_nothing_outlives_a_demo_that_is_killed(start):
    demo = start(rounds=500)
    demo.read_until(r"round +1/500")
    family = demo.family()
    demo.process.kill()
    wait_until_gone(family)
