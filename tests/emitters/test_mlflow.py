"""`MLflowEmitter` on a real SQLite store."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from collector_process import wait_until
from journal_batches import batches_of
from mlflow_store import Store

import fedsight
from fedsight.emitters.destination import Batch, Line, RunInfo, Totals
from fedsight.emitters.mlflow import MLflowEmitter, mlflow_name, original_name
from fedsight.emitters.mlflow.checkpoints import Upload
from fedsight.emitters.mlflow.outgoing import Choices, Outgoing, Sent
from fedsight.emitters.registry import make, options_from
from fedsight.errors import UsageError
from fedsight.events import RoundEnd, RunStatus, Sample

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

ALL_CLIENT_FIELDS = {
    "local_accuracy": 0.75,
    "local_loss": 0.5,
    "num_samples": 100,
    "gradient_norm": 2.0,
    "gradient_magnitude": 0.25,
    "sparsity": 0.125,
    "compression_ratio": 4.0,
    "bytes_sent": 3_000_000,
    "bytes_received": 1_500_000,
    "network_latency_ms": 30,
    "train_time_sec": 12.5,
    "cpu_pct": 50,
    "ram_mb": 800,
    "gpu_util_pct": 70,
    "gpu_vram_mb": 2000,
    "status": "active",
}


@pytest.fixture(scope="session")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture
def store(store_uri: str) -> Store:
    return Store(store_uri)


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def emitter(store_uri: str, experiment: str) -> Callable[..., MLflowEmitter]:
    """An emitter to the test's own experiment."""
    return lambda **options: MLflowEmitter(**{"experiment": experiment, "tracking_uri": store_uri, **options})


def record(run_id: str = "r1", **options: Any) -> fedsight.Run:
    """A run in the current folder; the test logs to it."""
    return fedsight.Run(run_id, verbose=False, **options)


def deliver(
    to: MLflowEmitter,
    path: Path,
    *,
    lines_each: int = 1_000_000,
    saved: dict[str, Any] | None = None,
    status: RunStatus | None = "finished",
) -> int:
    """Deliver a whole journal, as `Following` does. How many values were refused."""
    refused = 0
    opened = False
    for batch in batches_of(path, lines_each):
        if not opened:
            to.open(batch.run, saved)
            opened = True
        refused += to.deliver(batch)
    to.close(status)
    return refused


def logged(run: fedsight.Run) -> Path:
    run.finish()
    return run.path


# ── metrics ───────────────────────────────────────────────────────────────────────────────────────


def test_every_metric_of_hivewatch_is_there_once_a_round(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    for number in range(3):
        run.round_start(number, selected=["a", "b", "c"])
        run.log_client_update("a", number, max(0, number - 1), **ALL_CLIENT_FIELDS)
        run.log_client_update("b", number, number, **ALL_CLIENT_FIELDS | {"gradient_norm": 4.0, "status": "failed"})
        run.log_dropout(number, "c", "battery")
        run.log_comm_failure(number, "b")
        run.log_checkpoint(number, __file__)
        run.log_round(
            number,
            global_accuracy=0.5,
            global_loss=0.25,
            num_stragglers=1,
            aggregation_time_sec=1.5,
            algorithm_metadata={"mu": 0.1, "server": {"lr": 1}, "name": "prox"},
        )
    deliver(emitter(), logged(run))

    found = store.points(store.run(experiment))
    client = {
        "accuracy": 0.75,
        "loss": 0.5,
        "num_samples": 100,
        "gradient_norm": 2,
        "gradient_magnitude": 0.25,
        "sparsity": 0.125,
        "compression_ratio": 4,
        "network_latency_ms": 30,
        "train_time_sec": 12.5,
        "bytes_sent_mb": 3,
        "bytes_received_mb": 1.5,
        "status": 0,
    }
    system = {"cpu_pct": 50, "ram_mb": 800, "gpu_util_pct": 70, "gpu_vram_mb": 2000}
    constant = {f"client.a.{name}": value for name, value in client.items()}
    constant |= {f"client.b.{name}": value for name, value in client.items()}
    constant |= {f"sys.{site}.{name}": value for site in "ab" for name, value in system.items()}
    constant |= {"client.b.gradient_norm": 4, "client.b.status": 3, "client.b.staleness": 0}
    constant |= {
        "round/accuracy": 0.5,
        "round/loss": 0.25,
        "round/participation_rate": 1 / 3,
        "round/num_stragglers": 1,
        "round/num_failures": 1,
        "comm/total_bytes_up_mb": 6,
        "comm/total_bytes_down_mb": 3,
        "comm/total_bytes_mb": 9,
        "comm/bytes_per_client_mb": 6,
        "agg/gradient_norm_dispersion": math.sqrt(2),
        "agg/gradient_divergence": math.sqrt(2),
        "agg/aggregation_time_sec": 1.5,
        "agg/algo/mu": 0.1,
        "agg/algo/server.lr": 1,
    }
    for name, value in constant.items():
        assert found.pop(name) == [(number, pytest.approx(value)) for number in range(3)], name
    assert found.pop("client.a.staleness") == [(0, 0), (1, 1), (2, 1)]
    for counter in ("client_dropout", "comm_failure", "checkpoint"):
        assert found.pop(f"event/{counter}") == [(0, 1), (1, 2), (2, 3)]
    assert [step for step, _ in found.pop("round/duration_sec")] == [0, 1, 2]
    further = {"num_selected", "num_completed", "num_dropouts", "num_late", "mean_staleness", "max_staleness"}
    assert set(found) == {f"round/{name}" for name in further}


def test_an_applications_own_numbers_and_step_level_curves_are_there_too(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 1, battery_pct=80, note="text is no metric")
    run.log_round(1, val_auc=0.9)
    run.log_metric("train/loss", 0.75, step=17)
    run.log_metric("lr", 0.1)
    deliver(emitter(), logged(run))
    found = store.points(store.run(experiment))
    assert found["client.a.battery_pct"] == [(1, 80)]
    assert found["round/val_auc"] == [(1, 0.9)]
    assert found["train/loss"] == [(17, 0.75)]
    assert found["lr"] == [(0, 0.1)]
    assert not any("note" in name for name in found)


def test_an_own_number_does_not_hide_one_of_ours_under_its_name(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 1, local_accuracy=0.5, accuracy=0.6)
    run.log_client_update("b", 1, accuracy=0.7)
    run.log_round(1, global_accuracy=0.8, accuracy=0.9)
    deliver(emitter(), logged(run))
    found = store.points(store.run(experiment))
    assert found["client.a.accuracy"] == [(1, 0.5)]
    assert found["client.a.metrics.accuracy"] == [(1, 0.6)]
    assert found["client.b.accuracy"] == [(1, 0.7)]
    assert found["round/accuracy"] == [(1, 0.8)]
    assert found["round/metrics.accuracy"] == [(1, 0.9)]


def test_points_carry_the_events_own_times(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 1, local_accuracy=0.5)
    run.log_round(1, global_accuracy=0.8)
    path = logged(run)
    deliver(emitter(), path)
    found = store.run(experiment)
    times = {line.event.__struct_config__.tag: line.event.ts for batch in batches_of(path) for line in batch.lines}
    (of_client,) = store.client.get_metric_history(found.info.run_id, "client.a.accuracy")
    (of_round,) = store.client.get_metric_history(found.info.run_id, "round/accuracy")
    assert of_client.timestamp == int(times["client_update"] * 1000)
    assert of_round.timestamp == int(times["round_end"] * 1000)
    assert found.info.start_time == int(times["run_start"] * 1000)
    assert found.info.end_time == int(times["run_end"] * 1000)


def test_unknown_is_left_out_and_zero_is_not(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 0, bytes_sent=0, local_accuracy=None)
    run.log_round(0)
    deliver(emitter(), logged(run))
    found = store.points(store.run(experiment))
    assert found["client.a.bytes_sent_mb"] == [(0, 0)]
    assert found["comm/total_bytes_up_mb"] == found["comm/total_bytes_mb"] == [(0, 0)]
    assert not {"client.a.accuracy", "client.a.status", "round/accuracy", "comm/total_bytes_down_mb"} & set(found)


def test_nan_is_kept_and_infinity_becomes_the_largest_number(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 0, local_loss=math.nan, gradient_norm=math.inf, margin=-math.inf)
    deliver(emitter(), logged(run))
    found = store.points(store.run(experiment))
    assert math.isnan(found["client.a.loss"][0][1])
    assert found["client.a.gradient_norm"] == [(0, sys.float_info.max)]
    assert found["client.a.margin"] == [(0, -sys.float_info.max)]


def test_what_comes_again_after_a_crash_adds_nothing(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    for number in range(4):
        run.log_client_update("a", number, local_accuracy=0.5, local_loss=math.nan, gradient_norm=math.inf)
        run.log_dropout(number, "b")
        run.log_checkpoint(number, __file__)
        run.log_round(number, global_accuracy=0.8)
    path = logged(run)
    deliver(emitter(), path)
    once = store.points(store.run(experiment))
    for lines_each in (1, 3, 7):
        deliver(emitter(), path, lines_each=lines_each)
    again = store.points(store.run(experiment))
    assert repr(again) == repr(once)  # NaN is not equal to itself


def test_an_update_that_says_the_same_again_makes_no_second_point_and_a_correction_does(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 0, local_accuracy=0.5, num_samples=10)
    run.log_client_update("a", 0, local_accuracy=0.5, num_samples=12)
    run.log_client_update("a", 0, local_loss=1.0)
    run.log_client_update("a", 1, local_accuracy=0.5)
    deliver(emitter(), logged(run), lines_each=1)
    found = store.points(store.run(experiment))
    assert found["client.a.accuracy"] == [(0, 0.5), (1, 0.5)]
    assert sorted(found["client.a.num_samples"]) == [(0, 10), (0, 12)]
    assert found["client.a.loss"] == [(0, 1.0)]


def test_a_late_update_gives_its_round_newer_figures(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.round_start(0, selected=["a", "b"])
    run.log_client_update("a", 0, 0, bytes_sent=1_000_000)
    run.log_round(0)
    run.log_client_update("a", 1, 1, bytes_sent=1_000_000)
    run.log_round(1)
    run.log_client_update("b", 0, 0, bytes_sent=2_000_000)
    deliver(emitter(), logged(run))
    found = store.run(experiment)
    points = store.points(found)
    assert points["client.b.bytes_sent_mb"] == [(0, 2)]
    assert sorted(points["comm/total_bytes_up_mb"]) == [(0, 1), (0, 3), (1, 1)]
    assert sorted(points["round/num_late"]) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("without", ["log_per_client", "log_system"])
def test_clients_and_their_machines_can_be_left_out(
    without: str, emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_update("a", 0, **ALL_CLIENT_FIELDS)
    run.log_round(0, global_accuracy=0.5)
    deliver(emitter(**{without: False}), logged(run))
    groups = {name.partition(".")[0].partition("/")[0] for name in store.points(store.run(experiment))}
    assert groups == {"round", "comm", "sys" if without == "log_per_client" else "client"}


def test_a_sample_of_a_monitor_stands_at_the_seconds_since_the_runs_start() -> None:
    sample = Sample(ts=1042.5, node="gpu-1", metrics={"cpu_pct": 12.5})
    batch = Batch(RunInfo("r", started_at=1000.0), "j", [Line(0, sample)], Totals())
    outgoing = Outgoing(Choices("one-run", True, True, False, {}), batch, Sent())
    outgoing.take(batch.lines[0])
    (point,) = outgoing.points[None]
    assert (point.key, point.value, point.step, point.time_ms) == ("monitor.gpu-1.cpu_pct", 12.5, 42, 1_042_500)


# ── names, params, tags ───────────────────────────────────────────────────────────────────────────


def test_a_client_with_a_name_that_mlflow_forbids_loses_nothing(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    strange, long = "ward#3, berlin@dz", "hospital-" * 40
    run = record()
    for client in (strange, long):
        run.log_client_update(client, 0, local_accuracy=0.5)
        run.log_dropout(0, client, "gone")
    run.log_round(0, global_accuracy=0.75)
    assert deliver(emitter(), logged(run)) == 0
    found = store.run(experiment)
    names = {original_name(name, found.data.tags) for name in found.data.metrics}
    assert {f"client.{strange}.accuracy", f"client.{long}.accuracy", "round/accuracy"} <= names
    assert found.data.tags[mlflow_name(f"dropout.round_0.{strange}")] == "gone"


def test_params_are_flattened_and_sent_in_several_requests(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    config = {"lr": 0.1, "opt": {"name": "sgd", "betas": [0.9, 0.99], "none": None, "empty": {}}, "opt.name": "clash"}
    config["layers"] = {f"l{number}": number for number in range(250)}
    config["prompt"] = "x" * 7000
    deliver(emitter(), logged(record(config=config)))
    params = store.run(experiment).data.params
    assert len(params) == 257
    assert params["lr"] == "0.1"
    assert params["opt.name"] == "sgd"
    assert params["opt.name 2"] == "clash"
    assert params["opt.betas"] == "[0.9, 0.99]"
    assert params["opt.none"] == "None"
    assert params["opt.empty"] == "{}"
    assert params["layers.l249"] == "249"
    assert len(params["prompt"]) == 6000
    assert params["prompt"].endswith("x … (cut; 7000 characters)")


def test_tags_say_whose_run_it_is_and_what_happened(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record(project="hospitals", tags={"team": "a", "kind": "pilot"})
    run.set_server_metadata(host="fl.example", protocol="grpc", city="Toulouse")
    run.log_dropout(2, "a", "battery")
    run.log_comm_failure(3, "b")
    run.finish("failed", "out of memory")
    deliver(emitter(tags={"team": "b"}), run.path, status="failed")
    tags = store.run(experiment).data.tags
    wanted = {
        "fedsight/run_id": "r1",
        "fedsight/algorithm": "FedAvg",
        "fedsight/project": "hospitals",
        "fedsight/error": "out of memory",
        "hivewatch/run_id": "r1",
        "hivewatch/algorithm": "FedAvg",
        "team": "b",
        "kind": "pilot",
        "server.host": "fl.example",
        "server.protocol": "grpc",
        "dropout.round_2.a": "battery",
        "comm_failure.round_3.b": "unknown",
    }
    assert {name: tags.get(name) for name in wanted} == wanted
    assert not any("city" in name for name in tags)


def test_places_are_tags_when_asked_for(emitter: Callable[..., MLflowEmitter], store: Store, experiment: str) -> None:
    run = record()
    run.set_server_metadata(city="Toulouse", lat=43.6)
    run.log_client_update("a", 0, lat=48.1, lng=11.6, city="Munich", country="DE")
    run.log_client_update("a", 1, lat=50.1)
    deliver(emitter(log_geo=True), logged(run))
    found = store.run(experiment)
    places = {name: value for name, value in found.data.tags.items() if name.startswith(("geo.", "server."))}
    assert places == {
        "geo.a.lat": "50.1",
        "geo.a.lng": "11.6",
        "geo.a.city": "Munich",
        "geo.a.country": "DE",
        "server.city": "Toulouse",
        "server.lat": "43.6",
    }
    assert not any("lat" in name.split(".") for name in found.data.metrics)


# ── whose run, and how it ends ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "shown"), [("finished", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED"), (None, "RUNNING")]
)
def test_the_run_ends_as_it_ended(
    status: RunStatus | None, shown: str, emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    deliver(emitter(), logged(record()), status=status)
    found = store.run(experiment)
    assert found.info.status == shown
    assert found.info.run_name == "r1"


def test_the_users_active_run_is_used_and_never_ended(
    emitter: Callable[..., MLflowEmitter], store: Store, store_uri: str, experiment: str
) -> None:
    run = record(config={"lr": 0.1})
    run.log_round(0, global_accuracy=0.5)
    mlflow.set_tracking_uri(store_uri)
    with mlflow.start_run(run_name="mine", experiment_id=store.client.create_experiment(experiment)) as mine:
        to = emitter(tracking_uri=None)
        deliver(to, logged(run))
        assert mlflow.active_run().info.run_id == mine.info.run_id
        mlflow.log_metric("after", 1)
        found = store.run(experiment)
        assert found.info.status == "RUNNING"
        assert found.info.run_name == "mine"
        assert found.data.params == {"lr": "0.1"}
        assert found.data.tags["fedsight/run_id"] == "r1"
        assert {"round/accuracy", "after"} <= set(found.data.metrics)
    # A sync in another process names the run, and leaves it alone, too.
    options = options_from(to.sync_arguments()[1::2])
    assert options["resume_run_id"] == mine.info.run_id
    deliver(make("mlflow", options), run.path, status="failed")
    assert store.run(experiment).info.status == "FINISHED"


def test_an_active_run_of_another_store_is_left_alone(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, tmp_path: Path
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    with mlflow.start_run(experiment_id="0") as mine:
        deliver(emitter(), logged(record()))
        assert mlflow.get_run(mine.info.run_id).data.tags.get("fedsight/run_id") is None
    assert store.run(experiment).info.status == "FINISHED"


def test_a_named_run_is_gone_on_with(emitter: Callable[..., MLflowEmitter], store: Store, experiment: str) -> None:
    first = record("first")
    first.log_round(0, global_accuracy=0.5)
    deliver(emitter(), logged(first))
    second = record("second")
    second.log_round(1, global_accuracy=0.6)
    deliver(emitter(resume_run_id=store.run(experiment).info.run_id), logged(second), status="failed")
    found = store.run(experiment)
    assert store.points(found)["round/accuracy"] == [(0, 0.5), (1, 0.6)]
    assert found.info.status == "FAILED"


def test_after_a_restart_it_goes_on_in_the_same_run(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    path = logged(record())
    (batch,) = batches_of(path)
    to = emitter()
    to.open(batch.run, None)
    to.deliver(batch)
    saved = json.loads(json.dumps(to.save()))
    to.close("finished")
    again = emitter()
    again.open(batch.run, saved)
    assert store.run(experiment).info.status == "RUNNING"
    again.close("killed")
    assert store.run(experiment).info.status == "KILLED"


def test_a_run_whose_state_was_lost_is_found_by_its_tags(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    path = logged(record("it's"))
    deliver(emitter(), path)
    deliver(emitter(), path)
    assert list(store.runs(experiment)) == ["it's"]


def test_another_run_of_the_same_id_is_another_run(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    deliver(emitter(run_name="here"), logged(record("baseline", runs_dir="here")))
    deliver(emitter(run_name="there"), logged(record("baseline", runs_dir="there")))
    assert set(store.runs(experiment)) == {"here", "there"}


def test_a_deleted_run_is_said_to_be(emitter: Callable[..., MLflowEmitter], store: Store, experiment: str) -> None:
    path = logged(record(config={"a": 1, "b": 2}))
    (batch,) = batches_of(path)
    to = emitter()
    to.open(batch.run, None)
    store.client.delete_run(store.run(experiment).info.run_id)
    with pytest.raises(fedsight.FedsightError, match="was deleted"):
        to.deliver(batch)
    store.client.restore_run(to.save()["mlflow_run_id"])
    assert to.deliver(batch) == 0
    to.close("finished")


def test_the_processs_own_mlflow_state_is_not_touched(
    emitter: Callable[..., MLflowEmitter], store_uri: str, tmp_path: Path
) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/theirs.db")
    before = mlflow.get_tracking_uri()
    deliver(emitter(), logged(record()))
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_a_param_that_changed_is_refused_alone(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = record(config={"lr": 0.1, "mu": 1})
    run.log_round(0, global_accuracy=0.5)
    run.finish()
    again = record(config={"lr": 0.2, "mu": 1, "new": "x"}, resume=True)
    again.log_round(1, global_accuracy=0.6)
    assert deliver(emitter(), logged(again)) == 1
    found = store.run(experiment)
    assert found.data.params == {"lr": "0.1", "mu": "1", "new": "x"}
    assert store.points(found)["round/accuracy"] == [(0, 0.5), (1, 0.6)]
    assert [record.message for record in caplog.records if "param 'lr'" in record.message]


# ── per site ──────────────────────────────────────────────────────────────────────────────────────


def test_per_site_every_client_has_a_run_below_the_federations(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record(config={"lr": 0.1})
    for number in range(2):
        for site in ("site-1", "site 2"):
            run.log_client_update(site, number, **ALL_CLIENT_FIELDS, lat=1.5)
        run.log_dropout(number, "site-3", "battery")
        run.log_round(number, global_accuracy=0.5)
    path = logged(run)
    for lines_each in (1000, 2):  # the second time, nothing is new
        deliver(emitter(layout="per-site", log_geo=True, run_name="pilot"), path, lines_each=lines_each)
    runs = store.runs(experiment)
    assert set(runs) == {"pilot", "site-1-r1-pilot", "site 2-r1-pilot"}
    assert {each.info.status for each in runs.values()} == {"FINISHED"}
    parent = runs["pilot"]
    assert parent.data.params == {"lr": "0.1"}
    assert not any(name.startswith(("client.", "sys.")) for name in parent.data.metrics)
    assert store.points(parent)["round/accuracy"] == [(0, 0.5), (1, 0.5)]
    assert parent.data.tags["dropout.round_0.site-3"] == "battery"
    site = runs["site-1-r1-pilot"]
    assert site.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert site.data.tags["fedsight/client_id"] == "site-1"
    assert site.data.tags["geo.lat"] == "1.5"
    points = store.points(site)
    assert points["accuracy"] == [(0, 0.75), (1, 0.75)]
    assert points["cpu_pct"] == [(0, 50), (1, 50)]
    assert points["bytes_sent_mb"] == [(0, 3), (1, 3)]


def test_per_site_a_clients_params_tags_and_notes_are_its_runs(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, tmp_path: Path
) -> None:
    run = record()
    run.log_client_info("a", params={"lr": 0.5, "optimizer": {"name": "sgd"}}, tags={"ward": 7})
    run.log_metric("loss", 0.25, step=3, client_id="a")
    run.log_client_info("a", params={"lr": 0.1})
    run.log_text("hello", name="../notes/hello.txt", client_id="a")
    run.log_text("no name", client_id="a")
    assert deliver(emitter(layout="per-site", tags={"team": "x"}, experiment_tags={"kind": "pilot"}), logged(run)) == 1
    site = store.runs(experiment)["a-r1"]
    assert site.data.params == {"lr": "0.5", "optimizer.name": "sgd"}
    wanted = {"ward": "7", "team": "x", "job_id": "r1", "run_name": "a-r1"}
    assert wanted.items() <= site.data.tags.items()
    assert store.points(site)["loss"] == [(3, 0.25)]
    assert store.read(site, "notes/hello.txt", tmp_path) == b"hello"
    assert len(store.files(site, "notes")) == 2
    assert store.client.get_experiment_by_name(experiment).tags["kind"] == "pilot"


def test_in_one_run_a_clients_params_tags_and_notes_bear_its_name(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    run.log_client_info("a", params={"lr": 0.5}, tags={"ward": 7})
    run.log_text("hello", name="notes/hello.txt", client_id="a")
    deliver(emitter(), logged(run))
    found = store.run(experiment)
    assert found.data.params == {"client.a.lr": "0.5"}
    assert found.data.tags["client.a.ward"] == "7"
    assert store.files(found) == ["clients/a/notes/hello.txt"]


def test_artifacts_of_a_new_experiment_go_where_they_are_told(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, tmp_path: Path
) -> None:
    run = record()
    run.log_text("hello", name="hello.txt")
    deliver(emitter(artifact_location=(tmp_path / "kept").as_uri()), logged(run))
    assert [path.read_text() for path in (tmp_path / "kept").rglob("hello.txt")] == ["hello"]
    assert store.files(store.run(experiment)) == ["hello.txt"]


def test_what_is_logged_within_the_flush_interval_is_sent_together(
    emitter: Callable[..., MLflowEmitter], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    whole = MLflowEmitter.deliver
    monkeypatch.setattr(
        MLflowEmitter, "deliver", lambda to, batch: batches.append(len(batch.lines)) or whole(to, batch)
    )
    run = record(emitters=[emitter(flush_interval_sec=60)])
    wait_until(lambda: bool(batches))
    for step in range(100):
        run.log_metric("loss", 1.0, step=step)
        threading.Event().wait(0.002)
    assert len(batches) == 1  # the run's start
    run.finish()
    assert sum(batches) == 102
    assert len(batches) <= 4


def test_a_flush_interval_that_cant_be_meant_is_refused() -> None:
    with pytest.raises(UsageError, match="flush_interval_sec must be seconds, at least 0, not -1"):
        MLflowEmitter(flush_interval_sec=-1)


@pytest.mark.parametrize("layout", ["one-run", "per-site"])
def test_a_sites_own_journal_is_a_run_of_its_own(
    layout: str, emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    server = record("shared")
    deliver(emitter(layout=layout), logged(server))
    site = fedsight.Run("shared", client_id="site-1", verbose=False)
    site.log_client_update(round=4, local_accuracy=0.5)
    site.log_metric("train_loss", 0.25, step=9)
    deliver(emitter(layout=layout), logged(site))
    runs = store.runs(experiment)
    assert set(runs) == {"shared", "site-1-shared"}
    prefix = "client.site-1." if layout == "one-run" else ""
    points = store.points(runs["site-1-shared"])
    assert points == {f"{prefix}accuracy": [(4, 0.5)], f"{prefix}train_loss": [(9, 0.25)]}
    parent = runs["site-1-shared"].data.tags.get("mlflow.parentRunId")
    assert parent == (runs["shared"].info.run_id if layout == "per-site" else None)


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_is_an_artifact_with_a_description(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, tmp_path: Path
) -> None:
    run = record()
    Path("model.pt").write_bytes(b"weights")
    run.log_checkpoint(3, "model.pt", val_loss=math.nan, kind="best")
    run.log_text("a note")
    deliver(emitter(), logged(run))
    found = store.run(experiment)
    model, description, note = store.files(found)
    assert model == "checkpoints/round_3/model.pt"
    assert store.read(found, model, tmp_path) == b"weights"
    fields = json.loads(store.read(found, description, tmp_path))
    assert fields["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert fields["size_bytes"] == 7
    assert fields["round"] == 3
    assert fields["metadata"] == {"val_loss": "NaN", "kind": "best"}
    assert note.startswith("notes/")
    assert store.read(found, note, tmp_path) == b"a note"


def test_a_checkpoint_is_uploaded_once_though_its_event_comes_twice(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    Path("model.pt").write_bytes(b"first")
    run.log_checkpoint(0, "model.pt")
    path = logged(run)
    lines = list(batches_of(path, 1))
    to = emitter()
    to.open(lines[0].run, None)
    for batch in lines[:2]:
        to.deliver(batch)
    Path("model.pt").unlink()  # a training keeps its last few only
    for batch in lines[2:]:
        assert to.deliver(batch) == 0
    to.close("finished")
    found = store.run(experiment)
    assert store.files(found) == ["checkpoints/round_0/model.pt", "checkpoints/round_0/model.pt.json"]
    assert store.points(found)["event/checkpoint"] == [(0, 1)]


def test_a_file_that_was_changed_before_its_upload_is_said_to_be(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, tmp_path: Path
) -> None:
    run = record()
    Path("model.pt").write_bytes(b"first")
    run.log_checkpoint(0, "model.pt")
    path = logged(run)
    Path("model.pt").write_bytes(b"second")
    deliver(emitter(), path, lines_each=1)
    found = store.run(experiment)
    fields = json.loads(store.read(found, "checkpoints/round_0/model.pt.json", tmp_path))
    assert fields["sha256"] != fields["sha256_when_logged"]
    assert "changed" in fields["note"]


def test_a_file_that_is_gone_is_refused_and_the_rest_goes_on(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = record()
    Path("gone.pt").write_bytes(b"x")
    run.log_checkpoint(0, "gone.pt")
    path = logged(run)
    Path("gone.pt").unlink()
    assert deliver(emitter(), path) == 1
    found = store.run(experiment)
    assert found.info.status == "FINISHED"
    assert store.files(found) == []
    assert "gone.pt is not at MLflow" in caplog.text


def test_two_files_of_one_name_in_a_round_are_both_kept(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str, tmp_path: Path
) -> None:
    run = record()
    for folder in ("server", "client"):
        Path(folder).mkdir()
        (Path(folder) / "model.pt").write_text(folder)
        run.log_checkpoint(0, f"{folder}/model.pt")
    deliver(emitter(), logged(run))
    found = store.run(experiment)
    models = [path for path in store.files(found) if path.endswith(".pt")]
    assert len(models) == 2
    assert {store.read(found, path, tmp_path) for path in models} == {b"client", b"server"}


def test_a_folder_is_a_checkpoint_too(emitter: Callable[..., MLflowEmitter], store: Store, experiment: str) -> None:
    run = record()
    Path("state/shards").mkdir(parents=True)
    Path("state/shards/0").write_text("x")
    run.log_checkpoint(5, "state")
    deliver(emitter(), logged(run))
    assert "checkpoints/round_5/state/shards/0" in store.files(store.run(experiment))


def test_a_checkpoint_becomes_a_version_of_the_registered_model_once(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    run = record()
    Path("model.pt").write_text("x")
    for number in range(2):
        run.log_checkpoint(number, "model.pt")
    path = logged(run)
    for _ in range(2):
        deliver(emitter(registered_model=f"model-{experiment}"), path)
    versions = store.client.search_model_versions(f"name = 'model-{experiment}'")
    assert sorted((str(version.version), version.tags["fedsight/round"]) for version in versions) == [
        ("1", "0"),
        ("2", "1"),
    ]
    assert {version.run_id for version in versions} == {store.run(experiment).info.run_id}


def test_an_upload_that_was_not_done_is_begun_again_after_a_restart(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    path = logged(record())
    (batch,) = batches_of(path)
    Path("model.pt").write_text("x")
    to = emitter()
    to.open(batch.run, None)
    to.deliver(batch)
    saved = to.save()
    upload = Upload("checkpoints/round_0", "model.pt", path="model.pt", round=0)
    saved["uploads"] = [json.loads(json.dumps({"folder": upload.folder, "name": upload.name, "path": upload.path}))]
    again = emitter()
    again.open(batch.run, saved)
    again.close("finished")
    assert "checkpoints/round_0/model.pt" in store.files(store.run(experiment))


# ── stores, options ───────────────────────────────────────────────────────────────────────────────


def test_without_a_uri_mlflow_chooses(tmp_path: Path) -> None:
    to = MLflowEmitter()
    deliver(to, logged(record()))
    assert (tmp_path / "mlflow.db").exists()
    assert "mlflow.db" in to.where()
    assert str(tmp_path) in to.identity()


def test_the_environments_uri_is_used(
    store: Store, store_uri: str, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    deliver(MLflowEmitter(experiment), logged(record()))
    assert store.run(experiment).info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_a_folder_is_a_store_where_mlflow_allows_it(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = record()
    run.log_round(0, global_accuracy=0.5)
    path = logged(run)
    to = MLflowEmitter(experiment, tmp_path / "mlruns")
    with pytest.raises(mlflow.MlflowException, match="maintenance mode"):
        deliver(to, path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    deliver(to, path)
    folder = Store(str(tmp_path / "mlruns"))
    assert folder.points(folder.run(experiment))["round/accuracy"] == [(0, 0.5)]


def test_mlflow_measures_the_machine_when_asked_to(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    (batch,) = batches_of(logged(record()))
    to = emitter(mlflow_system_metrics=True, system_metrics_sampling_interval=0.1)
    to.open(batch.run, None)
    to.deliver(batch)
    wait_until(lambda: "system/cpu_utilization_percentage" in store.run(experiment).data.metrics)
    to.close("finished")
    assert not any(thread.name == "SystemMetricsMonitor" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "options",
    [
        {"experiment": ""},
        {"experiment": "http://127.0.0.1:5000"},
        {"layout": "two-runs"},
        {"system_metrics_sampling_interval": 0},
    ],
)
def test_what_cannot_be_meant_is_said_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        MLflowEmitter(**options)
    assert raised.value.field == next(iter(options))


def test_the_sync_command_delivers_to_the_same_place(emitter: Callable[..., MLflowEmitter]) -> None:
    for options in (
        {},
        {"run_name": "5", "tags": {"team": "a b"}, "layout": "per-site", "log_geo": True, "log_system": False},
        {"resume_run_id": "abc", "registered_model": "m", "log_per_client": False},
    ):
        to = emitter(**options)
        again = make("mlflow", options_from(to.sync_arguments()[1::2]))
        assert again.identity() == to.identity()
        assert again.sync_arguments() == to.sync_arguments()


def test_passwords_are_neither_in_the_identity_nor_in_the_sync_command() -> None:
    to = MLflowEmitter(tracking_uri="https://me:secret@mlflow.example:5000/base?token=secret")
    assert "secret" not in to.identity() + " ".join(to.sync_arguments())
    assert "https://mlflow.example:5000/base" in to.identity()


def test_making_one_imports_nothing_and_a_missing_package_is_named() -> None:
    program = """
import sys
from fedsight.emitters import MLflowEmitter
from fedsight.emitters.destination import RunInfo
emitter = MLflowEmitter(mlflow_system_metrics=True)
assert "mlflow" not in sys.modules
sys.modules["mlflow"] = None
emitter = MLflowEmitter()
try:
    emitter.open(RunInfo("r"), None)
except ImportError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'fedsight[mlflow]'" in told.stdout


# ── from a training ───────────────────────────────────────────────────────────────────────────────


def test_a_training_is_in_mlflow_when_it_has_finished(
    emitter: Callable[..., MLflowEmitter], store: Store, experiment: str
) -> None:
    with fedsight.init(config={"lr": 0.1}, emitters=[emitter()], verbose=False) as run:
        for number in range(5):
            fedsight.round_start(number, selected=["a", "b"])
            for site in "ab":
                fedsight.log_client_update(site, local_accuracy=0.5 + number / 10)
            fedsight.log_round(number, global_accuracy=0.5 + number / 10)
    (following,) = run.emitters
    assert following.state().pending_bytes == 0
    assert following.state().num_failed == 0
    found = store.run(experiment)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.run_id
    wanted = [(number, 0.5 + number / 10) for number in range(5)]
    points = store.points(found)
    assert points["round/accuracy"] == points["client.a.accuracy"] == points["client.b.accuracy"] == wanted


KILLED_TRAINING = """
import sys, time
import fedsight
from fedsight.emitters import MLflowEmitter
experiment, uri = sys.argv[1:]
run = fedsight.init(run_id="killed", emitters=[MLflowEmitter(experiment, uri)], verbose=False)
number = 0
while True:
    fedsight.log_client_update("a", number, local_accuracy=number / 1000)
    fedsight.log_dropout(number, "b")
    fedsight.log_round(number, global_accuracy=number / 1000)
    print(number, run.emitters[0].state().delivered_bytes, flush=True)
    number += 1
    time.sleep(0.005)
"""


def test_after_a_kill_a_sync_leaves_nothing_missing_and_nothing_doubled(
    store: Store, store_uri: str, experiment: str
) -> None:
    command = [sys.executable, "-c", KILLED_TRAINING, experiment, store_uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as training:
        assert training.stdout is not None
        delivered_at: int | None = None
        for line in training.stdout:
            number, delivered = map(int, line.split())
            if delivered_at is None and delivered > 0:
                delivered_at = number
            if delivered_at is not None and number > delivered_at + 50:
                break
        training.kill()
    arguments = ["runs/killed.jsonl", "--to", "mlflow"]
    arguments += ["--set", f"experiment={experiment}", "--set", f"tracking_uri={store_uri}"]
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "fedsight", "sync", *arguments], check=True, capture_output=True)
    numbers = [
        line.event.round
        for batch in batches_of(Path("runs/killed.jsonl"))
        for line in batch.lines
        if isinstance(line.event, RoundEnd)
    ]
    assert len(numbers) > 50
    points = store.points(store.run(experiment))
    assert points["round/accuracy"] == [(number, number / 1000) for number in numbers]
    assert points["client.a.accuracy"][: len(numbers)] == [(number, number / 1000) for number in numbers]
    assert points["event/client_dropout"][: len(numbers)] == [(number, number + 1) for number in numbers]
    assert len(points["client.a.accuracy"]) - len(numbers) in (0, 1)  # a round may have been under way
