import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from journal_batches import batches_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fedsight
from fedsight.emitters import tensorboard_file
from fedsight.emitters.registry import make, options_from
from fedsight.emitters.tensorboard import TensorBoardEmitter
from fedsight.errors import MissingExtra, UsageError


def read(folder: Path) -> EventAccumulator:
    """What TensorBoard makes of a folder, all points kept."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in read(folder).Scalars(name)]


def text(folder: Path, name: str) -> str:
    return read(folder).Tensors(name)[0].tensor_proto.string_val[0].decode()


def recorded(folder: Path, **options: Any) -> fedsight.Run:
    return fedsight.init(run_id="run", runs_dir=folder / "runs", verbose=False, **options)


def deliver(emitter: TensorBoardEmitter, path: Path, lines_each: int = 1_000_000) -> None:
    for batch in batches_of(path, lines_each):
        emitter.open(batch.run, None)
        assert emitter.deliver(batch) == 0
    emitter.close("finished")


def test_a_run_is_shown_while_it_is_recorded(tmp_path: Path) -> None:
    with recorded(tmp_path, emitters=[TensorBoardEmitter(tmp_path / "tb")]) as run:
        for number in range(3):
            run.round_start(number, selected=["a", "b"])
            run.log_client_update("a", local_accuracy=0.5 + number / 10, cpu_pct=20, auc=0.25)
            run.log_dropout(number, "b")
            run.log_round(number, global_accuracy=0.5 + number / 4)
    folder = tmp_path / "tb" / "run"
    assert points(folder, "round/accuracy") == [(0, 0.5), (1, 0.75), (2, 1.0)]
    assert points(folder, "round/participation_rate") == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert [step for step, _ in points(folder, "client/a/accuracy")] == [0, 1, 2]
    assert points(folder, "client/a/auc") == [(0, 0.25), (1, 0.25), (2, 0.25)]
    assert points(folder, "sys/a/cpu_pct") == [(0, 20.0), (1, 20.0), (2, 20.0)]
    assert points(folder, "event/client_dropout")[-1] == (2, 3.0)
    assert points(folder, "event/comm_failure") == [(0, 0.0), (1, 0.0), (2, 0.0)]


def test_a_late_update_is_a_further_point_of_its_round(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        for number in range(3):
            run.log_client_update("a", round=number, gradient_norm=1.0)
            run.log_client_update("b", round=number, gradient_norm=1.0)
            run.log_round(number)
        run.log_client_update("late", round=0, local_accuracy=0.5, gradient_norm=4.0)
    deliver(TensorBoardEmitter(tmp_path / "tb"), run.path)
    folder = tmp_path / "tb" / "run"
    assert points(folder, "client/late/accuracy") == [(0, 0.5)]
    assert points(folder, "round/num_late") == [(0, 0.0), (1, 0.0), (2, 0.0), (0, 1.0)]
    assert points(folder, "agg/gradient_divergence")[-1] == (0, pytest.approx(math.sqrt(3)))


def test_the_time_is_the_events_own(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(0, global_loss=1.0)
    deliver(TensorBoardEmitter(tmp_path / "tb"), run.path)
    (batch,) = batches_of(run.path)
    (ended,) = [line.event.ts for line in batch.lines if line.report is not None]
    (point,) = read(tmp_path / "tb" / "run").Scalars("round/loss")
    assert point.wall_time == ended


def test_nan_and_infinity_stay_what_they_are(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(0, global_loss=math.nan)
        run.log_round(1, global_loss=math.inf)
        run.log_round(2, global_loss=-math.inf)
    deliver(TensorBoardEmitter(tmp_path / "tb"), run.path)
    (_, first), *others = points(tmp_path / "tb" / "run", "round/loss")
    assert math.isnan(first)
    assert others == [(1, math.inf), (2, -math.inf)]


def test_ids_that_tensorboardx_would_clean_are_kept(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_client_update("Toulouse, FR", round=0, local_accuracy=0.5)
        run.log_client_update("a/b", round=0, local_accuracy=0.25)
    deliver(TensorBoardEmitter(tmp_path / "tb"), run.path)
    names = read(tmp_path / "tb" / "run").Tags()["scalars"]
    assert {"client/Toulouse, FR/accuracy", "client/a%2Fb/accuracy"} <= set(names)


def test_step_level_points_stand_at_their_step(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_metric("train/loss", 2.0, step=100)
        run.log_metric("temperature", 3.0)
    deliver(TensorBoardEmitter(tmp_path / "tb"), run.path)
    folder = tmp_path / "tb" / "run"
    assert points(folder, "train/loss") == [(100, 2.0)]
    assert points(folder, "temperature") == [(tensorboard_file.NO_STEP, 3.0)]


def test_configuration_and_notes_are_texts(tmp_path: Path) -> None:
    with recorded(tmp_path, config={"lr": 0.1, "sched": {"gamma": math.nan}}, algorithm="FedProx") as run:
        run.log_text("learning rate halved", round=7)
    deliver(TensorBoardEmitter(tmp_path / "tb"), run.path)
    folder = tmp_path / "tb" / "run"
    config = text(folder, "config")
    assert "- algorithm: FedProx" in config
    assert '"gamma": NaN' in config
    assert text(folder, "note") == "learning rate halved"


def test_series_of_clients_and_systems_can_be_left_out(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_client_update("a", round=0, local_accuracy=0.5, cpu_pct=10)
        run.log_round(0)
    deliver(TensorBoardEmitter(tmp_path / "tb", log_system=False, log_per_client=False), run.path)
    names = read(tmp_path / "tb" / "run").Tags()["scalars"]
    assert "round/num_completed" in names
    assert not [name for name in names if name.startswith(("client/", "sys/"))]


def test_a_site_has_a_folder_of_its_own_below_the_runs(tmp_path: Path) -> None:
    emitter = TensorBoardEmitter(tmp_path / "tb")
    with fedsight.Run("run", runs_dir=tmp_path / "runs", client_id="site.1", verbose=False, emitters=[emitter]) as site:
        site.log_client_update(round=0, local_loss=2.0)
    assert points(tmp_path / "tb" / "run" / "site.1", "client/site.1/loss") == [(0, 2.0)]


def test_a_resumed_run_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    for number in range(2):
        with recorded(tmp_path, resume=bool(number), emitters=[TensorBoardEmitter(tmp_path / "tb")]) as run:
            run.log_comm_failure(number, "a")
            run.log_round(number, global_accuracy=0.5)
    folder = tmp_path / "tb" / "run"
    assert len(list(folder.iterdir())) == 2
    assert points(folder, "round/accuracy") == [(0, 0.5), (1, 0.5)]
    assert points(folder, "event/comm_failure")[-1] == (1, 2.0)


def test_a_batch_that_comes_again_repeats_its_points_and_loses_none(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(0, global_accuracy=0.5)
    emitter = TensorBoardEmitter(tmp_path / "tb")
    deliver(emitter, run.path)
    deliver(emitter, run.path, lines_each=1)
    assert points(tmp_path / "tb" / "run", "round/accuracy") == [(0, 0.5), (0, 0.5)]


def test_after_a_full_disk_the_batch_goes_to_a_further_file_and_nothing_is_torn_or_doubled(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(0, global_accuracy=0.5)
        run.log_round(1, global_accuracy=0.75)
    limited = f"""
import resource, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from journal_batches import batches_of
from fedsight.emitters.registry import make, options_from
from fedsight.emitters.tensorboard import TensorBoardEmitter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
emitter = TensorBoardEmitter({str(tmp_path / "tb")!r})
batches = list(batches_of(Path({str(run.path)!r}), lines_each=3))
emitter.open(batches[0].run, None)
emitter.deliver(batches[0])
(file,) = (emitter.log_dir / "run").iterdir()
for most_bytes in (file.stat().st_size + 100, 100):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
    try:
        emitter.deliver(batches[1])
    except OSError:
        print("no room")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for batch in batches[1:]:
    emitter.deliver(batch)
emitter.close("finished")
"""
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, timeout=60)
    assert done.stdout == "no room\nno room\n", done.stderr
    before, after = sorted((tmp_path / "tb" / "run").iterdir())
    assert points(before, "round/accuracy") == [(0, 0.5)]
    assert points(after, "round/accuracy") == [(1, 0.75)]


@pytest.mark.parametrize("package", ["tensorboardX", "tensorboard"])
def test_either_package_writes_the_same(tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"tensorboardX": "tensorboard", "tensorboard": "tensorboardX"}[package]
    find_spec = tensorboard_file.importlib.util.find_spec
    monkeypatch.setattr(
        tensorboard_file.importlib.util, "find_spec", lambda name: None if name == other else find_spec(name)
    )
    file = tensorboard_file.EventFile(tmp_path, 1.0)
    file.add_scalars({"round/accuracy": 0.5}, 3, 2.0)
    file.add_text("config", "- lr: 0.1", None, 2.0)
    file.close()
    assert points(tmp_path, "round/accuracy") == [(3, 0.5)]
    assert text(tmp_path, "config") == "- lr: 0.1"


def test_without_a_package_it_names_the_command_that_installs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_file.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedsight\[tensorboard\]'"):
        tensorboard_file.EventFile(tmp_path, 1.0)


def test_making_one_imports_no_tensorboard() -> None:
    code = (
        "import sys; from fedsight.emitters import TensorBoardEmitter as T; T(); print('tensorboardX' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_log_dir_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="log_dir must be a folder, not 7"):
        TensorBoardEmitter(log_dir=7)  # type: ignore[arg-type]


def test_the_default_folder_is_below_the_working_directory_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    emitter = TensorBoardEmitter()
    monkeypatch.chdir("/")
    assert emitter.log_dir == tmp_path / "runs" / "tensorboard"


def test_the_command_that_delivers_the_rest_makes_the_same_emitter(tmp_path: Path) -> None:
    arguments = TensorBoardEmitter(tmp_path / "tb", log_system=False, log_per_client=False).sync_arguments()
    again = make("tensorboard", options_from(arguments[1::2]))
    assert again.sync_arguments() == arguments
    assert TensorBoardEmitter(tmp_path).sync_arguments() == ["--set", f"log_dir={tmp_path}"]


def test_what_a_killed_training_left_is_synced_by_the_command(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(0, global_accuracy=0.5)
    command = ["-m", "fedsight", "sync", str(run.path), "--to", "tensorboard", "--set", f"log_dir={tmp_path / 'tb'}"]
    for _ in range(2):  # the second time there is nothing to deliver
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    assert points(tmp_path / "tb" / "run", "round/accuracy") == [(0, 0.5)]
