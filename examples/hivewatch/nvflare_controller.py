"""HiveWatch's NVFLARE example: a FedAvg controller that logs when it sends a model, takes a result and aggregates."""

from __future__ import annotations

import os
import socket
from typing import Any

import fedsight as hivewatch
from fedsight.emitters import MLflowEmitter, SSEEmitter, WandbEmitter
from fedsight.geo import get_location


class Controller:
    """Stands for a subclass of NVFLARE's FedAvg."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.current_round: int | None = None
        self.begun: set[int] = set()
        self.expected, self.received = 2, 0

    def round(self) -> int | None:
        """Counted from 1."""
        return None if self.current_round is None else self.current_round + 1

    def run(self) -> None:
        """The whole training."""
        location = get_location()
        hivewatch.init(
            algorithm="FedAvg / NVFlare",
            config=self.config,
            emitters=[
                WandbEmitter(project=os.environ.get("WANDB_PROJECT", "hivewatch-nvflare-hello-pt")),
                MLflowEmitter(
                    tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", "http://localhost:5000"),
                    experiment=os.environ.get("MLFLOW_EXPERIMENT", "hivewatch-nvflare-hello-pt"),
                    run_name=os.environ.get("HIVEWATCH_RUN_NAME", "nvflare-hello-pt"),
                ),
                SSEEmitter(port=int(os.environ.get("HIVEWATCH_PORT", "7070")), serve_map=True),
            ],
        )
        hivewatch.set_server_metadata(host=socket.gethostname(), protocol="NVFlare simulation", **location)
        try:
            for self.current_round in range(3):
                self.send_model()
                self.received = 0
                for site in ("site-1", "site-2")[: 1 if self.current_round == 1 else 2]:
                    self.aggregate_one(site, {"accuracy": 0.5, "local_loss": 0.9, "num_samples": 512, **location})
                self.aggregated({"accuracy": 0.5 + self.current_round / 10, "local_loss": 0.9})
        finally:
            hivewatch.finish()

    def send_model(self) -> None:
        """Called once a site."""
        number = self.round()
        if number is not None and number not in self.begun:
            hivewatch.round_start(number)
            self.begun.add(number)

    def aggregate_one(self, site: str, metrics: dict[str, Any]) -> None:
        """A site's result has come."""
        self.received += 1
        hivewatch.log_client_update(
            site,
            round=self.round(),
            local_accuracy=metrics.get("local_accuracy", metrics.get("accuracy")),
            **{name: metrics.get(name) for name in ("local_loss", "num_samples", "train_time_sec")},
            **{name: metrics.get(name) for name in ("lat", "lng", "city", "country")},
        )

    def aggregated(self, metrics: dict[str, Any]) -> None:
        """All results are in."""
        hivewatch.log_round(
            self.round(),
            global_accuracy=metrics.get("accuracy") or metrics.get("local_accuracy"),
            global_loss=metrics.get("local_loss"),
            num_selected=self.expected,
            num_stragglers=max(self.expected - self.received, 0),
        )


Controller({"n_clients": 2, "num_rounds": 3, "batch_size": 16, "train_script": "client.py"}).run()
