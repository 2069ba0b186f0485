"""The recipes in examples/: OpenFL's callback and FedML's hooks, against what these call, and against their published code."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest
from environments import python_of

from fedsight.events import ClientUpdate, RoundEnd, RoundStart, RunEnd
from fedsight.summary import summarize
from fedsight.testing import read_events

EXAMPLES = Path(__file__).parents[2] / "examples"


def fedml_hooks() -> Any:
    spec = importlib.util.spec_from_file_location("fedsight_hooks", EXAMPLES / "fedml" / "fedsight_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_round_of_fedml(mlops: Any, number: int) -> None:
    """What FedML's cross-silo server calls in a round, in its order."""
    mlops.event("server.wait", event_started=True, event_value=str(number))
    for client in (7, 9):
        mlops.event("comm_c2s", event_started=False, event_value=str(number), event_edge_id=client)
    mlops.event("server.wait", event_started=False, event_value=str(number))
    mlops.event("server.agg_and_eval", event_started=True, event_value=str(number))
    mlops.log({"Test/Acc": 0.5 + number / 4, "round": number})
    mlops.log({"Test/Loss": 1.5, "round": number})
    mlops.event("server.agg_and_eval", event_started=False, event_value=str(number))


def test_fedmls_server_is_recorded_by_what_it_tells_its_cloud(tmp_path: Path) -> None:
    heard: list[Any] = []
    mlops = types.SimpleNamespace(event=lambda *a, **k: heard.append(a), log=lambda *a, **k: heard.append(a))
    run = fedml_hooks().watch(mlops, run_id="r1", runs_dir=tmp_path, verbose=False)
    for number in range(2):
        a_round_of_fedml(mlops, number)
    mlops.log({"train_loss": 3.0})
    run.finish()
    rounds = summarize(read_events(run.path)[1:])  # type: ignore[arg-type]
    assert [(rounds[n].global_accuracy, rounds[n].global_loss) for n in range(2)] == [(0.5, 1.5), (0.75, 1.5)]
    assert [rounds[n].num_completed for n in range(2)] == [2, 2]
    assert all(rounds[n].metrics["aggregation_and_evaluation_sec"] >= 0 for n in range(2))
    assert len(heard) == 17


def test_what_cannot_be_recorded_of_fedml_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Any] = []
    mlops = types.SimpleNamespace(event=lambda *a, **k: heard.append(a), log=lambda *a, **k: heard.append(a))
    run = fedml_hooks().watch(mlops, run_id="r1", runs_dir=tmp_path, verbose=False)
    run.finish()
    a_round_of_fedml(mlops, 0)
    assert len(heard) == 8
    assert capsys.readouterr().out.count("not recorded") == 2  # once of events, once of figures


@pytest.mark.frameworks
def test_openfls_own_callback_list_drives_the_callback_on_both_sides(tmp_path: Path) -> None:
    script = Path(__file__).parent / "openfl_federation.py"
    command = [python_of("openfl-fedml"), script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    server = read_events(tmp_path / "r1.jsonl")
    ends = [event for event in server if isinstance(event, RoundEnd)]
    assert [event.round for event in server if isinstance(event, RoundStart)] == [0, 1]
    assert [(end.round, end.global_accuracy, end.metrics) for end in ends] == [
        (0, 0.75, {"train/loss": 1.25}),
        (1, 0.75, {"train/loss": 1.25}),
    ]
    assert isinstance(server[-1], RunEnd)
    for name in ("one", "two"):
        updates = [event for event in read_events(tmp_path / f"r1.{name}.jsonl") if isinstance(event, ClientUpdate)]
        assert [(each.client_id, each.round, each.local_accuracy) for each in updates] == [
            (name, 0, 0.5),
            (name, 1, 0.5),
        ]


@pytest.mark.frameworks
def test_fedml_calls_what_the_recipe_hooks() -> None:
    (site_packages,) = python_of("openfl-fedml").parents[1].glob("lib/python*/site-packages/fedml")
    functions = {
        node.name: [argument.arg for argument in node.args.args]
        for node in ast.parse((site_packages / "core/mlops/__init__.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert functions["event"] == ["event_name", "event_started", "event_value", "event_edge_id"]
    assert functions["log"][:2] == ["metrics", "step"]
    server = (site_packages / "cross_silo/server/fedml_server_manager.py").read_text()
    for call in (
        'mlops.event("server.wait", event_started=True, event_value=str(self.args.round_idx))',
        'mlops.event("comm_c2s", event_started=False, event_value=str(self.args.round_idx), event_edge_id=sender_id)',
        'mlops.event("server.agg_and_eval", event_started=False, event_value=str(self.args.round_idx))',
    ):
        assert call in server
    aggregator = (site_packages / "ml/aggregator/default_aggregator.py").read_text()
    assert 'mlops.log({"Test/Acc": test_acc, "round": args.round_idx})' in aggregator
