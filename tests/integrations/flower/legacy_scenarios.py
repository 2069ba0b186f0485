"""Strategies of Flower's older API, with and without the bridge, and SecAgg+, on a grid in this process.

Run as a script in a Flower environment: `legacy_scenarios.py RUNS_DIR`; prints one JSON object, name → result.
"""

import hashlib
import json
import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from flwr.app import Context, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, Server, ServerConfig
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat import start_grid
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_PARAMS_RECORD
from local_grid import LocalGrid

import fedsight
from fedsight.integrations.flower import fedsight_mod, watch

logging.getLogger("flwr").setLevel(logging.CRITICAL)

RUNS_DIR = Path(sys.argv[1])
NODES = (9_007_199_254_740_993, 12, 13, 14)


class Client(NumPyClient):
    """Its numbers add up exactly in any order: Flower itself averages results in whatever order its threads end."""

    def __init__(self, partition, fails_in):
        self.target = partition + 1
        self.fails_in = fails_in

    def fit(self, parameters, config):
        if config.get("round") == self.fails_in:
            raise RuntimeError("out of GPU memory")
        arrays = [array + 0.25 * (self.target - array) for array in parameters]
        return arrays, 8, {"train_loss": 1 / 4 * self.target, "acc": 1 / 8 * self.target}

    def evaluate(self, parameters, config):
        return 0.5, 4, {"accuracy": 0.25}


def client_app(mods=(), fails_in=-1):
    def client_fn(context):
        return Client(context.node_config["partition-id"], fails_in).to_client()

    return ClientApp(client_fn, mods=list(mods))


def grid_of(mods=(fedsight_mod,), fails_in=-1):
    """The second node raises in round `fails_in`."""
    grid = LocalGrid({node: client_app(mods, fails_in if node == NODES[1] else -1) for node in NODES})
    grid.set_run(SimpleNamespace(run_id=7))
    return grid


def mean(metrics):
    return {name: float(np.mean([each[name] for _, each in metrics])) for name in metrics[0][1]}


def strategy(**parameters):
    return FedAvg(
        min_available_clients=4,
        initial_parameters=ndarrays_to_parameters([np.zeros((3, 2))]),
        on_fit_config_fn=lambda server_round: {"round": server_round},
        fit_metrics_aggregation_fn=mean,
        evaluate_metrics_aggregation_fn=mean,
        **parameters,
    )


def watched(strategy, name):
    return watch(strategy, run_id=name, runs_dir=RUNS_DIR, verbose=False)


def train(strategy, grid, num_rounds=3):
    random.seed(1)
    server = Server(client_manager=SimpleClientManager(), strategy=strategy)
    server.set_max_workers(1)
    history = start_grid(grid=grid, server=server, config=ServerConfig(num_rounds=num_rounds))
    arrays = parameters_to_ndarrays(server.parameters)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest() + repr(vars(history))


def with_and_without():
    return [train(strategy(), grid_of(())), train(watched(strategy(), "with_and_without"), grid_of())]


def server_evaluation():
    def evaluate(server_round, parameters, config):
        return 1.0 - 0.1 * server_round, {"accuracy": 0.1 * server_round}

    train(watched(strategy(evaluate_fn=evaluate, fraction_evaluate=0.0), "server_evaluation"), grid_of(()))


def failures():
    train(watched(strategy(), "failures"), grid_of(fails_in=2), num_rounds=2)


def failing_training():
    try:
        train(watched(Broken(initial_parameters=ndarrays_to_parameters([np.zeros(3)])), "failing_training"), grid_of())
    except Exception as error:
        return type(error).__name__
    return None


class Broken(FedAvg):
    def aggregate_fit(self, server_round, results, failures):
        raise ZeroDivisionError("nothing to average")


def secure_aggregation():
    """Our mod before SecAgg+'s; the workflow is the user's own loop, in a run of his own."""
    sums = []
    for mods, run_id in (((secaggplus_mod,), None), ((fedsight_mod, secaggplus_mod), "secure_aggregation")):
        np.random.seed(1)
        mine = strategy()
        run = run_id and fedsight.init(run_id=run_id, runs_dir=RUNS_DIR, verbose=False)
        if run:
            mine = watch(mine, run)
        context = LegacyContext(Context(7, 1, {}, RecordDict(), {}), config=ServerConfig(num_rounds=2), strategy=mine)
        workflow = DefaultWorkflow(fit_workflow=SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2))
        grid = grid_of(mods)
        workflow(grid, context)
        if run:
            run.finish()
        sums.append(repr(context.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()))
    return sums


def main():
    scenarios = (with_and_without, server_evaluation, failures, failing_training, secure_aggregation)
    print(json.dumps({scenario.__name__: scenario() for scenario in scenarios}))


if __name__ == "__main__":
    main()
