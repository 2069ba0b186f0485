"""One process: rounds of a Flower strategy, driven without a network, with or without the bridge; prints JSON.

`python flower_rounds.py plain|watched CLIENTS ROUNDS`, in an empty folder. The model has 5 kB, so that aggregating it is cheap.
The making of messages and replies, which a real grid would do, is not timed.
"""

import json
import logging
import resource
import statistics
import sys
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from local_grid import LocalGrid

from fedsight.integrations.flower import fedsight_mod, watch

logging.getLogger("flwr").setLevel(logging.ERROR)
MODEL = [np.zeros((65, 10))]


class PreparedGrid(LocalGrid):
    """Its replies are made before they are asked for."""

    def prepare(self, report):
        self.replies = []
        for message in self._sent.values():
            metrics = {"train_loss": 0.5, "train_acc": 0.9, "num-examples": 100}
            content = RecordDict({"arrays": ArrayRecord(MODEL), "metrics": MetricRecord(metrics)})
            if report:
                node = message.metadata.dst_node_id
                values = {
                    "wall_sec": 1.0,
                    "cpu_sec": 0.9,
                    "ram_mb": 250.0,
                    "partition_id": str(node),
                    "name": f"site-{node}",
                }
                content["fedsight"] = ConfigRecord(values)
            self.replies.append(Message(content, reply_to=message))
        self._sent.clear()

    def pull_messages(self, message_ids):
        return self.replies


def one_round(strategy, grid, number, is_watched):
    """CPU seconds of the process for the strategy's and the grid's part of a round."""
    phases = (
        (strategy.configure_train, strategy.aggregate_train),
        (strategy.configure_evaluate, strategy.aggregate_evaluate),
    )
    took_sec = 0.0
    for configure, aggregate in phases:
        began = time.process_time()
        messages = configure(number, ArrayRecord(MODEL), ConfigRecord(), grid)
        ids = grid.push_messages(messages)
        took_sec += time.process_time() - began
        grid.prepare(is_watched)
        began = time.process_time()
        replies = grid.pull_messages(ids)
        aggregate(number, replies)
        took_sec += time.process_time() - began
    return took_sec


def mod_us(times=2000):
    """Microseconds that the mod adds to a ClientApp's call."""
    context = Context(7, 1, {"partition-id": 3}, RecordDict(), {})
    asked = Message(RecordDict(), 1, "train")
    reply = Message(RecordDict({"metrics": MetricRecord({"loss": 0.5})}), reply_to=asked)
    took = []
    for _ in range(times):
        began = time.perf_counter()
        fedsight_mod(asked, context, lambda message, context: reply)
        took.append(time.perf_counter() - began)
    return 1e6 * statistics.median(took)


def main():
    form, num_clients, num_rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    grid = PreparedGrid(dict.fromkeys(range(2, num_clients + 2)))
    strategy = FedAvg()
    if form == "watched":
        strategy = watch(strategy, runs_dir=".", verbose=False)
    took, rss_kb = [], 0
    for number in range(1, num_rounds + 1):
        took.append(one_round(strategy, grid, number, form == "watched"))
        if number == max(1, num_rounds // 10):
            rss_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_kb
    rounds_ms = statistics.median(took) * 1e3
    print(
        json.dumps(
            {
                "round_ms": rounds_ms,
                "peak_mb": (rss_kb + grown_kb) / 1024,
                "grown_mb": grown_kb / 1024,
                "mod_us": mod_us(),
            }
        )
    )


if __name__ == "__main__":
    main()
