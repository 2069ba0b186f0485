"""A site that logs a value of every type, changes a parameter, and fails in the third round where it is site-3."""

import math

import numpy as np
import nvflare.client as flare
from nvflare.apis.analytix import AnalyticsDataType, LogWriterName
from nvflare.client import tracking


def log(kind, key, value, step=None, **more):
    tracking.log(key, value, AnalyticsDataType[kind], writer=LogWriterName.MLFLOW, global_step=step, **more)


def log_once(site):
    log("PARAMETERS", "params", {"batch": 32, "optimizer": {"name": "sgd"}})
    log("TAG", "kind", "simulated")
    log("TAGS", "tags", {"ward": 7})
    log("TEXT", "text", f"hello from {site}", path="notes/hello.txt")
    log("IMAGE", "sample", np.arange(6, dtype=np.float32).reshape(2, 3), step=0)
    log("MODEL", "weights", b"\x00\x01\x02")
    log("LOG_RECORD", "console", "epoch 1 done")
    log("INIT_DATA", "init", {"seed": 42})


def main():
    flare.init()
    site = flare.get_site_name()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        round_ = model.current_round
        if site == "site-3" and round_ == 2:
            raise RuntimeError("the disk is full")
        if round_ == 0:
            log_once(site)
        log("PARAMETER", "lr", 0.5 / (round_ + 1))  # of a param, MLflow takes one value only
        for epoch in range(5):
            log("METRIC", "train_loss", 1 / (1 + round_ * 5 + epoch), step=round_ * 5 + epoch)
        log("SCALARS", "train", {"loss": 0.1, "accuracy": 0.9}, step=round_)
        log("SCALARS", "eval", {"loss": 0.2}, step=round_)
        log("SCALAR", "spread", math.nan, step=round_)
        log("METRICS", "metrics", {"val_loss": 0.3, "val_accuracy": 0.8}, step=round_)
        flare.send(
            flare.FLModel(
                params={"numpy_key": model.params["numpy_key"] + 1.0},
                params_type=flare.ParamsType.FULL,
                metrics={"accuracy": 0.5 + 0.1 * round_, "loss": 1 / (round_ + 1), "auc": 0.7},
                current_round=round_,
                meta={"NUM_STEPS_CURRENT_ROUND": 10},
            )
        )


if __name__ == "__main__":
    main()
