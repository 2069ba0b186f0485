"""The example app, by `flwr run` in a simulation (today's Flower) and by `run_simulation` (an older one)."""

import os
import subprocess
from pathlib import Path

import pytest
from environments import python_of
from flower_federation import QUIET, Federation

from fedsight.events import ClientUpdate, Log, RoundEnd, RoundStart, RunEnd, RunStart
from fedsight.summary import summarize
from fedsight.testing import read_events

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]

APP = Path(__file__).parents[2] / "examples" / "flower"
NUM_NODES = 4

RUN_SIMULATION = f"""
import sys
sys.path.insert(0, {str(APP)!r})
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from digits import server_app
from digits.client_app import app as client_app

app = ServerApp()

@app.main()
def main(grid, context):
    context.run_config = {{"num-server-rounds": 2, "runs-dir": sys.argv[1]}}
    server_app.main(grid, context)

resources = {{"client_resources": {{"num_cpus": 1, "num_gpus": 0.0}}, "init_args": {{"num_cpus": 2, "include_dashboard": False}}}}
run_simulation(server_app=app, client_app=client_app, num_supernodes={NUM_NODES}, backend_config=resources)
"""


def by_flwr_run(folder):
    with Federation(folder) as federation:
        federation.superlink("--simulation")
        options = f"num-supernodes={NUM_NODES} client-resources-num-cpus=1 client-resources-num-gpus=0.0"
        federation.run(APP, f'num-server-rounds=2 runs-dir="{folder}"', "--federation-config", options)
        federation.until(lambda: any(map(has_ended, folder.glob("*.jsonl"))), "the run ends")


def by_run_simulation(folder):
    done = subprocess.run(
        [python_of("flower-1.30"), "-c", RUN_SIMULATION, folder],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | QUIET | {"FLWR_HOME": str(folder / "home"), "PYTHONPATH": str(APP)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def has_ended(journal):
    return any(isinstance(event, RunEnd) for event in read_events(journal))


@pytest.fixture(scope="module", params=[by_flwr_run, by_run_simulation], ids=lambda way: way.__name__)
def events(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    request.param(folder)
    (journal,) = folder.glob("*.jsonl")
    return read_events(journal)


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_the_run_is_recorded_from_its_start_to_its_end(events):
    (start,) = of(events, RunStart)
    assert (start.project, start.algorithm, start.framework) == ("digits", "FedAvg", "flower")
    (end,) = of(events, RunEnd)
    assert end.status == "finished"
    assert not [event for event in of(events, Log) if event.event == "errors"]


def test_the_model_gets_better_from_round_to_round(events):
    rounds = of(events, RoundEnd)
    assert [event.round for event in rounds] == [0, 1, 2]
    assert rounds[0].global_accuracy < 0.2
    assert rounds[2].global_accuracy > 0.7
    assert rounds[2].global_loss < rounds[1].global_loss < rounds[0].global_loss


def test_clients_that_train_and_those_that_only_evaluate_are_told_apart(events):
    for number in (1, 2):
        summary = summarize(events)[number]
        assert (summary.num_selected, summary.num_completed) == (3, 3)  # 0.8 of 4
    evaluated = {u.client_id for u in of(events, ClientUpdate) if u.round == 2 and "eval_accuracy" in (u.metrics or {})}
    assert evaluated == {f"partition-{number}" for number in range(NUM_NODES)}
    assert set(of(events, RoundStart)[1].selected) < evaluated


def test_what_the_mod_measured_at_the_clients_is_there(events):
    for update in of(events, ClientUpdate):
        if update.status == "active":
            assert 0 < update.train_time_sec < update.metrics["train_reply_sec"]
            assert update.ram_mb > 10
            assert update.cpu_pct > 0
            assert 0.3 < update.local_accuracy <= 1
