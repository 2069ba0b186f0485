"""Two rounds of federated averaging of a number."""

import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from fedsight.integrations.flower import watch

app = ServerApp()
NUM_NODES = 3


@app.main()
def main(grid, context):
    folder = str(context.run_config["folder"])
    while len(list(grid.get_node_ids())) < NUM_NODES:
        time.sleep(0.5)
    strategy = watch(FedAvg(), run_id="deployed", runs_dir=folder, waiting_after_sec=5)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(3)]),
        num_rounds=2,
        train_config=ConfigRecord({"folder": folder}),
    )
