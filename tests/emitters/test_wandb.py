"""Offline, with the real wandb: what it wrote is read back from its own file."""

import gc
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb_files
from journal_batches import batches_of

import fedsight
from fedsight.emitters.registry import make, options_from
from fedsight.emitters.wandb import WandbEmitter, without_doubles
from fedsight.errors import MissingExtra, UsageError

DEADLINE_SEC = 30.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where W&B writes in this test; its process ends with the test."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back afterwards, for W&B changes them
    monkeypatch.setattr(sys, "exit", sys.exit)
    yield tmp_path
    import wandb

    with warnings.catch_warnings():
        # W&B never waits for a process of its own that was killed.
        warnings.filterwarnings("ignore", "subprocess .* is still running", ResourceWarning)
        wandb.teardown()
        gc.collect()
    os.environ.pop("WANDB_SERVICE", None)


def offline(**options: Any) -> WandbEmitter:
    return WandbEmitter(mode="offline", **options)


def recorded(emitter: WandbEmitter | None = None, run_id: str = "run", **options: Any) -> fedsight.Run:
    return fedsight.init(run_id=run_id, verbose=False, emitters=[emitter] if emitter else None, **options)


def the_file(folder: Path) -> Path:
    (file,) = wandb_files.run_files(folder)
    return file


def history(folder: Path) -> list[dict[str, Any]]:
    """All rows of all files, oldest first."""
    return [row for file in wandb_files.run_files(folder) for row in wandb_files.history(file)]


def points(rows: list[dict[str, Any]], name: str) -> list[tuple[Any, Any]]:
    return [(row.get("round"), row[name]) for row in rows if name in row]


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_SEC
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_delivered(run: fedsight.Run) -> bool:
    state = run.emitters[0].state()
    return state.pending_bytes == 0 and state.busy_since is None


def test_a_round_is_logged_under_the_names_of_the_table(folder: Path) -> None:
    with recorded(offline()) as run:
        run.round_start(0, selected=["a", "b", "c", "d"])
        for client in ("a", "b"):
            run.log_client_update(
                client,
                base_round=0,
                local_accuracy=0.5,
                gradient_norm=1.0 if client == "a" else 3.0,
                bytes_sent=2_000_000,
                train_time_sec=4.0,
                cpu_pct=50,
                ram_mb=800,
                auc=0.75,
            )
        run.log_dropout(0, "c", "battery")
        run.log_comm_failure(0, "d")
        run.log_round(
            0,
            global_accuracy=0.5,
            global_loss=1.5,
            num_stragglers=1,
            aggregation_time_sec=0.25,
            algorithm_metadata={"mu": 0.125},
            fairness=0.5,
        )
    told: dict[str, Any] = {}
    for row in history(folder):
        assert row["round"] == 0
        told.update(row)
    assert told["round/duration_sec"] > 0
    assert told["agg/gradient_divergence"] == told["agg/gradient_norm_dispersion"] == pytest.approx(math.sqrt(2))
    assert told["fedsight/journal"] == fedsight.journal.read_header(run.path).journal
    expected = {
        "round/accuracy": 0.5,
        "round/loss": 1.5,
        "round/participation_rate": 0.5,
        "round/num_stragglers": 1,
        "round/fairness": 0.5,
        "comm/total_bytes_mb": 4.0,
        "comm/bytes_per_client_mb": 2.0,
        "agg/aggregation_time_sec": 0.25,
        "agg/algo/mu": 0.125,
        "client/a/accuracy": 0.5,
        "client/a/gradient_norm": 1.0,
        "client/a/staleness": 0,
        "client/a/bytes_sent_mb": 2.0,
        "client/a/train_time_sec": 4.0,
        "client/a/auc": 0.75,
        "sys/a/cpu_pct": 50,
        "sys/a/ram_mb": 800,
        "event/client_dropout": 1,
        "event/comm_failure": 1,
    }
    assert {name: told.get(name) for name in expected} == expected


def test_round_is_the_x_axis_and_step_that_of_step_level_points(folder: Path) -> None:
    with recorded(offline()) as run:
        run.log_round(0, global_accuracy=0.5)
        run.log_metric("train/loss", 2.0, step=100)
    axes = {
        metric.glob_name or metric.name: metric.step_metric
        for metric in wandb_files.records(the_file(folder), "metric")
    }
    for names in ("round/*", "comm/*", "agg/*", "client/*", "sys/*", "event/*"):
        assert axes[names] == "round"
    assert axes["train/loss"] == "step"
    assert [(row["step"], row["train/loss"]) for row in history(folder) if "step" in row] == [(100, 2.0)]


def test_late_updates_are_kept(folder: Path) -> None:
    with recorded(offline()) as run:
        for number in range(3):
            run.log_client_update("a", round=number, local_loss=3.0 - number)
            run.log_round(number, global_loss=3.0 - number)
        run.log_client_update("late", round=0, base_round=0, local_loss=9.0)
    rows = history(folder)
    assert points(rows, "client/late/loss") == [(0, 9.0)]
    assert points(rows, "round/num_late") == [(0, 0), (1, 0), (2, 0), (0, 1)]
    assert [row["_step"] for row in rows] == list(range(len(rows)))


def test_counters_count_over_the_run_and_over_a_restart(folder: Path) -> None:
    for restart in range(2):
        with recorded(offline(), resume=bool(restart)) as run:
            for number in range(2 * restart, 2 * restart + 2):
                run.log_dropout(number, "a")
                run.log_dropout(number, "b")
                run.log_comm_failure(number, "c")
                run.log_round(number)
    rows = history(folder)
    assert dict(points(rows, "event/client_dropout")) == {0: 2, 1: 4, 2: 6, 3: 8}
    assert dict(points(rows, "event/comm_failure")) == {0: 1, 1: 2, 2: 3, 3: 4}


def test_an_alert_a_round_and_kind_names_all_clients(folder: Path) -> None:
    with recorded(offline()) as run:
        for number in range(2):
            run.log_dropout(number, "a", "battery")
            wait_until(lambda: is_delivered(run))  # the next one comes in another batch
            run.log_dropout(number, "b")
            run.log_comm_failure(number, "c", "timeout")
            run.log_round(number)
            wait_until(lambda: is_delivered(run))
            run.log_dropout(number, "too late to alert again")
    alerts = [(each.title, each.level, each.text) for each in wandb_files.records(the_file(folder), "alert")]
    assert alerts == [
        ("Client dropout", "WARN", "run, round 0: a (battery), b"),
        ("Communication failure", "ERROR", "run, round 0: c (timeout)"),
        ("Client dropout", "WARN", "run, round 1: a (battery), b"),
        ("Communication failure", "ERROR", "run, round 1: c (timeout)"),
    ]


def test_an_alert_of_a_round_that_never_ended_comes_with_the_runs_end(folder: Path) -> None:
    with recorded(offline()) as run:
        for client in range(30):
            run.log_dropout(5, f"c{client}")
    (alert,) = wandb_files.records(the_file(folder), "alert")
    assert alert.text == "run, round 5: " + ", ".join(f"c{client}" for client in range(20)) + " and 10 more"


def test_a_checkpoint_is_one_artifact_with_its_metadata(folder: Path) -> None:
    model = folder / "model.pt"
    with recorded(offline()) as run:
        for number in range(2):
            model.write_bytes(b"weights of round %d" % number)
            run.log_checkpoint(number, model, accuracy=0.5)
            wait_until(lambda: is_delivered(run))  # the model is overwritten afterwards
    artifacts = wandb_files.records(the_file(folder), "artifact")
    assert [(each.name, each.type) for each in artifacts] == [("model-round-0", "model"), ("model-round-1", "model")]
    told = json.loads(artifacts[0].metadata)
    assert told["accuracy"] == 0.5
    assert told["round"] == 0
    assert told["sha256"] == hashlib.sha256(b"weights of round 0").hexdigest()
    (copied,) = artifacts[0].manifest.contents
    assert Path(copied.local_path).read_bytes() == b"weights of round 0"
    assert points(history(folder), "event/checkpoint") == [(0, 1), (1, 2)]


def test_a_checkpoint_whose_file_is_gone_is_counted_and_stops_nothing(folder: Path) -> None:
    with recorded() as run:
        run.log_checkpoint(0, folder / "gone.pt")
        run.log_round(0, global_loss=1.0)
    (batch,) = batches_of(run.path)
    emitter = offline()
    emitter.open(batch.run, None)
    assert emitter.deliver(batch) == 1
    emitter.close("finished")
    assert points(history(folder), "round/loss") == [(0, 1.0)]


def test_the_wandb_run_tells_what_the_run_is(folder: Path) -> None:
    emitter = offline(project="hospital", entity="team", tags=["baseline"], config={"seed": 7})
    with recorded(emitter, algorithm="FedProx", config={"lr": 0.1, "opt": {"name": "adam"}}) as run:
        run.set_server_metadata(city="Lemont", protocol="gRPC")
    file = the_file(folder)
    (told,) = wandb_files.records(file, "run")
    assert (told.display_name, told.project, told.entity) == ("run", "hospital", "team")
    assert (told.run_group, told.job_type, list(told.tags)) == ("FedProx", "federated-training", ["baseline"])
    config = wandb_files.config(file)
    assert (config["lr"], config["opt"], config["seed"]) == (0.1, {"name": "adam"}, 7)
    assert (config["fedsight/run_id"], config["fedsight/algorithm"]) == ("run", "FedProx")
    assert config["server"] == {"city": "Lemont", "protocol": "gRPC"}


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("failed", 1), ("killed", 255)])
def test_the_runs_status_is_wandbs_exit_code(folder: Path, status: Any, code: int) -> None:
    recorded(offline()).finish(status)
    (ended,) = wandb_files.records(the_file(folder), "exit")
    assert ended.exit_code == code


def test_nan_and_infinity_are_stored_as_what_they_are(folder: Path) -> None:
    with recorded(offline()) as run:
        run.log_round(0, global_loss=math.nan)
        run.log_round(1, global_loss=math.inf)
        run.log_round(2, global_loss=-math.inf)
    (_, first), *others = points(history(folder), "round/loss")
    assert math.isnan(first)
    assert others == [(1, math.inf), (2, -math.inf)]


def test_a_thousand_clients_with_twelve_fields_are_a_row_a_round(folder: Path) -> None:
    fields = dict.fromkeys(("local_accuracy", "local_loss", "gradient_norm", "train_time_sec", "cpu_pct", "auc"), 0.5)
    with recorded() as run:
        for number in range(3):
            for client in range(1000):
                run.log_client_update(client, round=number, **fields, f1=0.5, a=1, b=2, c=3, d=4, e=5)
            run.log_round(number, global_loss=1.0)
    emitter = offline()
    for batch in batches_of(run.path):
        emitter.open(batch.run, None)
        assert emitter.deliver(batch) == 0
    emitter.close("finished")
    rows = history(folder)
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert [len([name for name in row if name.startswith(("client/", "sys/"))]) for row in rows] == [12_000] * 3


def test_series_of_clients_and_systems_can_be_left_out(folder: Path) -> None:
    with recorded(offline(log_system=False, log_per_client=False)) as run:
        run.log_client_update("a", round=0, local_accuracy=0.5, cpu_pct=10)
        run.log_round(0, global_loss=1.0)
    (row,) = history(folder)
    assert row["round/num_completed"] == 1
    assert not [name for name in row if name.startswith(("client/", "sys/"))]


def test_the_map_has_each_clients_last_known_place(folder: Path) -> None:
    with recorded(offline(log_geo=True)) as run:
        for number in range(2):
            run.log_client_update(
                "a", round=number, lat=43.6, lng=1.4, city="Toulouse", country="FR", local_accuracy=number / 2
            )
        run.log_client_update("nowhere", round=1)
    (table,) = [json.loads(path.read_text()) for path in folder.rglob("media/table/geo/*.table.json")]
    assert table["columns"] == ["round", "client_id", "lat", "lng", "city", "country", "accuracy", "loss", "status"]
    assert table["data"] == [[1, "a", 43.6, 1.4, "Toulouse", "FR", 0.5, None, None]]


def test_where_clients_are_is_not_told_unasked(folder: Path) -> None:
    with recorded(offline()) as run:
        run.log_client_update("a", round=0, lat=43.6, lng=1.4, city="Toulouse", local_accuracy=0.5)
    assert b"Toulouse" not in the_file(folder).read_bytes()
    assert not list(folder.rglob("*.table.json"))


def test_an_open_run_of_the_users_is_adopted_and_left_open(folder: Path) -> None:
    import wandb

    mine = wandb.init(project="mine", mode="offline", config={"mine": 1}, settings=wandb.Settings(silent=True))
    with recorded(offline(tags=["added"]), config={"lr": 0.1}) as run:
        run.log_round(0, global_accuracy=0.5)
    assert wandb.run is mine
    mine.log({"after": 1.0})
    assert "added" in mine.tags
    mine.finish()
    wait_until(lambda: points(history(folder), "after"))  # W&B itself writes some moments after its finish()
    rows = history(folder)
    assert points(rows, "round/accuracy") == [(0, 0.5)]
    assert points(rows, "after") == [(None, 1.0)]
    config = wandb_files.config(the_file(folder))
    assert (config["mine"], config["lr"], config["fedsight/run_id"]) == (1, 0.1, "run")


def test_our_own_run_leaves_the_users_wandb_alone(folder: Path) -> None:
    import wandb

    with recorded(offline()) as run:
        wait_until(lambda: is_delivered(run))
        assert wandb.run is None
        run.log_round(0)
    assert wandb.run is None


def test_a_run_that_the_user_finishes_under_us_goes_on(folder: Path) -> None:
    import wandb

    mine = wandb.init(project="mine", mode="offline", settings=wandb.Settings(silent=True))
    with recorded(offline()) as run:
        run.log_round(0, global_loss=1.0)
        wait_until(lambda: is_delivered(run))
        mine.finish()
        run.log_round(1, global_loss=2.0)
    assert points(history(folder), "round/loss") == [(0, 1.0), (1, 2.0)]
    first, second = wandb_files.run_files(folder)
    assert first.name == second.name  # the same W&B run, in a further folder


def test_when_wandbs_process_dies_the_run_goes_on_in_another(folder: Path) -> None:
    with recorded(offline()) as run:
        run.log_round(0, global_loss=1.0)
        wait_until(lambda: is_delivered(run))
        (core,) = [each for each in psutil.Process().children() if each.name() == "wandb-core"]
        core.kill()
        core.wait()
        run.log_round(1, global_loss=2.0)
    assert points(history(folder), "round/loss") == [(0, 1.0), (1, 2.0)]
    assert run.emitters[0].state().pending_bytes == 0


def run_python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)


TRAINING = """
import os, signal, time
import fedsight
from fedsight.emitters import WandbEmitter
run = fedsight.init(run_id="run", verbose=False, resume=True, emitters=[WandbEmitter(mode="offline")])
for number in range(5):
    run.log_client_update("a", round=number, local_loss=float(number))
    run.log_round(number, global_loss=float(number))
"""


def test_after_kill_9_a_later_process_goes_on_with_the_same_wandb_run(folder: Path) -> None:
    wait_and_die = "while run.emitters[0].state().pending_bytes: time.sleep(0.01)\nos.kill(os.getpid(), signal.SIGKILL)"
    assert run_python(folder, TRAINING + wait_and_die).returncode == -signal.SIGKILL
    with recorded(offline(), resume=True) as run:
        run.log_round(5, global_loss=5.0)
    first, second = wandb_files.run_files(folder)
    assert first.name == second.name
    kept = without_doubles(history(folder))
    assert points(kept, "round/loss") == [(number, float(number)) for number in range(6)]


def test_a_program_that_ends_without_finish_is_logged_whole(folder: Path) -> None:
    done = run_python(folder, TRAINING)
    assert done.returncode == 0, done.stderr
    assert points(history(folder), "round/loss") == [(number, float(number)) for number in range(5)]
    (ended,) = wandb_files.records(the_file(folder), "exit")
    assert ended.exit_code == 0


def test_a_program_that_fails_prints_its_traceback_once_and_fails_the_run(folder: Path) -> None:
    started = "while run.emitters[0].state().pending_bytes: time.sleep(0.01)\nraise RuntimeError('ouch')"
    done = run_python(folder, TRAINING + started)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert done.stdout == ""
    (ended,) = wandb_files.records(the_file(folder), "exit")
    assert ended.exit_code == 1


def test_a_sites_own_journal_is_a_wandb_run_of_its_own(folder: Path) -> None:
    with fedsight.Run("run", client_id="site-1", verbose=False, emitters=[offline()]) as site:
        site.log_client_update(round=0, local_loss=2.0)
    (told,) = wandb_files.records(the_file(folder), "run")
    assert told.display_name == "run · site-1"
    assert points(history(folder), "client/site-1/loss") == [(0, 2.0)]


def test_without_a_key_it_says_how_to_get_one_and_asks_nobody() -> None:
    with recorded() as run:
        pass
    (batch,) = batches_of(run.path)
    with pytest.raises(UsageError, match='run "wandb login", set WANDB_API_KEY, or give WandbEmitter'):
        WandbEmitter().open(batch.run, None)


def test_disabled_it_takes_everything_and_writes_nothing(folder: Path) -> None:
    with recorded(WandbEmitter(mode="disabled")) as run:
        run.log_round(0, global_loss=1.0)
    assert run.emitters[0].state().pending_bytes == 0
    assert wandb_files.run_files(folder) == []


def test_without_wandb_it_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded() as run:
        pass
    (batch,) = batches_of(run.path)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "wandb", None)
        with pytest.raises(MissingExtra, match=r"pip install 'fedsight\[wandb\]'"):
            offline().open(batch.run, None)


def test_making_one_does_not_import_wandb() -> None:
    code = "import sys; from fedsight.emitters import WandbEmitter; WandbEmitter().identity(); print('wandb' in sys.modules)"
    assert run_python(Path.cwd(), code).stdout == "False\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": ""}, "project must be"),
        ({"tags": "baseline"}, r'tags must be a list of strings, like \["baseline"\], not \'baseline\''),
        ({"config": [1]}, "config must be a mapping"),
        ({"mode": "on"}, "mode must be"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WandbEmitter(**options)


def test_offline_and_online_are_different_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WandbEmitter(project="p", entity="e").identity() == "wandb:online:e/p"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandbEmitter(project="p").identity() == "wandb:offline:/p"


def test_the_command_that_delivers_the_rest_makes_the_same_emitter() -> None:
    emitter = WandbEmitter(
        project="1", entity="e", group="g", job_type="j", tags=["t"], config={"lr": 0.1},
        log_system=False, log_per_client=False, log_geo=True, mode="offline",
    )  # fmt: skip
    arguments = emitter.sync_arguments()
    again = make("wandb", options_from(arguments[1::2]))
    assert again.sync_arguments() == arguments
    assert again.identity() == emitter.identity()
    assert WandbEmitter().sync_arguments() == ["--set", "project=fedsight"]


def test_what_a_killed_training_left_is_synced_by_the_command(folder: Path) -> None:
    with recorded() as run:
        run.log_round(0, global_accuracy=0.5)
    command = ["-m", "fedsight", "sync", str(run.path), "--to", "wandb", "--set", "mode=offline"]
    for _ in range(2):  # the second time there is nothing to deliver
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert points(history(folder), "round/accuracy") == [(0, 0.5)]
