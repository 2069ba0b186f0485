"""`OTLPEmitter` against a receiver that reads OpenTelemetry's own protobuf."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_process import free_port, wait_until
from journal_batches import batches_of
from opentelemetry import metrics as global_metrics
from otlp_receiver import OTLPReceiver

import fedsight
from fedsight.emitters.destination import Batch
from fedsight.emitters.otlp import OTLPEmitter
from fedsight.emitters.otlp_endpoint import PointsRefused
from fedsight.emitters.registry import make, options_from
from fedsight.emitters.series import CLIENT_METRIC, CLIENT_SERIES, COUNTERS, ROUND_METRIC, ROUND_SERIES, STEP_METRIC
from fedsight.errors import UsageError
from fedsight.events import RoundEnd
from recorded import of_type


@pytest.fixture
def receiver() -> Iterator[OTLPReceiver]:
    with OTLPReceiver(free_port()) as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_METRICS_{name}", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)


def record(folder: Path, num_rounds: int = 3) -> Path:
    run = fedsight.Run("r1", "FedProx", project="hospitals", framework="flower", runs_dir=folder, verbose=False)
    for number in range(num_rounds):
        run.round_start(number, selected=["a", "b"])
        run.log_client_update("a", number, max(0, number - 1), local_accuracy=0.5, bytes_sent=1000, ram_mb=8, f1=0.25)
        run.log_client_update("b", number, network_latency_ms=30)
        run.log_metric("lr", 0.5**number, step=number)
        if number == 1:
            run.log_dropout(number, "b")
        run.log_round(number, global_accuracy=number / 10, round_duration_sec=2.0, val_auc=0.7)
    run.finish()
    return run.path


def deliver(emitter: OTLPEmitter, *batches: Batch) -> None:
    for batch in batches:
        emitter.open(batch.run, None)
        assert emitter.deliver(batch) == 0


# ── what arrives ──────────────────────────────────────────────────────────────────────────────


def test_every_round_arrives_with_the_time_it_ended_at(tmp_path: Path, receiver: OTLPReceiver) -> None:
    path = record(tmp_path)
    deliver(OTLPEmitter(receiver.url), *batches_of(path, lines_each=4))
    assert receiver.values("fedsight.round.number") == [0, 1, 2]
    assert receiver.values("fedsight.round.accuracy") == [0.0, 0.1, 0.2]
    assert receiver.values("fedsight.round.duration") == [2.0, 2.0, 2.0]
    assert receiver.values("fedsight.round.metric", fedsight__metric__name="val_auc") == [0.7] * 3
    assert receiver.values("fedsight.metric", fedsight__metric__name="lr") == [1, 0.5, 0.25]
    times = [point.time_unix_nano for point in receiver.points() if point.name == "fedsight.round.accuracy"]
    assert times == [int(event.ts * 1e9) for event in of_type(path, RoundEnd)]
    assert receiver.paths == {"/v1/metrics"}


def test_counters_are_cumulative_sums_from_the_runs_start(tmp_path: Path, receiver: OTLPReceiver) -> None:
    path = record(tmp_path)
    batches = list(batches_of(path, lines_each=5))
    deliver(OTLPEmitter(receiver.url), *batches)
    assert receiver.values("fedsight.rounds") == [1, 2, 3, 3]
    assert receiver.values("fedsight.client.updates") == [2, 4, 6, 6]
    assert receiver.values("fedsight.client.dropouts") == [0, 1, 1, 1]
    assert receiver.values("fedsight.upload") == [1000, 2000, 3000, 3000]
    assert receiver.values("fedsight.download") == [], "nobody measured it"
    (start,) = {point.start_time_unix_nano for point in receiver.points() if point.is_monotonic}
    assert start == int((batches[-1].run.started_at or 0) * 1e9)
    assert {point.name for point in receiver.points() if point.is_monotonic} <= {each.name for each in COUNTERS}


def test_the_run_is_the_resource(tmp_path: Path, receiver: OTLPReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab,service.name=other")
    deliver(OTLPEmitter(receiver.url), *batches_of(record(tmp_path)))
    assert receiver.resources() == [
        {
            "service.name": "fedsight",
            "service.instance.id": "r1",
            "fedsight.run.id": "r1",
            "fedsight.project": "hospitals",
            "fedsight.algorithm": "FedProx",
            "fedsight.framework": "flower",
            "deployment.environment": "lab",
        }
    ]
    (scope,) = receiver.taken[0].resource_metrics[0].scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("fedsight", fedsight.__version__)


def test_clients_are_told_of_on_request(tmp_path: Path, receiver: OTLPReceiver) -> None:
    path = record(tmp_path)
    deliver(OTLPEmitter(receiver.url), *batches_of(path))
    assert receiver.values("fedsight.client.accuracy", fedsight__client__id="a") == []
    deliver(OTLPEmitter(receiver.url, per_client=True), *batches_of(path))
    assert receiver.values("fedsight.client.accuracy", fedsight__client__id="a") == [0.5] * 3
    assert receiver.values("fedsight.client.staleness", fedsight__client__id="a") == [0, 1, 1]
    assert receiver.values("fedsight.client.memory.usage", fedsight__client__id="a") == [8e6] * 3
    assert receiver.values("fedsight.client.network.latency", fedsight__client__id="b") == [0.03] * 3
    f1 = receiver.values("fedsight.client.metric", fedsight__client__id="a", fedsight__metric__name="f1")
    assert f1 == [0.25] * 3


def test_a_sites_own_journal_tells_of_itself(tmp_path: Path, receiver: OTLPReceiver) -> None:
    with fedsight.join("r1", "site-1", runs_dir=tmp_path) as site:
        site.log_client_update(round=0, local_loss=0.5)
        site.log_metric("train_loss", 0.9)
    deliver(OTLPEmitter(receiver.url), *batches_of(site.path))
    assert receiver.resources()[0]["fedsight.client.id"] == "site-1"
    assert receiver.resources()[0]["service.instance.id"] == "r1/site-1"
    assert receiver.values("fedsight.client.loss", fedsight__client__id="site-1") == [0.5]
    assert receiver.values("fedsight.client.updates") == [1, 1]
    points = receiver.values("fedsight.metric", fedsight__client__id="site-1", fedsight__metric__name="train_loss")
    assert points == [0.9]


def test_nan_and_infinity_arrive_as_what_they_are(tmp_path: Path, receiver: OTLPReceiver) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_round(0, global_loss=math.nan, val=-math.inf)
    deliver(OTLPEmitter(receiver.url), *batches_of(run.path))
    assert math.isnan(receiver.values("fedsight.round.loss")[0])
    assert receiver.values("fedsight.round.metric", fedsight__metric__name="val") == [-math.inf]
    assert receiver.values("fedsight.round.accuracy") == [], "unknown is no point"


def test_a_late_update_is_a_newer_point_of_its_rounds_figures(tmp_path: Path, receiver: OTLPReceiver) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update("a", 0)
        run.log_round(0)
        run.log_client_update("b", 0)
    deliver(OTLPEmitter(receiver.url), *batches_of(run.path))
    assert receiver.values("fedsight.round.clients.completed") == [1, 2]


def test_a_batch_that_comes_again_repeats_equal_points(tmp_path: Path, receiver: OTLPReceiver) -> None:
    path = record(tmp_path)
    for lines_each in (3, 7):
        deliver(OTLPEmitter(receiver.url, per_client=True), *batches_of(path, lines_each))
    keys = [(point.name, tuple(point.attributes.items()), point.time_unix_nano) for point in receiver.points()]
    assert len(set(zip(keys, [point.value for point in receiver.points()], strict=True))) == len(set(keys))
    assert len(keys) == 2 * len(set(keys))


def test_a_long_backlog_is_posted_in_requests_that_a_receiver_takes(tmp_path: Path, receiver: OTLPReceiver) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        for step in range(12_000):
            run.log_metric("loss", step, step)
    deliver(OTLPEmitter(receiver.url), *batches_of(run.path))
    assert receiver.num_requests == 3
    assert sum(1 for point in receiver.points() if point.name == "fedsight.metric") == 12_000


def test_nothing_is_posted_where_there_is_nothing_to_say(tmp_path: Path, receiver: OTLPReceiver) -> None:
    begin = next(batches_of(record(tmp_path), lines_each=3))
    deliver(OTLPEmitter(receiver.url), begin)
    assert receiver.num_requests == 0


# ── trouble ───────────────────────────────────────────────────────────────────────────────────


def test_a_receiver_that_is_down_then_overloaded_then_up_gets_everything(tmp_path: Path) -> None:
    batches = list(batches_of(record(tmp_path), lines_each=6))
    receiver = OTLPReceiver(free_port())
    emitter = OTLPEmitter(receiver.url)
    emitter.open(batches[0].run, None)
    with pytest.raises(OSError, match=r"/v1/metrics: .*[Rr]efused"):
        emitter.deliver(batches[0])
    with receiver:
        receiver.answer = 503
        with pytest.raises(OSError, match="answered 503: not now"):
            emitter.deliver(batches[0])
        receiver.answer = 200
        deliver(emitter, *batches)
    assert receiver.values("fedsight.round.number") == [0, 1, 2]
    assert receiver.values("fedsight.rounds") == [1, 2, 3, 3]


def test_what_a_receiver_will_never_take_is_a_fault_of_the_lines(tmp_path: Path, receiver: OTLPReceiver) -> None:
    batch = next(batches_of(record(tmp_path)))
    receiver.answer = 400
    with pytest.raises(PointsRefused, match="answered 400"):
        OTLPEmitter(receiver.url).deliver(batch)
    receiver.answer = 401  # a key that can still be put right
    with pytest.raises(OSError, match="answered 401"):
        OTLPEmitter(receiver.url).deliver(batch)


def test_points_that_the_receiver_refused_are_counted(tmp_path: Path, receiver: OTLPReceiver) -> None:
    receiver.num_rejected = 7
    assert OTLPEmitter(receiver.url).deliver(next(batches_of(record(tmp_path)))) == 7


# ── settings ──────────────────────────────────────────────────────────────────────────────────


def test_headers_and_a_path_of_ones_own_are_used(tmp_path: Path, receiver: OTLPReceiver) -> None:
    emitter = OTLPEmitter(f"{receiver.url}/otlp/in?key=s3cret", headers={"X-Scope": "lab"})
    deliver(emitter, next(batches_of(record(tmp_path))))
    assert receiver.paths == {"/otlp/in?key=s3cret"}
    assert receiver.headers["x-scope"] == "lab"
    assert receiver.headers["content-type"] == "application/x-protobuf"
    assert "s3cret" not in emitter.identity() + emitter.where() + str(emitter.sync_arguments())


def test_opentelemetrys_variables_are_heeded(
    tmp_path: Path, receiver: OTLPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{receiver.url}/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, tenant=x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    deliver(OTLPEmitter(), next(batches_of(record(tmp_path))))
    assert receiver.paths == {"/base/v1/metrics"}
    assert (receiver.headers["api-key"], receiver.headers["tenant"]) == ("a b", "x")
    assert receiver.values("fedsight.round.number") == [0, 1, 2]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{receiver.url}/only/metrics")
    assert OTLPEmitter().identity() == f"otlp:{receiver.url}/only/metrics"
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    assert OTLPEmitter().identity() == "otlp:http://localhost:4318/v1/metrics"


def test_the_sync_command_makes_the_same_emitter() -> None:
    emitter = OTLPEmitter("http://127.0.0.1:4318", per_client=True)
    made = make("otlp", options_from(emitter.sync_arguments()[1::2]))
    assert made.identity() == emitter.identity()
    assert made.sync_arguments() == emitter.sync_arguments()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"endpoint": "localhost:4318"}, "endpoint"),
        ({"endpoint": "http://ann:pw@host"}, "endpoint"),
        ({"endpoint": 7}, "endpoint"),
        ({"endpoint": "http://host:99999"}, "endpoint"),
        ({"protocol": "grpc"}, "protocol"),
        ({"headers": {"a": 1}}, "headers"),
        ({"headers": "a=b"}, "headers"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_at_once(options: dict[str, object], field: str) -> None:
    with pytest.raises(UsageError) as refused:
        OTLPEmitter(**options)
    assert refused.value.field == field
    assert "pw" not in str(refused.value)


def test_the_process_is_left_as_it_was(tmp_path: Path, receiver: OTLPReceiver) -> None:
    provider = global_metrics.get_meter_provider()
    random.seed(1)
    state = random.getstate()
    deliver(OTLPEmitter(receiver.url), *batches_of(record(tmp_path)))
    assert random.getstate() == state
    assert global_metrics.get_meter_provider() is provider


def test_making_one_imports_neither_product() -> None:
    code = (
        "import sys; from fedsight.emitters.otlp import OTLPEmitter; from fedsight.emitters.prometheus import "
        "PrometheusEmitter; OTLPEmitter(); PrometheusEmitter(); "
        "sys.exit(any(name.startswith(('opentelemetry', 'prometheus_client')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_no_two_series_have_the_same_name() -> None:
    series = [*ROUND_SERIES, *CLIENT_SERIES, *COUNTERS]
    assert len({each.name for each in series}) == len(series)
    assert len({each.prometheus_name for each in series}) == len(series)


# ── a whole run ───────────────────────────────────────────────────────────────────────────────


def test_a_training_arrives_whole_though_the_receiver_is_down_then_overloaded(tmp_path: Path) -> None:
    receiver = OTLPReceiver(free_port())
    run = fedsight.Run("r1", emitters=[OTLPEmitter(receiver.url)], runs_dir=tmp_path, verbose=False)
    for number in range(3):
        run.log_round(number, global_accuracy=number / 10)
    wait_until(lambda: "refused" in (run.emitters[0].state().last_error or ""))
    with receiver:
        receiver.answer = 503
        wait_until(lambda: "503" in (run.emitters[0].state().last_error or ""))
        for number in range(3, 6):
            run.log_round(number, global_accuracy=number / 10)
        receiver.answer = 200
        run.finish()
        assert run.emitters[0].state().pending_bytes == 0
        assert run.emitters[0].state().num_failed == 0
    assert receiver.values("fedsight.round.number") == [0, 1, 2, 3, 4, 5]
    assert receiver.values("fedsight.rounds") == [1, 2, 3, 4, 5, 6, 6]


def test_a_line_that_is_refused_for_good_costs_no_other(tmp_path: Path, receiver: OTLPReceiver) -> None:
    receiver.refuses = "poison"
    with fedsight.Run("r1", emitters=[OTLPEmitter(receiver.url)], runs_dir=tmp_path, verbose=False) as run:
        for key in ("loss", "poison", "accuracy"):
            run.log_metric(key, 1.0)
        run.log_round(0)
    assert run.emitters[0].state().num_failed == 1
    names = {point.attributes["fedsight.metric.name"] for point in receiver.points() if point.name == "fedsight.metric"}
    assert names == {"loss", "accuracy"}
    assert receiver.values("fedsight.rounds") == [1, 1]


def test_after_a_kill_sync_delivers_the_rest_and_nothing_is_missing(tmp_path: Path, receiver: OTLPReceiver) -> None:
    code = (
        "import fedsight, os, signal; from fedsight.emitters import OTLPEmitter; "
        f"run = fedsight.Run('r1', emitters=[OTLPEmitter({receiver.url!r})], runs_dir={str(tmp_path)!r}); "
        "[run.log_round(number) for number in range(50)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    command = [sys.executable, "-m", "fedsight", "sync", str(tmp_path), "--to", "otlp"]
    synced = subprocess.run([*command, "--set", f"endpoint={receiver.url}"], capture_output=True, text=True, timeout=60)
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert receiver.values("fedsight.round.number") == list(range(50))
    assert receiver.values("fedsight.rounds")[-1] == 50


def test_every_name_and_unit_is_documented() -> None:
    written = (Path(__file__).parents[2] / "docs/emitters/otlp.md").read_text()
    series = (*ROUND_SERIES, ROUND_METRIC, STEP_METRIC, *CLIENT_SERIES, CLIENT_METRIC, *COUNTERS)
    assert [each for each in series if f"| `{each.name}` | {each.unit or '–'} |" not in written] == []
