"""HiveWatch's Flower example: a FedAvg strategy that logs in `aggregate_fit` and `aggregate_evaluate`. Nothing calls `finish`."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import fedsight as hivewatch
from fedsight.emitters import MLflowEmitter, WandbEmitter

FIELDS = ("gradient_norm", "train_time_sec", "cpu_pct", "ram_mb", "lat", "lng", "city", "country")


class Proxy(NamedTuple):
    """Stands for Flower's ClientProxy."""

    cid: str


class FitRes(NamedTuple):
    """Stands for Flower's FitRes."""

    num_examples: int
    metrics: dict[str, Any]


class Strategy:
    """Stands for a subclass of Flower's FedAvg: what it does besides aggregating."""

    def aggregate_fit(self, server_round: int, results: list[tuple[Proxy, FitRes]], failures: list[Any]) -> None:
        """The clients have trained."""
        for failure in failures:
            client = failure[0].cid if isinstance(failure, tuple) else "unknown"
            hivewatch.log_dropout(server_round, client, reason="fit failure")
        for proxy, fit in results:
            told = fit.metrics or {}
            hivewatch.log_client_update(
                client_id=told.get("client_id", proxy.cid),
                round=server_round,
                local_loss=told.get("local_loss"),
                local_accuracy=told.get("local_accuracy"),
                num_samples=fit.num_examples,
                bytes_sent=told.get("bytes_sent", 0),
                **{name: told.get(name) for name in FIELDS},
            )

    def aggregate_evaluate(
        self, server_round: int, loss: float, metrics: dict[str, float], failures: list[Any]
    ) -> None:
        """The clients have evaluated the new model."""
        hivewatch.log_round(
            round=server_round,
            global_accuracy=float(metrics.get("accuracy", 0.0)),
            global_loss=float(loss) if loss else 0.0,
            num_stragglers=len(failures),
        )


hivewatch.init(
    algorithm="FedAvg",
    config={"num-server-rounds": 3, "fraction-fit": 0.5, "local-epochs": 1},
    emitters=[
        WandbEmitter(project="my-fl-project", log_geo=True),
        MLflowEmitter(
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", "http://localhost:5000"),
            experiment="my-fl-project-mlflow",
            log_geo=True,
            mlflow_system_metrics=True,
            system_metrics_sampling_interval=5,
        ),
    ],
)
strategy = Strategy()
for server_round in range(1, 4):
    fitted = [
        (Proxy("1701"), FitRes(600, {"client_id": "site-a", "local_loss": 1 / server_round, "lat": 43.6, "lng": 1.44})),
        (Proxy("1702"), FitRes(400, {"local_accuracy": 0.4 + server_round / 10, "train_time_sec": 1.5})),
    ]
    failures: list[Any] = [(Proxy("1703"), None), TimeoutError()] if server_round == 2 else []
    strategy.aggregate_fit(server_round, fitted, failures)
    strategy.aggregate_evaluate(server_round, 1 / server_round, {"accuracy": 0.5 + server_round / 10}, failures)
