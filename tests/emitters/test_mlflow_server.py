"""`MLflowEmitter` and a real `mlflow server`: down at the start, down in the midst, slow, picky."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collector_process import free_port, wait_until
from journal_batches import batches_of
from mlflow_store import Gate, MlflowServer, Store

import fedsight
from fedsight.emitters.mlflow import MLflowEmitter
from fedsight.emitters.mlflow.points import Point
from fedsight.emitters.mlflow.tracking import Tracking

pytestmark = [
    pytest.mark.alone,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"))
    yield server
    server.stop()


@pytest.fixture
def gate(server: MlflowServer) -> Iterator[Gate]:
    with Gate(server.port) as gate:
        yield gate


@pytest.fixture
def store(server: MlflowServer) -> Store:
    return Store(server.url)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


def log_rounds(numbers: range) -> None:
    for number in numbers:
        fedsight.round_start(number, selected=["a", "b"])
        for site in "ab":
            fedsight.log_client_update(site, local_accuracy=number / 10, cpu_pct=50)
        fedsight.log_dropout(number, "c", "battery")
        fedsight.log_round(number, global_accuracy=number / 10)


def accuracies(numbers: range) -> list[tuple[int, float]]:
    return [(number, number / 10) for number in numbers]


def assert_all_there(store: Store, experiment: str, num_rounds: int) -> None:
    """Every point of `log_rounds`, once."""
    found = store.run(experiment)
    points = store.points(found)
    for name in ("round/accuracy", "client.a.accuracy", "client.b.accuracy"):
        assert points[name] == accuracies(range(num_rounds)), name
    assert points["event/client_dropout"] == [(number, number + 1) for number in range(num_rounds)]
    assert found.info.status == "FINISHED"


def test_a_training_goes_to_a_server_with_its_checkpoints(server: MlflowServer, store: Store, experiment: str) -> None:
    Path("model.pt").write_bytes(b"weights")
    emitter = MLflowEmitter(experiment, server.url, registered_model="served")
    with fedsight.init(config={"lr": 0.1}, emitters=[emitter], verbose=False):
        log_rounds(range(3))
        fedsight.log_checkpoint(2, "model.pt", kind="best")
        fedsight.log_metric("diverged", float("nan"), step=1)
        fedsight.log_metric("exploded", float("inf"), step=1)
    assert_all_there(store, experiment, 3)
    found = store.run(experiment)
    assert found.data.params == {"lr": "0.1"}
    assert store.files(found) == ["checkpoints/round_2/model.pt", "checkpoints/round_2/model.pt.json"]
    assert str(store.points(found)["diverged"]) == "[(1, nan)]"
    assert store.points(found)["exploded"] == [(1, 1.7976931348623157e308)]
    (version,) = store.client.search_model_versions("name = 'served'")
    assert version.source.endswith("/checkpoints/round_2/model.pt")
    assert emitter.where().startswith(server.url)


def test_per_site_runs_are_made_on_a_server_too(server: MlflowServer, store: Store, experiment: str) -> None:
    emitter = MLflowEmitter(experiment, server.url, layout="per-site")
    with fedsight.init(run_id="sites", emitters=[emitter], verbose=False):
        log_rounds(range(2))
    runs = store.runs(experiment)
    assert set(runs) == {"sites", "a-sites", "b-sites"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert store.points(runs["a-sites"])["accuracy"] == accuracies(range(2))


def test_a_server_that_is_down_at_the_start_gets_everything_later(
    server: MlflowServer, store: Store, experiment: str
) -> None:
    port = free_port()
    run = fedsight.init(emitters=[MLflowEmitter(experiment, f"http://127.0.0.1:{port}")], verbose=False)
    (emitter,) = run.emitters
    log_rounds(range(2))
    wait_until(lambda: emitter.state().failing_since is not None)
    assert "does not answer" in emitter.state().last_error
    with Gate(server.port, port):
        log_rounds(range(2, 4))
        run.finish()
        assert emitter.state().pending_bytes == 0
    assert_all_there(store, experiment, 4)


def test_a_server_that_is_down_in_the_midst_gets_everything_later(
    server: MlflowServer, store: Store, experiment: str
) -> None:
    port = free_port()
    with Gate(server.port, port):
        run = fedsight.init(emitters=[MLflowEmitter(experiment, f"http://127.0.0.1:{port}")], verbose=False)
        (emitter,) = run.emitters
        log_rounds(range(2))
        wait_until(lambda: emitter.state().pending_bytes == 0 and emitter.state().delivered_bytes > 0)
    log_rounds(range(2, 4))
    wait_until(lambda: emitter.state().failing_since is not None)
    with Gate(server.port, port):
        wait_until(lambda: emitter.state().pending_bytes == 0)
        log_rounds(range(4, 5))
        run.finish()
    assert_all_there(store, experiment, 5)


def test_an_outage_does_not_hold_the_emitter_for_minutes(experiment: str, server: MlflowServer) -> None:
    port = free_port()
    with Gate(server.port, port) as gate:
        tracking = Tracking(gate.url)
        run_id = tracking.client.create_run(tracking.experiment_id(experiment)).info.run_id
    attempt = threading.Thread(target=_fails, args=(lambda: tracking.log(run_id, [Point("m", 1.0, 1, 1)]),))
    attempt.start()
    attempt.join(30)
    assert not attempt.is_alive()  # MLflow's own client would try for 246 s
    with pytest.raises(ConnectionError, match="does not answer"):
        tracking.reach()


def _fails(call: Callable[[], Any]) -> None:
    with pytest.raises(ConnectionError, match="does not answer"):
        call()


def test_answers_that_are_lost_make_no_doubles(gate: Gate, store: Store, experiment: str) -> None:
    fates = iter(["lost", "cut", "pass", "lost", "lost", "pass", "cut"])
    gate.fate = lambda path, body: next(fates, "pass") if path == LOG_BATCH else "pass"
    with fedsight.init(emitters=[MLflowEmitter(experiment, gate.url)], verbose=False) as run:
        log_rounds(range(4))
    assert run.emitters[0].state().num_failed == 0
    assert_all_there(store, experiment, 4)


def test_a_slow_server_holds_up_nobody_but_its_emitter(gate: Gate, store: Store, experiment: str) -> None:
    gate.fate = lambda path, body: "slow"
    with fedsight.init(emitters=[MLflowEmitter(experiment, gate.url)], verbose=False) as run:
        began = time.monotonic()
        log_rounds(range(50))
        logging_sec = time.monotonic() - began
        emitter = run.emitters[0]
        assert emitter.state().pending_bytes > 0  # the training is through, the emitter not yet
    assert logging_sec < 50 * 0.5
    assert_all_there(store, experiment, 50)
    # Lines that came while a request was under way went together in the next.
    assert gate.num("log-batch") < 50


def test_one_refused_metric_does_not_take_the_others_with_it(
    gate: Gate, store: Store, experiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_cpu_of_b(path: str, body: Any) -> str:
        keys = [metric["key"] for metric in (body or {}).get("metrics", [])] if path == LOG_BATCH else []
        return "no such thing, please" if "sys.b.cpu_pct" in keys else "pass"

    gate.fate = refuse_cpu_of_b
    with fedsight.init(emitters=[MLflowEmitter(experiment, gate.url)], verbose=False) as run:
        log_rounds(range(3))
    assert run.emitters[0].state().num_failed == 3
    assert_all_there(store, experiment, 3)
    points = store.points(store.run(experiment))
    assert points["sys.a.cpu_pct"] == [(0, 50), (1, 50), (2, 50)]
    assert "sys.b.cpu_pct" not in points
    (said,) = [record.message for record in caplog.records if "refused" in record.message]
    assert "metric 'sys.b.cpu_pct'" in said
    assert "no such thing, please" in said


def test_a_real_server_refuses_a_bad_name_alone(server: MlflowServer, store: Store, experiment: str) -> None:
    tracking = Tracking(server.url)
    run_id = tracking.client.create_run(tracking.experiment_id(experiment)).info.run_id
    good = [Point(f"m{number}", 1.0, 1, 1) for number in range(20)]
    refused = tracking.log(run_id, [*good[:10], Point("bad@name", 1.0, 1, 1), *good[10:]])
    assert [each.what for each in refused] == ["metric 'bad@name'"]
    assert set(store.points(store.run(experiment))) == {point.key for point in good}


def test_a_big_round_goes_in_a_few_requests(gate: Gate, store: Store, experiment: str) -> None:
    run = fedsight.Run("big", verbose=False)
    for number in range(1000):
        run.log_client_update(f"c{number}", 0, local_accuracy=0.5, **{f"f{k}": k for k in range(11)})
    run.log_round(0, global_accuracy=0.5)
    run.finish()
    emitter = MLflowEmitter(experiment, gate.url)
    (batch,) = batches_of(run.path)
    emitter.open(batch.run, None)
    before = gate.num("log-batch")
    assert emitter.deliver(batch) == 0
    assert gate.num("log-batch") - before <= 14
    emitter.close("finished")
    found = store.run(experiment)
    assert sum(name.startswith("client.") for name in found.data.metrics) == 12_000


def test_a_checkpoint_waits_for_the_artifact_store_and_metrics_do_not(
    gate: Gate, store: Store, experiment: str
) -> None:
    is_up = threading.Event()
    gate.fate = lambda path, body: "cut" if "mlflow-artifacts" in path and not is_up.is_set() else "pass"
    Path("model.pt").write_bytes(b"weights")
    run = fedsight.init(emitters=[MLflowEmitter(experiment, gate.url)], verbose=False)
    log_rounds(range(1))
    fedsight.log_checkpoint(0, "model.pt")
    log_rounds(range(1, 2))
    wait_until(lambda: _num_rounds(store, experiment) == 2)
    assert store.files(store.run(experiment)) == []
    is_up.set()
    run.finish(timeout_sec=60)
    assert_all_there(store, experiment, 2)
    assert "checkpoints/round_0/model.pt" in store.files(store.run(experiment))


def test_an_artifact_store_that_refuses_everything_does_not_keep_the_run_open(
    gate: Gate, store: Store, experiment: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate.fate = lambda path, body: "not here" if "mlflow-artifacts" in path else "pass"
    Path("model.pt").write_bytes(b"weights")
    with fedsight.init(emitters=[MLflowEmitter(experiment, gate.url)], verbose=False) as run:
        log_rounds(range(2))
        for number in range(2):
            fedsight.log_checkpoint(number, "model.pt")
    assert run.emitters[0].state().num_failed == 2
    assert_all_there(store, experiment, 2)
    assert caplog.text.count("model.pt is not at MLflow, and won't be") == 2


def _num_rounds(store: Store, experiment: str) -> int:
    if store.client.get_experiment_by_name(experiment) is None:
        return 0
    runs = list(store.runs(experiment).values())
    return len(store.points(runs[0]).get("round/accuracy", [])) if runs else 0
