"""MLflow on its default SQLite store: one run, keys prefixed by the client, a batch a call."""

import mlflow


class Recorder:
    def __init__(self):
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        mlflow.set_experiment("bench")
        mlflow.start_run()

    def log(self, client, round_, metrics):
        mlflow.log_metrics({f"{client}.{key}": value for key, value in metrics.items()}, step=round_)

    def close(self):
        mlflow.end_run()
