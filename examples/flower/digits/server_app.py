"""The ServerApp: federated averaging, watched by Fedsight."""

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits.task import initial_weights, load, loss_and_accuracy
from fedsight.integrations.flower import watch

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = watch(FedAvg(fraction_train=0.8), project="digits", runs_dir=str(context.run_config["runs-dir"]))
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([initial_weights()]),
        num_rounds=int(context.run_config["num-server-rounds"]),
        evaluate_fn=evaluate,
    )


def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """The global model on all test images."""
    _, _, pixels, labels = load(0, 1)
    loss, accuracy = loss_and_accuracy(arrays.to_numpy_ndarrays()[0], pixels, labels)
    return MetricRecord({"loss": loss, "accuracy": accuracy})
