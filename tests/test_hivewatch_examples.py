"""HiveWatch's three public examples: their calls run with the import replaced, and what they tell is there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fedsight.events import AnyEvent, ClientEvent, ClientUpdate, RoundEnd, RunEnd, RunStart, ServerInfo, UnknownEvent
from fedsight.map.metadata import journal_events
from fedsight.summary import summarize

EXAMPLES = Path(__file__).parents[1] / "examples" / "hivewatch"


def recorded(script: str, folder: Path, *, finishes: bool = True) -> list[AnyEvent]:
    """What a script recorded that ran with W&B offline and MLflow in a file; nothing may be left to deliver."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FEDSIGHT_", "MLFLOW_", "WANDB_"))}
    done = subprocess.run(
        [sys.executable, EXAMPLES / script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=150,
        env={
            **clean,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "HIVEWATCH_PORT": str(port),
            "XDG_CACHE_HOME": str(folder / "cache"),
        },
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    # One that ends at once without finish() may leave W&B no time to be imported: then the command is said.
    assert not finishes or "Deliver the rest with" not in done.stderr, done.stderr
    (journal,) = (folder / "runs").glob("*.jsonl")
    return [event for event in journal_events(journal) if not isinstance(event, UnknownEvent)]


@pytest.mark.slow
def test_the_appfl_server(tmp_path: Path) -> None:
    events = recorded("appfl_server.py", tmp_path)
    counts = Counter(type(event) for event in events)
    assert [counts[kind] for kind in (RunStart, ServerInfo, ClientUpdate, RoundEnd, RunEnd)] == [1, 1, 6, 3, 1]
    rounds = summarize(events)
    assert [rounds[n].global_accuracy for n in range(3)] == [0.5, 0.6, 0.7]
    assert all(rounds[n].round_duration_sec is not None for n in range(3))
    first = next(event for event in events if isinstance(event, ClientUpdate))
    assert (first.client_id, first.city, first.lat, first.gradient_norm) == ("Client1", "Lemont", 41.71, None)
    assert list((tmp_path / "runs").glob("*.map.json"))


@pytest.mark.slow
def test_the_flower_strategy_which_never_calls_finish(tmp_path: Path) -> None:
    events = recorded("flower_strategy.py", tmp_path, finishes=False)
    assert [(e.round, e.client_id, e.reason) for e in events if isinstance(e, ClientEvent)] == [
        (2, "1703", "fit failure"),
        (2, "unknown", "fit failure"),
    ]
    assert [e.client_id for e in events if isinstance(e, ClientUpdate)] == ["site-a", "1702"] * 3
    assert [e.status for e in events if isinstance(e, RunEnd)] == ["finished"]
    assert summarize(events)[2].num_stragglers == 2


@pytest.mark.slow
def test_the_nvflare_controller(tmp_path: Path) -> None:
    events = recorded("nvflare_controller.py", tmp_path)
    rounds = summarize(events)
    assert sorted(rounds) == [1, 2, 3]  # it counts from 1
    assert [(rounds[n].num_selected, rounds[n].num_completed, rounds[n].num_stragglers) for n in (1, 2, 3)] == [
        (2, 2, 0), (2, 1, 1), (2, 2, 0),
    ]  # fmt: skip
    assert rounds[2].participation_rate == 0.5
    server = next(event for event in events if isinstance(event, ServerInfo))
    assert server.protocol == "NVFlare simulation"
