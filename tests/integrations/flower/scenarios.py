"""Real strategies and ClientApps, with and without the bridge, on a grid in this process.

Run as a script in a Flower environment: `scenarios.py RUNS_DIR`. Each scenario records to a run of its own name, and
what it gave is printed as one JSON object, name → result.
"""

import hashlib
import json
import logging
import random
import sys
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp import strategy as strategies
from local_grid import LocalGrid

import fedsight
from fedsight.events import Log
from fedsight.integrations.flower import fedsight_mod, watch
from fedsight.testing import read_events

logging.getLogger("flwr").setLevel(logging.ERROR)

RUNS_DIR = Path(sys.argv[1])
NODES = (9_007_199_254_740_993, 12, 13, 14)  # the first is beyond 2^53


def client_app(mods=(), train_mods=(), fails_in=None):
    """A model of two arrays that drifts towards the client's own number. fails_in: the round in which it raises."""
    app = ClientApp(mods=list(mods))

    @app.train(mods=list(train_mods))
    def train(message, context):
        if fails_in is not None and message.content["config"]["server-round"] == fails_in:
            raise RuntimeError("out of GPU memory")
        target = context.node_config.get("partition-id", 0) + 1
        arrays = [array + 0.1 * (target - array) for array in message.content["arrays"].to_numpy_ndarrays()]
        metrics = MetricRecord({"train_loss": 1 / target, "acc": 0.1 * target, "f1": 0.5, "num-examples": 10 * target})
        return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        metrics = MetricRecord({"loss": 0.5, "eval_acc": 0.25, "num-examples": 4})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def arrays():
    return ArrayRecord([np.zeros((3, 2)), np.linspace(0, 1, 5)])


def server_evaluation(server_round, arrays):
    return MetricRecord({"accuracy": 0.1 * server_round, "loss": 1.0 - 0.1 * server_round, "perplexity": 3.0})


def grid_of(mods=(fedsight_mod,), train_mods=()):
    return LocalGrid({node: client_app(mods, train_mods) for node in NODES})


def watched(strategy, name, **options):
    return watch(strategy, run_id=name, runs_dir=RUNS_DIR, verbose=False, **options)


def fingerprint(result):
    """What a training gave, bit for bit."""
    digest = hashlib.sha256(b"".join(array.tobytes() for array in result.arrays.to_numpy_ndarrays()))
    metrics = (result.train_metrics_clientapp, result.evaluate_metrics_clientapp, result.evaluate_metrics_serverapp)
    return digest.hexdigest() + repr([{r: dict(record) for r, record in each.items()} for each in metrics])


def train(strategy, grid, num_rounds=3, **options):
    random.seed(1)
    np.random.seed(1)
    return strategy.start(grid=grid, initial_arrays=arrays(), num_rounds=num_rounds, **options)


# ── with and without ──────────────────────────────────────────────────────────────────────────

STRATEGIES = {
    "FedAvg": lambda: strategies.FedAvg(fraction_train=0.5),
    "FedAdam": lambda: strategies.FedAdam(),
    "FedProx": lambda: strategies.FedProx(proximal_mu=0.1),
    "FedMedian": lambda: strategies.FedMedian(),
    "Krum": lambda: strategies.Krum(num_malicious_nodes=1),
    "DP server side": lambda: strategies.DifferentialPrivacyServerSideFixedClipping(strategies.FedAvg(), 0.1, 1.0, 4),
    "DP client side": lambda: strategies.DifferentialPrivacyClientSideFixedClipping(strategies.FedAvg(), 0.1, 1.0, 4),
    "DP adaptive": lambda: strategies.DifferentialPrivacyClientSideAdaptiveClipping(strategies.FedAvg(), 0.1, 4),
}
MODS = {"DP client side": (fixedclipping_mod,), "DP adaptive": (adaptiveclipping_mod,)}


def with_and_without(name):
    mods = MODS.get(name, ())
    without = train(STRATEGIES[name](), grid_of((), mods), evaluate_fn=server_evaluation)
    with_it = train(watched(STRATEGIES[name](), name), grid_of(train_mods=mods), evaluate_fn=server_evaluation)
    return [fingerprint(without), fingerprint(with_it)]


# ── what is recorded ──────────────────────────────────────────────────────────────────────────


def plain():
    seen = []

    def aggregate(contents, weighted_by_key):
        seen.extend(sorted(content) for content in contents)
        return MetricRecord({"train_loss": 0.7})

    train(
        watched(strategies.FedAvg(train_metrics_aggr_fn=aggregate), "plain"), grid_of(), evaluate_fn=server_evaluation
    )
    return seen


def without_mod():
    """Nor an evaluate_fn: node ids are the names, and the clients' evaluation is the global one."""
    train(watched(strategies.FedAvg(), "without_mod"), grid_of(mods=()))


def failures():
    """Round 1: all well. Round 2: the second node raises, the third is dead; the fourth stays silent."""
    apps = {node: client_app([fedsight_mod], fails_in=2 if node == NODES[1] else None) for node in NODES}
    grid = LocalGrid(apps)

    def evaluate(server_round, arrays):
        if server_round == 1:
            grid.dead, grid.silent = {NODES[2]}, {NODES[3]}

    train(watched(strategies.FedAvg(), "failures"), grid, num_rounds=2, timeout=0.3, evaluate_fn=evaluate)


def journal_has(name, text):
    found = (event for event in read_events(RUNS_DIR / f"{name}.jsonl") if isinstance(event, Log))
    return any(text in event.message for event in found)


def waiting():
    """Too few nodes, until the journal says so; then no reply, until it says that."""
    grid = grid_of(mods=())
    grid.num_connected = lambda: len(NODES) if journal_has("waiting", "not chosen its clients") else 1
    grid.may_answer = lambda: journal_has("waiting", "clients have answered")
    strategy = watched(strategies.FedAvg(min_available_nodes=4), "waiting", waiting_after_sec=0.2)
    train(strategy, grid, num_rounds=1)


# ── when something is wrong ───────────────────────────────────────────────────────────────────


def broken_bridge():
    """The recording of updates fails each time."""
    run = fedsight.init(run_id="broken_bridge", runs_dir=RUNS_DIR, verbose=False)

    def fail(*args, **fields):
        raise KeyError("a fault of the bridge")

    run.log_client_update = fail
    with_it = train(watch(strategies.FedAvg(), run), grid_of())
    run.finish()
    return [fingerprint(with_it), fingerprint(train(strategies.FedAvg(), grid_of(())))]


def failing_training():
    strategy = watched(strategies.FedAvg(weighted_by_key="no such key"), "failing_training")
    try:
        train(strategy, grid_of())
    except BaseException as error:  # it is no Exception in some versions of Flower
        return type(error).__name__
    return None


def started_twice():
    strategy = watched(strategies.FedAvg(), "started_twice")
    for _ in range(2):
        train(strategy, grid_of(), num_rounds=1)


def own_loop():
    """A ServerApp that calls the strategy's methods itself, in a run of its own."""
    grid = grid_of()
    with fedsight.init(run_id="own_loop", runs_dir=RUNS_DIR, verbose=False) as run:
        strategy = watch(strategies.FedAvg(), run)
        for number in (1, 2):
            messages = strategy.configure_train(number, arrays(), ConfigRecord(), grid)
            strategy.aggregate_train(number, grid.send_and_receive(messages))
        run.log_text("still open")


def usage_errors():
    watched_once = watched(strategies.FedAvg(), "usage_errors")
    said = []
    for arguments, options in (
        (("FedAvg",), {}),
        ((strategies.FedAvg,), {}),
        ((watched_once,), {}),
        ((strategies.FedAvg(), "ward"), {}),
        ((strategies.FedAvg(), fedsight._run), {"project": "ward"}),
        ((strategies.FedAvg(),), {"waiting_after_sec": 0}),
    ):
        try:
            watch(*arguments, **options)
        except fedsight.UsageError as error:
            said.append(str(error))
    return said


def main():
    results = {f"with and without {name}": with_and_without(name) for name in STRATEGIES}
    for scenario in (
        plain,
        without_mod,
        failures,
        waiting,
        broken_bridge,
        failing_training,
        started_twice,
        own_loop,
        usage_errors,
    ):
        results[scenario.__name__] = scenario()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
