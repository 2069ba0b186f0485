"""What a training process says is recorded, converted where its meaning is plain, refused where it is not."""

import argparse
import hashlib
import math
import random
import subprocess
import sys
import types
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedsight
from fedsight import NotInitialized, Run, RunFinished, UsageError
from fedsight.events import (
    MAX_LINE_BYTES,
    Checkpoint,
    ClientEvent,
    ClientInfo,
    ClientUpdate,
    JournalHeader,
    Log,
    Metric,
    RoundEnd,
    RoundStart,
    RunEnd,
    RunStart,
    ServerInfo,
    Text,
    decode_block,
)
from recorded import events, of_type

CONTRACT: dict[str, Any] = {
    "local_accuracy": 0.8,
    "local_loss": 0.4,
    "num_samples": 512,
    "gradient_norm": 1.5,
    "gradient_magnitude": 0.1,
    "sparsity": 0.2,
    "compression_ratio": 4.0,
    "bytes_sent": 1_000_000,
    "bytes_received": 2_000_000,
    "network_latency_ms": 31.5,
    "train_time_sec": 2.5,
    "cpu_pct": 55.0,
    "ram_mb": 800.0,
    "gpu_util_pct": 70.0,
    "gpu_vram_mb": 4000.0,
    "lat": 43.6,
    "lng": 1.44,
    "city": "Toulouse",
    "country": "FR",
    "status": "active",
}


def a_run(folder: Path, **options: Any) -> Run:
    return Run(runs_dir=folder, verbose=False, **options)


def only_update(folder: Path, *args: Any, **fields: Any) -> ClientUpdate:
    with a_run(folder) as run:
        run.log_client_update(*args, **fields)
    (update,) = of_type(run.path, ClientUpdate)
    return update


def test_a_run_is_a_start_what_happened_and_an_end(tmp_path: Path) -> None:
    with a_run(tmp_path, algorithm="FedProx", project="ward", config={"lr": 0.1}, tags={"site": "a"}) as run:
        run.set_server_metadata(city="Lemont", lat=41.7, lng=-88.0, protocol="gRPC", org="Lab", rack=7)
        run.round_start(0, selected=["a", 2])
        run.log_client_update("a", 0, local_accuracy=0.5)
        run.log_dropout(0, 2, reason="battery")
        run.log_comm_failure(0, "a", reason="timeout")
        run.log_round(0, global_accuracy=0.5, global_loss=1.0, val_auc=0.7, note="first")
        run.log_metric("lr", 0.01, step=3)
        run.log_text("warm-up over", round=0)
    kinds = [type(event) for event in events(run.path)]
    assert kinds == [
        JournalHeader, RunStart, ServerInfo, RoundStart, ClientUpdate, ClientEvent, ClientEvent, RoundEnd, Metric, Text,
        RunEnd,
    ]  # fmt: skip
    (start,) = of_type(run.path, RunStart)
    assert (start.run_id, start.project, start.algorithm) == (run.run_id, "ward", "FedProx")
    assert (start.config, start.tags) == ({"lr": 0.1}, {"site": "a"})
    (server,) = of_type(run.path, ServerInfo)
    assert (server.city, server.metrics, server.extra) == ("Lemont", {"rack": 7.0}, {"org": "Lab"})
    (round_start,) = of_type(run.path, RoundStart)
    assert round_start.selected == ["a", "2"]
    dropout, failure = of_type(run.path, ClientEvent)
    assert (dropout.event, dropout.client_id, dropout.round, dropout.reason) == ("dropout", "2", 0, "battery")
    assert (failure.event, failure.reason) == ("comm_failure", "timeout")
    (round_end,) = of_type(run.path, RoundEnd)
    assert (round_end.global_accuracy, round_end.metrics, round_end.extra) == (0.5, {"val_auc": 0.7}, {"note": "first"})
    assert round_end.round_duration_sec is not None
    assert round_end.round_duration_sec >= 0
    (end,) = of_type(run.path, RunEnd)
    assert end.status == "finished"


def test_the_whole_contract_is_kept_and_unknown_keys_with_it(tmp_path: Path) -> None:
    update = only_update(tmp_path, "a", 3, 1, **CONTRACT, battery_pct=80, zone="icu", nested={"a": [1]}, fresh=True)
    for name, value in CONTRACT.items():
        assert getattr(update, name) == value, name
    assert update.metrics == {"battery_pct": 80.0}
    assert update.extra == {"zone": "icu", "nested": {"a": [1]}, "fresh": True}
    assert update.staleness == 2


def test_what_is_missing_is_absent(tmp_path: Path) -> None:
    update = only_update(tmp_path, "a", 0, local_loss=None, local_accuracy=0.5)
    assert update.local_loss is None
    assert update.bytes_sent is None
    (line,) = [line for line in next(tmp_path.glob("*.jsonl")).read_text().splitlines() if "client_update" in line]
    assert "local_loss" not in line
    assert "bytes_sent" not in line


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int64(7), 7),
        (np.array(0.5), 0.5),
        (np.array([0.5]), 0.5),
        ("0.5", 0.5),
        (Decimal("0.5"), 0.5),
        (True, 1.0),
        (10**30, 1e30),
        (-(10**400), -math.inf),
        pytest.param(10**5000, math.inf, id="an integer without a text"),
        (math.inf, math.inf),
    ],
)
def test_a_number_in_any_dress_is_a_number(tmp_path: Path, given: Any, kept: float) -> None:
    assert only_update(tmp_path, "a", 0, local_accuracy=given).local_accuracy == kept


def test_nan_is_data(tmp_path: Path) -> None:
    update = only_update(tmp_path, "a", 0, local_loss=math.nan, gradient_norm=np.float32("nan"), custom=-math.inf)
    assert update.local_loss is not None
    assert math.isnan(update.local_loss)
    assert update.gradient_norm is not None
    assert math.isnan(update.gradient_norm)
    assert update.metrics == {"custom": -math.inf}


def test_a_value_that_is_no_number_is_kept_beside_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with a_run(tmp_path) as run:
        for _ in range(3):
            run.log_client_update("a", 0, sparsity=np.arange(3), layers=np.ones((2, 2)), what=object)
    update = of_type(run.path, ClientUpdate)[0]
    assert update.sparsity is None
    assert update.extra is not None
    assert update.extra["sparsity"] == [0, 1, 2]
    assert update.extra["layers"] == [[1.0, 1.0], [1.0, 1.0]]
    assert "object" in update.extra["what"]
    assert caplog.text.count("sparsity should be a number") <= 1


@pytest.mark.parametrize("client_id", ["a", 7, np.int64(7), np.str_("b"), "ä/ö ~ %2F", "x" * 5000])
def test_a_client_id_is_a_text_or_an_int(tmp_path: Path, client_id: Any) -> None:
    assert only_update(tmp_path, client_id, 0).client_id == str(client_id)


@pytest.mark.parametrize("client_id", [None, 1.5, "", True, b"a", ["a"]])
def test_anything_else_is_no_client_id(tmp_path: Path, client_id: Any) -> None:
    run = a_run(tmp_path)
    with pytest.raises(UsageError, match="client_id must be a string"):
        run.log_client_update(client_id, 0)
    run.finish()


@pytest.mark.parametrize("number", [-1, 1.5, "x", math.nan, None, True, 1 << 60])
def test_a_round_is_a_whole_number_of_at_least_0(tmp_path: Path, number: Any) -> None:
    run = a_run(tmp_path)
    with pytest.raises(UsageError, match="round must be a whole number"):
        run.log_round(number)
    run.finish()


@pytest.mark.parametrize("number", [3, 3.0, np.int32(3), np.array(3)])
def test_a_round_in_any_dress_is_a_round(tmp_path: Path, number: Any) -> None:
    assert only_update(tmp_path, "a", number).round == 3


def test_an_update_without_a_round_belongs_to_the_current_one(tmp_path: Path) -> None:
    with a_run(tmp_path) as run:
        run.log_client_update("a")
        run.round_start(4)
        run.log_client_update("a")
    assert [update.round for update in of_type(run.path, ClientUpdate)] == [None, 4]


def test_an_update_for_a_round_that_never_started_and_a_second_one_are_recorded(tmp_path: Path) -> None:
    with a_run(tmp_path) as run:
        run.log_client_update("a", 9, local_loss=1.0)
        run.log_client_update("a", 9, local_loss=2.0)
    assert [update.local_loss for update in of_type(run.path, ClientUpdate)] == [1.0, 2.0]


def test_a_10_mb_value_is_cut_and_the_rest_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with a_run(tmp_path) as run:
        run.log_client_update("a", 0, local_loss=1.0, dump="x" * 10_000_000, small="y")
        run.log_text("z" * 10_000_000)
        run.log_client_update("b", 0, **{f"m{i}": float(i) for i in range(200_000)})
    big, wide = of_type(run.path, ClientUpdate)
    assert big.local_loss == 1.0
    assert big.extra is not None
    assert big.extra["small"] == "y"
    assert 1000 <= len(big.extra["dump"]) < 100_000
    assert big.extra["_cut"] == {"extra.dump": 10_000_002}
    assert wide.metrics is not None
    assert wide.metrics["m7"] == 7.0
    (text,) = of_type(run.path, Text)
    assert set(text.text) == {"z"}
    assert max(map(len, run.path.read_bytes().splitlines(keepends=True))) <= MAX_LINE_BYTES
    assert "longer than a journal line may be" in caplog.text


def test_text_that_is_no_unicode_is_mended(tmp_path: Path) -> None:
    with a_run(tmp_path) as run:
        run.log_client_update("a\ud800", 0, zone="b\ud800")
    (update,) = of_type(run.path, ClientUpdate)
    assert update.client_id == "a?"


def test_calls_after_the_end_are_errors_that_say_what_to_do(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.finish()
    run.finish()
    with pytest.raises(RunFinished, match="resume=True"):
        run.log_round(0)
    assert len(of_type(run.path, RunEnd)) == 1


def test_module_functions_before_init_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fedsight, "_run", None)
    with pytest.raises(NotInitialized, match=r"fedsight\.init\(\)"):
        fedsight.log_round(0)


def test_the_same_run_id_starts_another_run_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        a_run(tmp_path, run_id="exp").finish()
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["exp-2.jsonl", "exp-3.jsonl", "exp.jsonl"]
    (start,) = of_type(tmp_path / "exp-3.jsonl", RunStart)
    assert start.run_id == "exp-3"
    assert "resume=True" in caplog.text


def test_resume_goes_on_with_the_same_journal(tmp_path: Path) -> None:
    first = a_run(tmp_path, run_id="exp")
    first.log_round(0)
    first.finish()
    second = a_run(tmp_path, run_id="exp", resume=True)
    second.log_round(1)
    second.finish()
    assert second.run_id == "exp"
    assert [event.round for event in of_type(first.path, RoundEnd)] == [0, 1]
    assert [start.resumed for start in of_type(first.path, RunStart)] == [False, True]


def test_resuming_a_run_that_somebody_still_writes_gets_a_journal_beside_it(tmp_path: Path) -> None:
    first = a_run(tmp_path, run_id="exp")
    second = a_run(tmp_path, run_id="exp", resume=True)
    second.log_round(1)
    first.log_round(0)
    assert [event.round for event in of_type(first.path, RoundEnd)] == [0]
    assert [event.round for event in of_type(second.path, RoundEnd)] == [1]
    first.finish()
    second.finish()


def test_a_run_that_was_killed_is_ended_as_killed_when_it_is_resumed(tmp_path: Path) -> None:
    script = (
        "import fedsight, os, signal, sys\n"
        "fedsight.init(run_id='exp', runs_dir=sys.argv[1]).log_round(0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    with (tmp_path / "exp.jsonl").open("ab") as file:
        file.write(b'{"kind":"round_e')
    a_run(tmp_path, run_id="exp", resume=True).finish()
    assert [end.status for end in of_type(tmp_path / "exp.jsonl", RunEnd)] == ["killed", "finished"]
    (log,) = of_type(tmp_path / "exp.jsonl", Log)
    assert (log.event, "16 bytes" in log.message) == ("recovered", True)


def test_a_run_id_never_comes_from_the_trainings_random_numbers(tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        random.seed(42)
        run = a_run(tmp_path)
        run.finish()
        ids.add(run.run_id)
        assert random.random() == pytest.approx(0.6394267984578837)
    assert len(ids) == 2


def test_a_site_records_its_own_side_of_the_run(tmp_path: Path) -> None:
    server = a_run(tmp_path, run_id="exp")
    with fedsight.join("exp", "st. mary", runs_dir=tmp_path) as site:
        site.log_client_update(round=0, local_loss=0.5)
        site.log_metric("loss", 0.7, step=12)
    server.finish()
    assert site.path == tmp_path / "exp.st%2E%20mary.jsonl"
    (header,) = of_type(site.path, JournalHeader)
    assert (header.role, header.run_id, header.client_id) == ("client", "exp", "st. mary")
    assert of_type(site.path, ClientUpdate)[0].client_id == "st. mary"
    assert of_type(site.path, Metric)[0].client_id == "st. mary"
    fedsight.join("exp", "st. mary", runs_dir=tmp_path).finish()
    assert len(of_type(site.path, RunEnd)) == 2
    assert [start.resumed for start in of_type(site.path, RunStart)] == [False, True]


def test_a_checkpoint_has_a_size_at_once_and_a_hash_soon(tmp_path: Path) -> None:
    model = tmp_path / "model.npz"
    model.write_bytes(b"weights" * 1000)
    with a_run(tmp_path) as run:
        run.log_checkpoint(3, model, accuracy=0.9)
        run.log_checkpoint(4, tmp_path / "missing.npz")
    at_once, missing, hashed = sorted(of_type(run.path, Checkpoint), key=lambda event: event.sha256 is not None)
    assert (at_once.size_bytes, at_once.sha256, at_once.metadata) == (7000, None, {"accuracy": 0.9})
    assert hashed.sha256 == hashlib.sha256(b"weights" * 1000).hexdigest()
    assert missing.size_bytes is None


def test_log_metric_needs_a_number(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with pytest.raises(UsageError, match="needs a number"):
        run.log_metric("loss", "high")
    run.log_metric("loss", np.float32(0.5), step=np.int64(3))
    run.finish()
    assert (of_type(run.path, Metric)[0].value, of_type(run.path, Metric)[0].step) == (0.5, 3)


def test_verbose_prints_a_line_at_start_round_and_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(run_id="exp", runs_dir=tmp_path) as run:
        run.round_start(0)
        run.log_round(0, global_accuracy=0.75, global_loss=1.5)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 3
    assert "run exp" in lines[0]
    assert "round 0: accuracy 0.7500, loss 1.5000" in lines[1]
    assert "finished" in lines[2]


def test_wrong_options_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="durability"):
        a_run(tmp_path, durability="tape")
    with pytest.raises(UsageError, match="emitters"):
        a_run(tmp_path, emitters=[object()])
    with pytest.raises(UsageError, match="run_id"):
        a_run(tmp_path, run_id=["x"])
    assert list(tmp_path.iterdir()) == []


def test_hivewatchs_quickstart_runs_with_the_import_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    client_results = {"a": {"local_accuracy": 0.5, "num_samples": 10}, "b": {"local_accuracy": 0.7, "num_samples": 5}}

    fedsight.init(algorithm="FedAvg", emitters=[])
    for round_num in range(3):
        fedsight.round_start(round_num)
        for client_id, metadata in client_results.items():
            fedsight.log_client_update(client_id=client_id, round=round_num, **metadata)
        fedsight.log_round(round=round_num, global_accuracy=0.6, global_loss=0.9)
    fedsight.log_dropout(2, "a", "left")
    fedsight.log_comm_failure(2, "b", "timeout")
    fedsight.log_checkpoint(2, "model.bin", note="last")
    fedsight.set_server_metadata(city="Lemont")
    fedsight.log_metric("lr", 0.1)
    fedsight.log_text("done")
    fedsight.finish()

    (path,) = (tmp_path / "runs").glob("*.jsonl")
    assert len(of_type(path, ClientUpdate)) == 6
    assert [event.round for event in of_type(path, RoundEnd)] == [0, 1, 2]
    assert of_type(path, RunEnd)[0].status == "finished"


def test_a_second_init_finishes_the_first(tmp_path: Path) -> None:
    first = fedsight.init(runs_dir=tmp_path, verbose=False)
    fedsight.init(runs_dir=tmp_path, verbose=False)
    assert first.status == "finished"
    fedsight.finish()


class _Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_what_has_no_text_never_stops_the_training(tmp_path: Path) -> None:
    huge, unspeakable = 10**5000, _Unspeakable()
    with a_run(tmp_path, config={"huge": huge, "object": unspeakable}) as run:
        run.log_client_update("a", 0, city=unspeakable, custom=unspeakable, more={"n": huge})
        run.log_round(0, auc=huge, algorithm_metadata={"n": huge})
        run.log_dropout(0, "a", reason=unspeakable)  # type: ignore[arg-type]
        run.log_checkpoint(0, tmp_path / "missing", n=huge)
        run.log_metric("loss", huge, step=0)
        run.log_text(unspeakable)  # type: ignore[arg-type]
    block = decode_block(run.path.read_bytes(), 0)
    assert not block.bad
    (update,) = [event for event in block.events if isinstance(event, ClientUpdate)]
    assert update.city == "<_Unspeakable: RuntimeError>"


def test_a_run_in_a_read_only_folder_trains_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "runs"
    folder.write_text("in the way")
    with a_run(folder) as run:
        run.log_round(0)
    assert run.num_not_recorded == 2
    assert caplog.text.count("Training goes on") == 1
    assert "2 events of run" in caplog.text


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (argparse.Namespace(lr=0.1), {"lr": 0.1}),
        (types.MappingProxyType({"lr": 0.1}), {"lr": 0.1}),
        ([1, 2], {"list": [1, 2]}),
        ("fast", {"str": "fast"}),
        ({}, None),
    ],
)
def test_a_config_of_any_kind_never_costs_the_start_of_the_run(tmp_path: Path, config: Any, kept: Any) -> None:
    with a_run(tmp_path, config=config, framework=1.2, tags=["x"]) as run:
        run.log_round(0, algorithm_metadata="half")
    (start,) = of_type(run.path, RunStart)
    assert (start.config, start.framework) == (kept, "1.2")
    assert of_type(run.path, RoundEnd)[0].algorithm_metadata == {"str": "half"}


def test_selected_must_be_a_list_of_ids(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for selected in (5, "abc"):
        with pytest.raises(UsageError, match="selected must be a list"):
            run.round_start(0, selected=selected)  # type: ignore[arg-type]
    run.finish(error=ValueError("diverged"), status="failed")  # type: ignore[arg-type]
    assert of_type(run.path, RunEnd)[0].error == "diverged"


def test_a_site_speaks_for_itself_alone(tmp_path: Path) -> None:
    site = fedsight.join("exp", "a", runs_dir=tmp_path)
    for call in (
        lambda: site.log_client_update("b", 0),
        lambda: site.log_dropout(0, "b"),
        lambda: site.log_round(0),
        lambda: site.set_server_metadata(city="x"),
    ):
        with pytest.raises(UsageError):
            call()
    site.round_start(4)
    site.log_client_update(local_loss=1.0)
    site.log_dropout(4, "a", "battery")
    site.finish()
    assert [(update.client_id, update.round) for update in of_type(site.path, ClientUpdate)] == [("a", 4)]
    assert of_type(site.path, RoundStart) == []


def test_a_line_of_many_parts_is_cut_until_it_fits(tmp_path: Path) -> None:
    with a_run(tmp_path, config={f"k{i}": "v" * 10_000 for i in range(500)}) as run:
        run.log_client_update("a", 0, local_loss=1.0, blob={f"k{i}": ["x" * 3000] * 3 for i in range(900)})
        run.round_start(1, selected=[f"client-{i:040d}" for i in range(40_000)])
    lines = run.path.read_bytes().splitlines(keepends=True)
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    (update,) = of_type(run.path, ClientUpdate)
    assert update.local_loss == 1.0
    (start,) = of_type(run.path, RoundStart)
    assert start.num_selected == 40_000
    assert start.extra is not None
    assert start.extra["_cut"] == {"selected": 40_000 * 50 + 1}


def test_what_is_nested_without_end_is_kept_as_text(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    update = only_update(tmp_path, "a", 0, endless=endless, local_loss=1.0)
    assert update.local_loss == 1.0


def test_an_emitter_that_throws_harms_neither_training_nor_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def attach(self, path: Path) -> None:
            raise RuntimeError("no")

        drain = detach = pending = delivered = sync_command = state = attach

    with a_run(tmp_path, emitters=[Broken()]) as run:
        run.log_round(0)
    assert [end.status for end in of_type(run.path, RunEnd)] == ["finished"]
    assert "this run does without it" in caplog.text


# ── what is not recorded ──────────────────────────────────────────────────────────────────────


def test_with_a_key_no_client_id_is_recorded_and_server_and_site_say_the_same_pseudonym(tmp_path: Path) -> None:
    server = a_run(tmp_path, run_id="exp", anonymize="secret")
    site = fedsight.join("exp", "hospital-a", runs_dir=tmp_path, anonymize=b"secret")
    server.round_start(0, selected=["hospital-a"])
    server.log_client_update("hospital-a", 0, local_loss=1.0)
    server.log_dropout(0, "hospital-a")
    site.round_start(0)
    site.log_client_update(local_accuracy=0.5)
    site.log_client_update("hospital-a", 0, cpu_pct=1.0)
    site.log_client_update(site.client_id, 0, ram_mb=1.0)
    site.log_metric("loss", 1.0)
    with pytest.raises(UsageError, match="only its own side"):
        site.log_client_update("hospital-b", 0)
    site.finish()
    server.finish()
    recorded = server.path.read_text() + site.path.read_text() + str(sorted(tmp_path.rglob("*")))
    assert "hospital" not in recorded
    (start,) = of_type(server.path, RoundStart)
    names = {
        *(start.selected or []),
        *(update.client_id for update in of_type(server.path, ClientUpdate) + of_type(site.path, ClientUpdate)),
        *(event.client_id for event in of_type(server.path, ClientEvent)),
        *(metric.client_id for metric in of_type(site.path, Metric)),
        site.client_id,
    }
    assert len(names) == 1
    assert of_type(site.path, RunStart)[0].host is None
    other = a_run(tmp_path, run_id="other", anonymize="another key")
    other.log_client_update("hospital-a", 0)
    other.finish()
    assert of_type(other.path, ClientUpdate)[0].client_id not in names


def test_places_are_recorded_no_more_exactly_than_wanted(tmp_path: Path) -> None:
    place = {"lat": 43.6045, "lng": 1.4440, "city": "Toulouse", "country": "FR"}
    for precision, expected in (
        ("exact", (43.6045, 1.4440, "Toulouse", "FR")),
        ("city", (43.6, 1.4, "Toulouse", "FR")),
        ("country", (None, None, None, "FR")),
    ):
        with a_run(tmp_path / precision, precision=precision) as run:
            run.set_server_metadata(**place, host="node7.example.org")
            run.log_client_update("a", 0, **place, local_loss=1.0)
        (update,), (server,) = of_type(run.path, ClientUpdate), of_type(run.path, ServerInfo)
        for told in (update, server):
            assert (told.lat, told.lng, told.city, told.country) == expected
        assert update.local_loss == 1.0
        assert (server.host is None) == (precision != "exact")
        assert (of_type(run.path, RunStart)[0].host is None) == (precision != "exact")
    with pytest.raises(UsageError, match="precision"):
        a_run(tmp_path, precision="street")
    with pytest.raises(UsageError, match="anonymize"):
        a_run(tmp_path, anonymize="")


# ── a server that tells of its clients ────────────────────────────────────────────────────────────


def test_a_server_tells_of_its_clients_curves_notes_and_parameters(tmp_path):
    with Run("r", runs_dir=tmp_path, verbose=False) as run:
        run.log_metric("loss", 0.5, step=3, client_id="a", ts=12.5, extra={"event_id": "x"})
        run.log_text("hello", name="notes/a.txt", client_id="a", ts=13.0)
        run.log_client_info("a", params={"lr": 0.5, "nested": {"mu": 1}}, tags={"ward": 7})
    (point,) = of_type(run.path, Metric)
    assert (point.client_id, point.step, point.ts, point.extra) == ("a", 3, 12.5, {"event_id": "x"})
    (note,) = of_type(run.path, Text)
    assert (note.client_id, note.name, note.ts) == ("a", "notes/a.txt", 13.0)
    (info,) = of_type(run.path, ClientInfo)
    assert (info.params, info.tags) == ({"lr": 0.5, "nested": {"mu": 1}}, {"ward": "7"})


def test_clients_join_and_leave_in_a_round_or_between_rounds(tmp_path):
    with Run("r", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_event("joined", "a")
        run.log_client_event("left", "a", round=2, reason="shift is over")
        with pytest.raises(UsageError, match="event must be one of dropout, comm_failure, joined, left, not 'gone'"):
            run.log_client_event("gone", "a")
    told = [(each.event, each.client_id, each.round, each.reason) for each in of_type(run.path, ClientEvent)]
    assert told == [("joined", "a", None, None), ("left", "a", 2, "shift is over")]


def test_a_part_of_the_system_says_what_happened(tmp_path):
    with Run("r", runs_dir=tmp_path, verbose=False) as run:
        run.log_event("nvflare", "task_assigned", "a was given a task", level="warning", task="train", round=None)
        with pytest.raises(UsageError, match="level must be one of info, warning, error, not 'loud'"):
            run.log_event("nvflare", "x", "y", level="loud")
    (log,) = of_type(run.path, Log)
    assert (log.component, log.event, log.level, log.extra) == (
        "nvflare",
        "task_assigned",
        "warning",
        {"task": "train"},
    )


def test_of_a_client_by_pseudonym_everything_goes_by_it(tmp_path):
    with Run("r", runs_dir=tmp_path, verbose=False, anonymize="key") as run:
        run.log_metric("loss", 0.5, client_id="a")
        run.log_text("hello", client_id="a")
        run.log_client_info("a", params={"lr": 0.5})
    (name,) = {each.client_id for kind in (Metric, Text, ClientInfo) for each in of_type(run.path, kind)}
    assert name.startswith("client-")


def test_a_site_tells_of_itself_alone(tmp_path):
    with fedsight.join("r", "a", runs_dir=tmp_path) as site:
        for tell in (
            lambda: site.log_metric("loss", 1, client_id="b"),
            lambda: site.log_text("x", client_id="b"),
            lambda: site.log_client_info("b", params={"lr": 1}),
            lambda: site.log_client_event("left", "b"),
        ):
            with pytest.raises(UsageError, match="can record only its own side"):
                tell()
