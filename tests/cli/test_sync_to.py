"""`fedsight sync --to`: what a process could not deliver, for whatever reason, is delivered after the fact."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fedsight import Run
from fedsight.emitters import TensorBoardEmitter
from fedsight.events import ClientUpdate, Log, RunEnd
from fedsight.journal import read_header
from recorded import events, of_type

EMITTERS = Path(__file__).parents[1] / "emitters"

TRAINING = """
import os, sys, time, fedsight
from filed import Filed
fedsight.init(run_id="exp", runs_dir=sys.argv[1], emitters=[Filed()], verbose=False)
for number in range(100_000):
    fedsight.log_client_update(f"c{number}", number, local_loss=0.5, padding="x" * 200)
    if number == 2000:
        print("go on", flush=True)
"""

WITHOUT_TYPER = """
import importlib.util as u, sys
sys.modules["typer"], find = None, u.find_spec
u.find_spec = lambda name, *rest: None if name == "typer" else find(name, *rest)
"""


def fedsight(*arguments: str, cwd: Path, code: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nfrom fedsight.cli import main; main()", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{EMITTERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


def a_run(folder: Path, run_id: str = "exp", clients: int = 3) -> Path:
    with Run(run_id, runs_dir=folder / "runs", verbose=False) as run:
        for client in range(clients):
            run.log_client_update(f"{run_id}.{client}", 0)
        run.log_round(0)
    return run.path


def notes(path: Path) -> list[Log]:
    return [log for log in of_type(path, Log) if log.component.startswith("emitter ")]


def test_a_run_is_delivered_and_what_is_there_already_is_not_delivered_again(tmp_path: Path) -> None:
    path = a_run(tmp_path)
    out = tmp_path / "out"
    arguments = ("sync", "runs/exp.jsonl", "--to", "filed:FiledDestination", "--set", f"path={out}")
    first = fedsight(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "1 of 1 runs are complete at filed:FiledDestination." in first.stdout
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(told[1]["offsets"]) == len(events(path)) - 2  # neither the header nor the note
    assert told[-1] == {"close": "finished"}
    assert [note.event for note in notes(path)] == ["delivered"]

    size = path.stat().st_size
    again = fedsight(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(out.read_text().splitlines()) == len(told)
    assert path.stat().st_size == size


def test_after_a_kill_and_a_sync_nothing_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    training = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": str(EMITTERS), "FILED": str(out), "FILED_SLOW": "0.05"},
        stdout=subprocess.PIPE,
    )
    assert training.stdout is not None
    assert training.stdout.readline() == b"go on\n"
    training.send_signal(signal.SIGKILL)
    training.wait(20)
    training.stdout.close()
    path = tmp_path / "runs" / "exp.jsonl"
    before = set(out.read_text().splitlines()) if out.exists() else set()

    done = fedsight("sync", "runs", "--to", "filed:Filed", cwd=tmp_path, FILED=str(out))
    assert done.returncode == 0, done.stderr

    lines = out.read_text().splitlines()
    journal = read_header(path).journal
    clients = [line.split()[3] for line in lines if line.startswith(journal) and " client_update " in line]
    recorded = [update.client_id for update in of_type(path, ClientUpdate)]
    assert len(recorded) > 2000
    # At most what was handed over just before the kill, and not yet noted, came twice; offsets tell it.
    assert set(clients) == set(recorded)
    assert {line for line in lines if lines.count(line) > 1} <= before
    assert [end.status for end in of_type(path, RunEnd)] == ["killed"]
    assert "run_end" in lines[-1]


def test_a_folder_is_delivered_run_by_run(tmp_path: Path) -> None:
    for number in range(3):
        a_run(tmp_path, f"r{number}")
    (tmp_path / "runs" / "other.jsonl").write_text("no journal\n")
    out = tmp_path / "out"
    done = fedsight("sync", "runs", "--to", "filed:FiledDestination", "--set", f"path={out}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 runs are complete" in done.stdout
    opened = [json.loads(line)["open"] for line in out.read_text().splitlines() if '"open"' in line]
    assert opened == ["r0", "r1", "r2"]


def test_a_forked_childs_journal_belongs_to_its_run(tmp_path: Path) -> None:
    path = a_run(tmp_path)
    child = path.with_name("exp~0123abcd.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    header = lines[0].replace(read_header(path).journal.encode(), b"f" * 32)
    child.write_bytes(header + lines[2].replace(b"exp.0", b"child"))
    out = tmp_path / "out"
    done = fedsight("sync", str(child), "--to", "filed:FiledDestination", "--set", f"path={out}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["open"] for line in told if "open" in line] == ["exp"]
    assert [len(line["offsets"]) for line in told if "offsets" in line] == [6, 1]


def test_a_live_run_is_delivered_as_far_as_it_is(tmp_path: Path) -> None:
    run = Run("exp", runs_dir=tmp_path / "runs", verbose=False)
    run.log_client_update("a", 0)
    out = tmp_path / "out"
    arguments = ("sync", "runs", "--to", "filed:FiledDestination", "--set", f"path={out}")
    assert fedsight(*arguments, cwd=tmp_path).returncode == 0
    assert json.loads(out.read_text().splitlines()[-1]) == {"close": None}
    run.log_client_update("b", 0)
    run.finish()
    assert notes(run.path) == []
    assert fedsight(*arguments, cwd=tmp_path).returncode == 0
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(line["offsets"]) for line in told if "offsets" in line] == [2, 2]


def test_what_stays_pending_is_said_and_is_a_failure(tmp_path: Path) -> None:
    path = a_run(tmp_path)
    patience = "import fedsight.cli.emitting as e; e._PATIENCE_SEC = 1.5; e._PROGRESS_SEC = 0.5"
    options = ("--to", "filed:FiledDestination", "--set", f"path={tmp_path / 'no-such-folder' / 'out'}")
    done = fedsight("sync", "runs", *options, cwd=tmp_path, code=patience)
    assert done.returncode == 1
    assert "0 of 1 runs are complete" in done.stdout
    assert "FileNotFoundError" in done.stdout
    assert [note.event for note in notes(path)] == ["pending"]
    (tmp_path / "no-such-folder").mkdir()
    assert fedsight("sync", "runs", *options, cwd=tmp_path).returncode == 0


def test_a_script_is_not_run_again_for_the_emitter_that_it_defines(tmp_path: Path) -> None:
    script = (
        "import fedsight\nclass Mine:\n    def finish(self): pass\nfedsight.init(run_id='exp', emitters=[Mine()])\n"
    )
    (tmp_path / "train.py").write_text(script + "open('trained', 'a').write('x')\n")
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    done = fedsight("sync", "runs/exp.jsonl", "--to", "train:Mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "train.py starts a run when it is imported for Mine: put the class into a module of its own" in done.stderr
    assert (tmp_path / "trained").read_text() == "x"
    assert len(list((tmp_path / "runs").glob("*.jsonl"))) == 1


def test_an_emitter_that_is_slow_is_not_one_that_fails(tmp_path: Path) -> None:
    path = a_run(tmp_path)
    out = tmp_path / "out"
    patience = "import fedsight.cli.emitting as e; e._PATIENCE_SEC = 0.2"
    done = fedsight("sync", "runs", "--to", "filed:Filed", cwd=tmp_path, code=patience, FILED=str(out), FILED_SLOW="2")
    assert done.returncode == 0, done.stdout
    assert len(out.read_text().splitlines()) == len(events(path)) - 2, "all but the header and the note of the delivery"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "nope"), "There is no emitter 'nope'. There are: collector, mlflow"),
        (("--to", "filed:FiledDestination", "--set", "colour=red"), "no option 'colour'. It has: path, die_at."),
        (("--to", "filed:FiledDestination", "--set", "path"), "--set takes key=value"),
        (("--set", "a=b"), "--set is for emitters named by --to"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    a_run(tmp_path)
    for code in ("", WITHOUT_TYPER):
        shown = fedsight("sync", "runs", *arguments, cwd=tmp_path, code=code)
        assert shown.returncode == 1
        assert says in shown.stderr
        assert "Traceback" not in shown.stderr
    assert not (tmp_path / "runs" / ".fedsight").exists()


def test_where_a_run_was_delivered_is_said_instead_of_making_a_second_copy(tmp_path: Path) -> None:
    there = tmp_path / "my curves"
    with Run("exp", runs_dir=tmp_path / "runs", verbose=False, emitters=[TensorBoardEmitter(log_dir=there)]) as run:
        run.log_round(0, global_loss=0.5)
    refused = fedsight("sync", "runs", "--to", "tensorboard", cwd=tmp_path)
    assert refused.returncode == 1
    assert f"it was delivered to tensorboard:{there} before" in refused.stdout
    (command,) = [line for line in refused.stdout.splitlines() if line.startswith("  fedsight sync")]
    assert shlex.split(command)[2:] == ["runs/exp.jsonl", "--to", "tensorboard", "--set", f"log_dir={there}"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["my curves", "runs"]

    assert fedsight(*shlex.split(command)[1:], cwd=tmp_path).returncode == 0
    assert fedsight("sync", "runs", "--to", "tensorboard", "--set", "log_dir=other", cwd=tmp_path).returncode == 0
    assert (tmp_path / "other").exists()


def test_what_is_seen_at_a_port_is_shown_until_ctrl_c(tmp_path: Path) -> None:
    a_run(tmp_path)
    command = "from fedsight.cli import main; main()"
    arguments = ("sync", "runs", "--to", "prometheus", "--set", "port=0")
    sync = subprocess.Popen(
        [sys.executable, "-c", command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert sync.stdout is not None
    shown = next(line for line in sync.stdout if line.startswith("Shown at "))
    with urllib.request.urlopen(shown.split()[2]) as answer:
        assert 'fedsight_client_updates_total{run_id="exp"} 3.0' in answer.read().decode()
    sync.send_signal(signal.SIGINT)
    assert sync.wait(20) == 0
    sync.stdout.close()


def test_a_missing_package_is_said_at_once(tmp_path: Path) -> None:
    a_run(tmp_path)
    code = (
        "import importlib.util as u; f = u.find_spec\nu.find_spec = lambda n, *a: None if n == 'mlflow' else f(n, *a)"
    )
    shown = fedsight("sync", "runs", "--to", "mlflow", cwd=tmp_path, code=code)
    assert shown.returncode == 1
    assert shown.stderr == "fedsight: mlflow is not installed. Install it with: pip install 'fedsight[mlflow]'\n"
