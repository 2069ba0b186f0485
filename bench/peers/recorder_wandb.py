"""W&B offline: one run, names prefixed by the client."""

import os

os.environ["WANDB_SILENT"] = "true"

import wandb


class Recorder:
    def __init__(self):
        self.run = wandb.init(project="bench", mode="offline", dir=".")

    def log(self, client, round_, metrics):
        self.run.log({f"{client}/{key}": value for key, value in metrics.items()})

    def close(self):
        self.run.finish()
