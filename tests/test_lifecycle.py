"""A run's status is right, however its process ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedsight.events import RunEnd
from fedsight.journal import writer_alive
from recorded import of_type

BEGIN = (
    "import fedsight, sys\nrun = fedsight.init(run_id='exp', runs_dir=sys.argv[1], verbose=False)\nrun.log_round(0)\n"
)


def ended(folder: Path) -> list[tuple[str, str | None]]:
    return [(end.status, end.error) for end in of_type(folder / "exp.jsonl", RunEnd)]


def run_script(folder: Path, script: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=False, capture_output=True, timeout=60
    ).returncode


@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [
        ("fedsight.finish()", "finished", None),
        ("pass", "finished", None),
        ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("raise KeyboardInterrupt", "killed", "KeyboardInterrupt"),
        ("with run:\n    1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("with run:\n    raise KeyboardInterrupt", "killed", "KeyboardInterrupt"),
        ("with run:\n    sys.exit(0)", "finished", None),
        ("with run:\n    sys.exit(3)", "failed", "SystemExit: 3"),
        ("run.finish('failed', 'diverged')", "failed", "diverged"),
    ],
)
def test_the_end_is_recorded_as_what_it_was(tmp_path: Path, ending: str, status: str, error: str | None) -> None:
    run_script(tmp_path, BEGIN + ending)
    assert ended(tmp_path) == [(status, error)]


def test_the_users_own_exception_hook_still_runs(tmp_path: Path) -> None:
    hook = "sys.excepthook = lambda *a: print('mine', file=open(sys.argv[1] + '/hook', 'w'))\n"
    run_script(tmp_path, "import sys\n" + hook + BEGIN + "1 / 0")
    assert (tmp_path / "hook").exists()
    assert ended(tmp_path)[0][0] == "failed"


def test_ctrl_c_in_a_terminal_ends_the_run_as_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + "import time\ntime.sleep(60)", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "exp.jsonl").exists() or "round_end" not in (tmp_path / "exp.jsonl").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert ended(tmp_path) == [("killed", "KeyboardInterrupt")]


SLOW = """
import fedsight, sys, threading
class Slow:
    def on_round(self, summary, clients):
        threading.Event().wait()
run = fedsight.init(run_id='exp', runs_dir=sys.argv[1], emitters=[Slow()])
run.log_round(0)
"""


@pytest.mark.parametrize(("ending", "status"), [("run.finish()", -signal.SIGINT), ("", 0)])
def test_ctrl_c_while_emitters_are_waited_for_ends_the_wait_and_says_what_is_left(
    tmp_path: Path, ending: str, status: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW + ending, str(tmp_path)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "waiting for it" not in (line := process.stderr.readline()):
            assert line, "it ended before"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(20) == status
    assert f"Deliver the rest with: fedsight sync {tmp_path / 'exp.jsonl'} --to " in said
    assert "run exp finished" in said
    assert ("Traceback" in said) == bool(ending)


def test_after_a_kill_the_run_has_no_end_and_no_writer(tmp_path: Path) -> None:
    run_script(tmp_path, BEGIN + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert ended(tmp_path) == []
    assert not writer_alive(tmp_path / "exp.jsonl")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_does_not_end_its_parents_run(tmp_path: Path) -> None:
    run_script(tmp_path, BEGIN + "import os\nif os.fork() == 0:\n    run.log_round(1)\n    sys.exit()\nos.wait()\n")
    assert ended(tmp_path) == [("finished", None)]
    (other,) = [path for path in tmp_path.glob("*.jsonl") if "~" in path.name]
    assert of_type(other, RunEnd) == []


def test_every_open_run_is_ended_with_the_process(tmp_path: Path) -> None:
    sites = "sites = [fedsight.join('exp', f'c{n}', runs_dir=sys.argv[1]) for n in range(4)]"
    run_script(tmp_path, BEGIN + sites)
    ends = {path.name: [end.status for end in of_type(path, RunEnd)] for path in tmp_path.glob("*.jsonl")}
    assert ends == {key: ["finished"] for key in ["exp.jsonl", *(f"exp.c{n}.jsonl" for n in range(4))]}


def test_a_signal_handler_may_end_the_run_amid_a_log_call(tmp_path: Path) -> None:
    script = (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (run.finish('killed', 'SIGTERM'), sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "while True:\n    run.log_text('x')\n"
    )
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                BEGIN.replace("verbose=False", "verbose=False, durability='disk'") + script,
                str(folder),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
        assert ended(folder) == [("killed", "SIGTERM")]
