"""The ClientApp: trains on one partition, and tells by Fedsight's mod what that cost."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits.task import load, loss_and_accuracy
from digits.task import train as trained
from fedsight.integrations.flower import fedsight_mod

app = ClientApp(mods=[fedsight_mod])


def load_own(context: Context) -> tuple:
    return load(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))


@app.train()
def train(message: Message, context: Context) -> Message:
    pixels, labels, _, _ = load_own(context)
    weights = trained(message.content["arrays"].to_numpy_ndarrays()[0], pixels, labels)
    loss, accuracy = loss_and_accuracy(weights, pixels, labels)
    metrics = MetricRecord({"train_loss": loss, "train_accuracy": accuracy, "num-examples": len(labels)})
    return Message(RecordDict({"arrays": ArrayRecord([weights]), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    _, _, pixels, labels = load_own(context)
    loss, accuracy = loss_and_accuracy(message.content["arrays"].to_numpy_ndarrays()[0], pixels, labels)
    metrics = MetricRecord({"eval_loss": loss, "eval_accuracy": accuracy, "num-examples": len(labels)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
