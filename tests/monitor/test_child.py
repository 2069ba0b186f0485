"""The child process of the process form: what it outlives, and what it doesn't."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_process import wait_until

from fedsight.events import Log, Sample
from fedsight.monitor import Monitor
from recorded import of_type

TRAINING = """
import os, sys, time
from fedsight.monitor import Monitor
monitor = Monitor(0.05, journal="monitor.jsonl")
monitor.start()
if {forks}:
    if os.fork() == 0:  # a worker, which inherits all that is open
        time.sleep(120)
        os._exit(0)
def tell():
    print(monitor.child_pid, flush=True)
{then}
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Training:
    """A program that is being monitored, in a session of its own."""

    def __init__(self, folder: Path, then: str = "tell()\ntime.sleep(120)", *, forks: bool = False) -> None:
        self.journal = folder / "monitor.jsonl"
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINING.format(then=then, forks=forks)],
            cwd=folder,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.child_pid = int(self.process.stdout.readline())

    def samples(self) -> list[Sample]:
        return of_type(self.journal, Sample)

    def end(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def trainings() -> Iterator[list[Training]]:
    started: list[Training] = []
    yield started
    for training in started:
        training.end()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with-a-forked-worker"])
def test_it_ends_with_its_parent_by_whatever_means(
    tmp_path: Path, trainings: list[Training], how: signal.Signals, forks: bool
) -> None:
    training = Training(tmp_path, forks=forks)
    trainings.append(training)
    assert is_running(training.child_pid)
    training.process.send_signal(how)
    training.process.wait()
    wait_until(lambda: not is_running(training.child_pid), seconds=5)
    assert len(training.samples()) >= 1


def test_it_goes_on_while_the_training_holds_the_interpreter(tmp_path: Path, trainings: list[Training]) -> None:
    # Arithmetic on one huge number never lets another thread of this interpreter run.
    training = Training(tmp_path, "tell()\nn = 3 ** 3_000_000\nwhile True: n * n")
    trainings.append(training)
    wait_until(lambda: len(training.samples()) >= 20)
    intervals = sorted(sample.metrics["interval_sec"] for sample in training.samples()[1:])
    assert intervals[len(intervals) // 2] == pytest.approx(0.05, rel=0.5)


def test_ctrl_c_is_the_trainings_and_the_last_reading_is_taken(tmp_path: Path, trainings: list[Training]) -> None:
    then = "try:\n    tell()\n    time.sleep(120)\nexcept KeyboardInterrupt:\n    time.sleep(0.3)\n    monitor.stop()"
    training = Training(tmp_path, then)
    trainings.append(training)
    os.killpg(training.process.pid, signal.SIGINT)  # as a terminal does
    training.process.wait()
    assert of_type(training.journal, Log)[-1].event == "stopped"
    assert training.samples()[-1].metrics["elapsed_sec"] >= 0.3


def test_a_child_that_is_killed_costs_the_rest_of_the_figures_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = Monitor(0.05, journal=tmp_path / "monitor.jsonl")
    with monitor, monitor.phase("round 1"):
        wait_until(lambda: len(monitor.stats()["timestamps"]) >= 2)
        assert monitor.child_pid is not None
        os.kill(monitor.child_pid, signal.SIGKILL)
        wait_until(lambda: monitor.status == "failed")
    assert monitor.summary()["status"] == "failed"
    assert monitor.summary()["num_samples"] >= 2
    assert len([record for record in caplog.records if "monitor is lost" in record.message]) == 1
    monitor.start()
    monitor.stop()
    assert monitor.status == "stopped"


def test_a_child_that_was_held_up_skips_what_it_missed_and_says_so(tmp_path: Path) -> None:
    with Monitor(0.05, journal=tmp_path / "monitor.jsonl") as monitor:
        assert monitor.child_pid is not None
        wait_until(lambda: len(monitor.stats()["timestamps"]) >= 2)
        os.kill(monitor.child_pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(monitor.child_pid, signal.SIGCONT)
        count = len(monitor.stats()["timestamps"])
        wait_until(lambda: len(monitor.stats()["timestamps"]) >= count + 3)
    assert monitor.summary()["num_missed"] >= 7
    assert max(monitor.stats()["interval_sec"]) >= 0.4
    cores = [value for value in monitor.stats()["cpu_cores"] if value is not None]
    assert max(cores) <= (os.cpu_count() or 1) * 1.2, "a gap, and no spike after it"


def test_nothing_of_the_trainings_environment_has_a_say_in_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("open('customized', 'a').write('x')")
    (tmp_path / "logging.py").write_text("raise SystemError('the training has a module of that name')")
    (tmp_path / "train.py").write_text(
        "import sys; here = sys.path.pop(0)\n"
        "from fedsight.monitor import Monitor\n"
        "sys.path.insert(0, here)\n"
        "with Monitor(journal='monitor.jsonl') as monitor:\n"
        "    modules = open(f'/proc/{monitor.child_pid}/maps').read()\n"
        "print('numpy' in modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert (tmp_path / "customized").read_text() == "x", "once, by the training's own interpreter"
    assert len(of_type(tmp_path / "monitor.jsonl", Sample)) == 2


def test_its_private_memory_is_small() -> None:
    with Monitor(0.05) as monitor:
        wait_until(lambda: len(monitor.stats()["timestamps"]) >= 5)
        rollup = Path(f"/proc/{monitor.child_pid}/smaps_rollup").read_text().splitlines()
    private_kib = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
    assert private_kib <= 14 * 1024
