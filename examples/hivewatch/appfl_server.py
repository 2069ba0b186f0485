"""HiveWatch's APPFL example: a server agent that logs every client's update and, when the next round begins, the last one."""

from __future__ import annotations

import os
import socket
from typing import Any

import fedsight as hivewatch
from fedsight.emitters import MLflowEmitter, SSEEmitter, WandbEmitter
from fedsight.geo import get_location

FIELDS = ("gradient_norm", "train_time_sec", "cpu_pct", "ram_mb", "lat", "lng", "city", "country")


class Agent:
    """Stands for APPFL's ServerAgent: `global_update` is called with each client's model and what came along."""

    def __init__(self) -> None:
        self.round = -1
        self.accuracy = self.loss = 0.0

    def global_update(self, client_id: str, **came: Any) -> None:
        """A client's model has come."""
        number = came.get("round", 0)
        if number != self.round:
            self.log_round()
            self.round = number
            hivewatch.round_start(number)
        self.accuracy, self.loss = came.get("val_accuracy", 0.0), came.get("val_loss", 0.0)
        hivewatch.log_client_update(
            client_id=client_id,
            round=number,
            local_accuracy=came.get("val_accuracy"),
            local_loss=came.get("val_loss"),
            num_samples=came.get("num_samples", 0),
            bytes_sent=came.get("bytes_sent", 0),
            **{name: came.get(name) for name in FIELDS},
        )

    def log_round(self) -> None:
        """The round is over: with the last client's figures, as in the original."""
        if self.round >= 0:
            hivewatch.log_round(round=self.round, global_accuracy=self.accuracy, global_loss=self.loss)


hivewatch.init(
    algorithm="FedAvg",
    config={"num_clients": 2, "aggregator": {"name": "FedAvgAggregator", "client_weights_mode": "equal"}},
    emitters=[
        WandbEmitter(project="my-fl-project-wandb"),
        SSEEmitter(port=int(os.environ.get("HIVEWATCH_PORT", "7070")), serve_map=True),
        MLflowEmitter(
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", "http://localhost:5000"),
            experiment=os.environ.get("MLFLOW_EXPERIMENT", "my-fl-project-mlflow"),
            mlflow_system_metrics=True,
            run_name="fedavg-run-1",
            system_metrics_sampling_interval=5,
        ),
    ],
)
hivewatch.set_server_metadata(host=socket.gethostname(), protocol="gRPC / APPFL", **get_location())

agent = Agent()
try:
    for number in range(3):
        for client, place in (
            ("Client1", {"lat": 41.71, "lng": -87.98, "city": "Lemont", "country": "US"}),
            ("Client2", {}),
        ):
            agent.global_update(
                client, round=number, val_accuracy=0.5 + number / 10, val_loss=1.0 - number / 10, **place
            )
finally:
    agent.log_round()
    hivewatch.finish()
