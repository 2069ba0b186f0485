"""A destination in a process of its own gets the same, and outlives the training by as much as it takes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from filed import FiledDestination
from following_fixtures import Notebook, wait_until

from fedsight import Run, UsageError
from fedsight.emitters import CollectorEmitter, OwnProcess
from fedsight.events import JournalHeader, Log
from fedsight.journal import JournalReader
from recorded import events, of_type


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def offsets(path: Path) -> list[int]:
    return [offset for line in told(path) for offset in line.get("offsets", [])]


def line_offsets(journal: Path) -> list[int]:
    """Where each line of a journal that is handed on begins."""
    with JournalReader(journal) as reader:
        data = reader.read(1 << 30)[1]
    starts, at = [], 0
    for line, event in zip(data.splitlines(keepends=True), events(journal), strict=True):
        if not isinstance(event, (JournalHeader, Log)):
            starts.append(at)
        at += len(line)
    return starts


def record(run: Run, rounds: int = 3) -> None:
    for number in range(rounds):
        run.round_start(number)
        run.log_client_update("a", number, local_loss=1.0)
        run.log_round(number)


def test_another_process_delivers_the_run_and_ends(tmp_path: Path) -> None:
    out = tmp_path / "out"
    emitter = OwnProcess(FiledDestination(str(out)))
    with Run("exp", runs_dir=tmp_path, emitters=[emitter], verbose=False) as run:
        record(run)
        wait_until(lambda: emitter.state().num_events >= 10)
    assert offsets(out) == line_offsets(run.path)
    assert told(out)[0]["pid"] != os.getpid()
    assert told(out)[-1] == {"close": "finished"}
    state = run.emitters[0].state()
    assert (state.name, state.pending_bytes, state.num_events) == ("filed", 0, 11)
    assert repr(emitter).endswith(" bytes delivered, 0 pending, 0 failed, working, in a process of its own>")
    (note,) = [log for log in of_type(run.path, Log) if log.component == "emitter filed"]
    assert note.event == "delivered"
    with pytest.raises(ProcessLookupError):
        os.kill(told(out)[0]["pid"], 0)


def test_the_child_ends_without_a_sound_while_its_input_is_open(tmp_path: Path) -> None:
    run = Run("exp", runs_dir=tmp_path, verbose=False)
    run.finish()
    frame = pickle.dumps((sys.path, pickle.dumps(FiledDestination(str(tmp_path / "out")))))
    asked = json.dumps({"attach": str(run.path)}) + "\n" + json.dumps({"drain": True}) + "\n"
    command = [sys.executable, "-m", "fedsight.emitters.child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(len(frame).to_bytes(8, "big") + frame + asked.encode())
        child.stdin.flush()
        assert b'"complete":true' in child.stdout.read()
        assert (child.wait(30), child.stderr.read()) == (0, b"")


def test_a_child_that_dies_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    with Run(
        "exp", runs_dir=tmp_path, emitters=[OwnProcess(FiledDestination(str(out), die_at=1))], verbose=False
    ) as run:
        record(run)
    assert offsets(out) == line_offsets(run.path)
    assert "its process ended with status 3" in caplog.text


def test_when_the_training_is_killed_the_child_delivers_what_was_recorded_and_ends(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = (
        "import sys, time, fedsight\n"
        "from fedsight.emitters import OwnProcess\n"
        "from filed import FiledDestination\n"
        "run = fedsight.init(run_id='exp', runs_dir=sys.argv[1], emitters=[OwnProcess(FiledDestination(sys.argv[2]))])\n"
        "for n in range(200): run.log_client_update('a', n, local_loss=1.0)\n"
        "print('recorded', flush=True); time.sleep(60)\n"
    )
    training = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
    )
    assert training.stdout is not None
    assert training.stdout.readline() == b"recorded\n"
    training.send_signal(signal.SIGKILL)
    training.wait(20)
    training.stdout.close()
    wait_until(lambda: {"close": None} in told(out))
    assert offsets(out) == line_offsets(tmp_path / "exp.jsonl")
    pid = told(out)[0]["pid"]
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_what_is_pending_at_the_time_limit_is_said_and_the_child_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "missing" / "out"  # no such folder: every call fails
    run = Run("exp", runs_dir=tmp_path, emitters=[OwnProcess(FiledDestination(str(out)))], verbose=False)
    record(run)
    run.finish(timeout_sec=3.0)
    assert "FileNotFoundError" in caplog.text
    assert f"--to filed --set path={out}" in caplog.text
    assert run.emitters[0].state().pending_bytes > 0


def test_what_a_child_could_not_be_given_is_refused() -> None:
    unpicklable = Notebook(before_delivery=lambda _: None)
    with pytest.raises(UsageError, match="can be pickled"):
        OwnProcess(unpicklable)
    with pytest.raises(UsageError, match="give it as it is"):
        OwnProcess(CollectorEmitter("http://127.0.0.1:1"))


def test_a_class_of_the_script_itself_is_refused(tmp_path: Path) -> None:
    script = (
        "from fedsight.emitters import OwnProcess\n"
        "class Mine:\n    def on_round(self, summary, clients): ...\n"
        "try:\n    OwnProcess(Mine())\nexcept ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "put its class into a module" in done.stdout


def test_no_thread_is_left(tmp_path: Path) -> None:
    with Run("exp", runs_dir=tmp_path, emitters=[OwnProcess(FiledDestination(str(tmp_path / "o")))], verbose=False):
        pass
    wait_until(lambda: "fedsight-filed" not in {thread.name for thread in threading.enumerate()})
