"""NVFLARE jobs, in its simulator and in a federation of real processes, recorded by the bridge."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from environments import run_in

from fedsight.cli.reindexing import build
from fedsight.events import (
    ClientEvent,
    ClientInfo,
    ClientUpdate,
    Log,
    Metric,
    RoundEnd,
    RoundStart,
    RunEnd,
    RunStart,
    Sample,
    Text,
)
from fedsight.store import Store
from fedsight.store.queries.series import series
from fedsight.testing import read_events

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(400)]

JOBS = Path(__file__).parent / "nvflare"
SITES = ["site-1", "site-2", "site-3"]


class Job(NamedTuple):
    """A job that was run: its journals' folders, and what the script printed."""

    folder: Path
    told: dict[str, Any]

    def journal(self, who: str = "server") -> Path:
        ending = ".jsonl" if who == "server" else f".{who}.jsonl"
        (path,) = (each for each in self.folder.glob(f"digits/{who}/runs/*.jsonl") if each.name.endswith(ending))
        return path

    def of(self, kind: type, who: str = "server") -> list[Any]:
        return [event for event in read_events(self.journal(who)) if isinstance(event, kind)]


def simulate(environment: str, job: str, folder: Path, **options: Any) -> Job:
    printed = run_in(
        environment, JOBS / "simulate.py", job, folder, json.dumps(options), PYTHONPATH=str(JOBS), timeout_sec=200
    )
    return Job(folder, json.loads(printed.splitlines()[-1]))


def indexed(folder: Path, journals: list[Path]) -> Store:
    """A store of these journals, as a collector or `fedsight view` makes it."""
    folder.mkdir()
    for path in journals:
        (folder / path.name).write_bytes(path.read_bytes())
    build(folder, folder / "index.duckdb", on_total=lambda _: None, on_progress=lambda _: None)
    return Store.open(folder / "index.duckdb")


# ── a job that logs everything, and fails in its third round ─────────────────────────────────────


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, mlflow_uri: str) -> Job:
    names = {"run_name": "demo", "experiment_tags": {"ward": "7"}, "run_tags": {"team": "research"}}
    folder = tmp_path_factory.mktemp("everything")
    return simulate("nvflare-2.9", "everything", folder, tracking_uri=mlflow_uri, kw_args=names)


def test_a_run_knows_its_job(everything: Job) -> None:
    (start,) = everything.of(RunStart)
    assert (start.framework, start.algorithm, start.project) == ("nvflare", "FedAvg", "digits")
    assert start.config == {"num_rounds": 3}
    assert start.tags == {"job_id": "simulate_job", "job_name": "digits"}


def test_rounds_have_their_updates_and_their_aggregate(everything: Job) -> None:
    assert [start.round for start in everything.of(RoundStart)] == [0, 1, 2]
    first = everything.of(RoundEnd)[0]
    assert (first.global_accuracy, first.num_selected) == (0.5, 3)
    assert first.metrics == {"auc": pytest.approx(0.7)}
    assert first.aggregation_time_sec is not None
    updates = [each for each in everything.of(ClientUpdate) if each.round == 0 and each.local_accuracy is not None]
    assert sorted(update.client_id for update in updates) == SITES
    for update in updates:
        assert (update.local_accuracy, update.local_loss, update.metrics["num_steps"]) == (0.5, 1.0, 10)
        assert update.bytes_received > 65 * 10 * 4
        assert update.bytes_sent > 65 * 10 * 4
        assert update.metrics["elapsed_sec"] > 0
        assert update.extra["return_code"] == "OK"
    judged = [each for each in everything.of(ClientUpdate) if "contribution_accepted" in (each.metrics or {})]
    assert [each.metrics["contribution_accepted"] for each in judged if each.round == 0] == [1, 1, 1]


def test_tasks_are_recorded_when_they_are_given(everything: Job) -> None:
    given = [log.extra for log in everything.of(Log) if log.event == "task_assigned"]
    assert {(each["client_id"], each["round"]) for each in given} >= {(site, r) for site in SITES for r in (0, 1)}
    assert all(each["task"] == "train" and each["bytes"] > 0 for each in given)


def test_every_data_type_is_kept(everything: Job) -> None:
    points = {
        (each.client_id, each.key, each.step): each.value for each in everything.of(Metric) if each.client_id in SITES
    }
    for site in SITES:
        assert [points[site, "train_loss", step] for step in range(10)] == [1 / (1 + step) for step in range(10)]
        assert points[site, "train/loss", 1] == 0.1  # the main tag tells it from …
        assert points[site, "eval/loss", 1] == 0.2
        assert points[site, "val_accuracy", 1] == 0.8
        assert math.isnan(points[site, "spread", 0])
        infos = [each for each in everything.of(ClientInfo) if each.client_id == site]
        params = [each.params for each in infos if each.params]
        for wanted in ({"batch": 32, "optimizer": {"name": "sgd"}}, {"seed": 42}, {"lr": 0.5}, {"lr": 0.25}):
            assert wanted in params
        tags = [each.tags for each in infos if each.tags]
        assert {"kind": "simulated"} in tags
        assert {"ward": "7"} in tags
        texts = {each.name or each.extra["tag"]: each for each in everything.of(Text) if each.client_id == site}
        assert texts["notes/hello.txt"].text == f"hello from {site}"
        assert texts["console"].text == "epoch 1 done"
        assert Path(texts["sample"].extra["file"]).read_bytes().startswith(b"\x93NUMPY")
        assert Path(texts["weights"].extra["file"]).read_bytes() == b"\x00\x01\x02"


def test_a_point_has_the_sites_time_and_an_id(everything: Job) -> None:
    points = everything.of(Metric)
    assert all(point.ts <= point.extra["received_at"] for point in points)
    losses = [point.extra["event_id"] for point in points if point.key == "train_loss"]
    assert len(set(losses)) == len(losses)


def test_clients_join_and_the_one_that_failed_is_named(everything: Job) -> None:
    assert sorted(each.client_id for each in everything.of(ClientEvent) if each.event == "joined") == SITES
    failed = {each.client_id for each in everything.of(ClientUpdate) if each.round == 2 and each.status == "failed"}
    assert "site-3" in failed


def test_a_job_that_failed_is_a_run_that_failed_and_says_why(everything: Job) -> None:
    assert everything.told["failed"] is not None
    (end,) = everything.of(RunEnd)
    assert end.status == "failed"
    assert "site-3" in end.error
    assert [log.level for log in everything.of(Log) if log.event == "fatal_error"] == ["error"]


def test_a_site_records_its_own_side(everything: Job) -> None:
    (start,) = everything.of(RunStart, "site-1")
    assert start.run_id == everything.of(RunStart)[0].run_id
    own = {(each.key, each.step, each.ts, each.value) for each in everything.of(Metric, "site-1") if each.step < 10}
    told = {(p.key, p.step, p.ts, p.value) for p in everything.of(Metric) if p.client_id == "site-1" and p.step < 10}
    assert {key for key in own if not math.isnan(key[3])} >= {key for key in told if not math.isnan(key[3])}
    update = next(each for each in everything.of(ClientUpdate, "site-1") if each.round == 0)
    assert update.train_time_sec > 0


def test_what_site_and_server_both_tell_is_one_point_in_the_store(everything: Job, tmp_path: Path) -> None:
    journals = [everything.journal(), *(everything.journal(site) for site in SITES)]
    with indexed(tmp_path / "index", journals) as store:
        run_id = everything.of(RunStart)[0].run_id
        curve = series(store, run_id, scope="step", metrics=["train_loss"], client_id="site-1", to=9).columns
    assert curve["step"] == list(range(10))
    assert curve["value"] == [1 / (1 + step) for step in range(10)]


# ── MLflow ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def in_mlflow(everything: Job, mlflow_uri: str) -> dict[str, Any]:
    """MLflow's runs of the experiment, by name."""
    printed = run_in("nvflare-2.9", JOBS / "mlflow_dump.py", mlflow_uri)
    experiment = json.loads(printed.splitlines()[-1])["digits-experiment"]
    assert experiment["tags"]["ward"] == "7"
    return {run["name"]: run for run in experiment["runs"]}


def test_mlflow_has_a_run_per_site_below_one_per_job(everything: Job, in_mlflow: dict[str, Any]) -> None:
    job = everything.of(RunStart)[0].run_id
    assert set(in_mlflow) == {"demo", *(f"{site}-{job}-demo" for site in SITES)}
    for site in SITES:
        run = in_mlflow[f"{site}-{job}-demo"]
        assert run["tags"]["mlflow.parentRunId"] == in_mlflow["demo"]["id"]
        assert (run["tags"]["team"], run["tags"]["job_id"], run["tags"]["run_name"]) == ("research", job, run["name"])
        assert run["tags"]["kind"] == "simulated"
    rounds = in_mlflow["demo"]["metrics"]["round/accuracy"]
    assert [(step, value) for step, value, _ in rounds[:2]] == [(0, 0.5), (1, pytest.approx(0.6))]


def test_a_changed_parameter_keeps_nothing_else_from_mlflow(everything: Job, in_mlflow: dict[str, Any]) -> None:
    for name, run in in_mlflow.items():
        if name == "demo":
            continue
        steps = [step for step, _, _ in run["metrics"]["train_loss"] if step < 10]
        assert sorted(steps) == list(range(10))
        assert len(run["metrics"]["val_loss"]) >= 2
        assert run["params"]["lr"] == "0.5"
        assert run["params"]["optimizer.name"] == "sgd"
        assert run["metrics"]["train/loss"]  # the main tag is kept
        assert run["metrics"]["eval/loss"]
    told = [log for log in everything.of(Log) if log.component == "emitter mlflow"]
    assert any("left out" in log.message for log in told)


def test_mlflow_has_texts_as_artifacts_of_their_sites(in_mlflow: dict[str, Any]) -> None:
    for name, run in in_mlflow.items():
        assert ("notes/hello.txt" in run["artifacts"]) == (name != "demo")


def test_mlflows_runs_end_as_the_job_did(in_mlflow: dict[str, Any]) -> None:
    assert {run["status"] for run in in_mlflow.values()} == {"FAILED"}


# ── fast metrics ─────────────────────────────────────────────────────────────────────────────────


def check_nothing_is_lost(job: Job, folder: Path) -> None:
    points = [each for each in job.of(Metric) if each.key == "loss"]
    assert len(points) == 2700
    with indexed(folder / "index", [job.journal()]) as store:
        run_id = job.of(RunStart)[0].run_id
        for site in SITES:
            curve = series(store, run_id, scope="step", metrics=["loss"], client_id=site).columns
            assert curve["step"] == list(range(900))
            assert curve["value"] == [1 / (1 + step) for step in range(900)]
            assert curve["ts"] == sorted(curve["ts"])
    assert job.of(RunEnd)[0].status == "finished"


def test_fast_metrics_are_all_there_and_in_order_even_while_a_destination_hangs(tmp_path: Path) -> None:
    job = simulate("nvflare-2.9", "burst", tmp_path / "ws", emitters={"hanging:Hanging": {}}, drain_sec=1.0)
    check_nothing_is_lost(job, tmp_path)


@pytest.mark.parametrize("environment", ["nvflare-2.8", "nvflare-2.7"])
def test_fast_metrics_are_all_there_where_nvflare_itself_drops_them(environment: str, tmp_path: Path) -> None:
    job = simulate(environment, "burst", tmp_path / "ws")
    check_nothing_is_lost(job, tmp_path)
    assert [log.event for log in job.of(Log)].count("late_events_kept") == 1


def test_a_job_does_not_wait_for_an_mlflow_that_is_away(tmp_path: Path) -> None:
    mlflow = {"mlflow": {"tracking_uri": "http://127.0.0.1:9", "layout": "per-site"}}
    job = simulate("nvflare-2.9", "tracked", tmp_path / "ws", emitters=mlflow)
    (start,), (end,) = job.of(RunStart), job.of(RunEnd)
    assert job.of(RoundStart)[0].ts - start.ts < 2
    assert end.status == "finished"
    assert len(job.of(Metric)) == 2700
    (pending,) = (log for log in job.of(Log) if log.component == "emitter mlflow" and log.event == "pending")
    assert pending.ts - end.ts < 5
    for site in SITES:  # which NVFLARE's own function gave a receiver, too
        assert len(job.of(Metric, site)) == 900


# ── a federation of real processes ───────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Its journals, and each job's id and status."""
    folder = tmp_path_factory.mktemp("poc")
    printed = run_in("nvflare-2.9", JOBS / "poc.py", folder, timeout_sec=300, NVFLARE_POC_WORKSPACE=str(folder / "poc"))
    return folder / "runs", json.loads(printed.splitlines()[-1])


def of_kind(path: Path, kind: type) -> list[Any]:
    return [event for event in read_events(path) if isinstance(event, kind)]


def test_a_job_of_real_processes_is_recorded_by_its_id(federation: tuple[Path, dict[str, Any]]) -> None:
    folder, jobs = federation
    job, status = jobs["with_code"]
    assert status == "FINISHED:COMPLETED"
    assert [end.round for end in of_kind(folder / f"{job}.jsonl", RoundEnd)] == [0, 1]
    assert of_kind(folder / f"{job}.jsonl", RunEnd)[0].status == "finished"


def test_sites_join_it_with_their_own_journals_and_what_they_cost(federation: tuple[Path, dict[str, Any]]) -> None:
    folder, jobs = federation
    job, _ = jobs["with_code"]
    for site in ("site-1", "site-2"):
        points = of_kind(folder / f"{job}.{site}.jsonl", Metric)
        assert len([point for point in points if point.key == "train_loss"]) == 10
        assert [end.status for end in of_kind(folder / f"{job}.{site}.jsonl", RunEnd)] == ["finished"]
        assert of_kind(folder / f"{job}.{site}.monitor.jsonl", Sample)
    assert of_kind(folder / f"{job}.monitor.jsonl", Sample)


def test_a_job_without_code_of_its_own_runs_where_the_allow_list_names_us(
    federation: tuple[Path, dict[str, Any]],
) -> None:
    folder, jobs = federation
    job, status = jobs["without_code"]
    assert status == "FINISHED:COMPLETED"
    assert len(of_kind(folder / f"{job}.jsonl", RoundEnd)) == 2


def test_a_job_that_is_aborted_is_a_run_that_was_killed(federation: tuple[Path, dict[str, Any]]) -> None:
    folder, jobs = federation
    job, status = jobs["aborted"]
    assert status == "FINISHED:ABORTED"
    assert of_kind(folder / f"{job}.jsonl", RunEnd)[0].status == "killed"


def test_arguments_go_along_with_an_exported_job_and_a_token_does_not(tmp_path: Path) -> None:
    run_in("nvflare-2.9", JOBS / "exported.py", tmp_path)
    config = tmp_path / "exported" / "app" / "config"
    server, client = (json.loads((config / f"config_fed_{who}.json").read_text()) for who in ("server", "client"))
    components = {each["id"]: each for each in [*server["components"], *client["components"]]}
    fedsight, receiver, site = (components[name] for name in ("fedsight", "receiver", "fedsight_site"))
    assert fedsight["path"] == "fedsight.integrations.nvflare.receiver.FedsightReceiver"
    assert {key: value for key, value in fedsight["args"].items() if key != "events"} == {
        "project": "ward",
        "tags": {"team": "research"},
        "collector": "http://127.0.0.1:8083",
        "token_file": "/etc/fedsight/token",
        "emitters": {"tensorboard": {"log_dir": "tb"}},
        "monitor": {"interval": 2.0},
    }
    assert {key: value for key, value in receiver["args"].items() if key != "events"} == {
        "tracking_uri": "http://127.0.0.1:5000",
        "kw_args": {"experiment_name": "ward", "run_tags": {"team": "research"}},
        "artifact_location": "texts",
        "buffer_flush_time": 0.5,
    }
    assert site["args"] == {"runs_dir": "own", "monitor": True}
    assert not list(tmp_path.glob("**/custom"))


def test_arguments_that_cant_be_meant_are_named_with_what_can() -> None:
    told = json.loads(run_in("nvflare-2.9", JOBS / "refused.py").splitlines()[-1])
    assert told == {
        "emitters": "emitters must be names with their options, not ['mlflow']: {'mlflow': {}}.",
        "tracking_uri": "tracking_uri must be a URI or None, not 5000.",
        "experiment": "kw_args has 'experiment'; there are experiment_name, run_name, experiment_tags, run_tags.",
        "run_tags": "kw_args['run_tags'] must be a dict, not 'research'.",
        "buffer_flush_time": "buffer_flush_time must be seconds, at least 0, not -1.",
        "recipe_or_job": "add_fedsight needs a recipe or a FedJob of NVFLARE's, not 'digits'.",
    }


# ── mishaps ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def mishaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    printed = run_in("nvflare-2.9", JOBS / "mishaps.py", tmp_path_factory.mktemp("mishaps") / "server")
    return Path(printed.splitlines()[-1])


def test_of_a_record_only_the_value_that_is_none_is_left_out(mishaps: Path) -> None:
    assert [(point.key, point.step, point.value) for point in of_kind(mishaps, Metric)] == [
        ("loss", 1, 0.5),
        ("accuracy", 1, 0.9),
        ("loss", 2, 0.125),
    ]
    refused = [log for log in of_kind(mishaps, Log) if log.event == "refused"]
    assert [(log.extra["client_id"], log.extra["key"], log.extra["value"]) for log in refused] == [
        ("a", "note", "much text"),
        ("a", "loss", 0.25),
    ]


def test_clients_that_leave_return_or_come_late_are_told_of(mishaps: Path) -> None:
    told = [(event.event, event.client_id, event.round) for event in of_kind(mishaps, ClientEvent)]
    assert told == [
        ("joined", "a", None),
        ("joined", "b", None),
        ("joined", "late", None),
        ("dropout", "b", 0),
        ("joined", "b", None),
    ]


def test_a_result_that_is_an_error_is_a_failure_and_one_that_never_came_is_named(mishaps: Path) -> None:
    (update,) = of_kind(mishaps, ClientUpdate)
    assert (update.client_id, update.status, update.extra["return_code"]) == ("a", "failed", "EXECUTION_EXCEPTION")
    missing = [log.extra["client_id"] for log in of_kind(mishaps, Log) if log.event == "no_result"]
    assert missing == ["b", "late", "b"]


def test_a_payload_whose_size_nobody_knows_has_none(mishaps: Path) -> None:
    given = [log.extra for log in of_kind(mishaps, Log) if log.event == "task_assigned"]
    assert [each.get("bytes") for each in given] == [9, 9, None, 9]  # the model's and its name's


def test_a_controller_that_is_silent_about_its_rounds_has_them_all_the_same(mishaps: Path) -> None:
    assert [start.round for start in of_kind(mishaps, RoundStart)] == [0, 1]
    assert [end.round for end in of_kind(mishaps, RoundEnd)] == [0, 1]


def test_what_cant_be_recorded_is_said_and_counted_and_the_job_goes_on(mishaps: Path) -> None:
    said = [log.message for log in of_kind(mishaps, Log) if log.event == "not_recorded"]
    assert len(said) == 2
    assert "is not recorded" in said[0]
    assert said[1] == "Not recorded, in all: 1"
    assert of_kind(mishaps, RunEnd)[0].status == "finished"


# ── the example ──────────────────────────────────────────────────────────────────────────────────


def test_the_example_learns_and_is_recorded(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "nvflare" / "job.py"
    run_in("nvflare-2.9", script, "--rounds", 2, "--sites", 2, folder=tmp_path)
    (journal,) = (path for path in (tmp_path / "runs").glob("*.jsonl") if path.name.count(".") == 1)
    first, second = of_kind(journal, RoundEnd)
    assert second.global_accuracy > first.global_accuracy
    assert len([point for point in of_kind(journal, Metric) if point.key == "train/loss"]) == 2 * 2 * 20
    assert len(list((tmp_path / "runs").glob("*.site-?.monitor.jsonl"))) == 2
