"""Adds one. The client hospital-b says that it trains in round 2, and goes on for ever."""

import time
from pathlib import Path

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedsight.integrations.flower import fedsight_mod

app = ClientApp(mods=[fedsight_mod])


@app.train()
def train(message, context):
    config = message.content["config"]
    if config["server-round"] == 2 and context.node_config["name"] == "hospital-b":
        (Path(str(config["folder"])) / "held").touch()
        while True:
            time.sleep(1)
    arrays = ArrayRecord([array + 1 for array in message.content["arrays"].to_numpy_ndarrays()])
    return Message(
        RecordDict({"arrays": arrays, "metrics": MetricRecord({"loss": 0.5, "num-examples": 1})}), reply_to=message
    )


@app.evaluate()
def evaluate(message, context):
    return Message(RecordDict({"metrics": MetricRecord({"loss": 0.25, "num-examples": 1})}), reply_to=message)
