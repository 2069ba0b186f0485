"""Runs a job of 3 sites and 3 rounds in NVFLARE's simulator with one receiver, and prints how long it took.

`nvflare_job.py RECEIVER FOLDER [TRACKING_URI]`. RECEIVER: none, counting, slow, mlflow; fedsight, fedsight+hanging, fedsight+slow,
fedsight+mlflow.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

HERE = Path(__file__).parent


def receiver_of(name, folder, tracking_uri):
    names = {"experiment_name": "bench", "run_name": "bench", "experiment_tags": {}, "run_tags": {}}
    if name in ("counting", "slow"):
        from nvflare_receivers import Counting

        return Counting(save_sec=0.02 if name == "slow" else 0.0)
    if name == "mlflow":
        from nvflare.app_opt.tracking.mlflow.mlflow_receiver import MLflowReceiver

        return MLflowReceiver(tracking_uri=tracking_uri, kw_args=names)
    from fedsight.integrations.nvflare import FedsightReceiver, MLflowReceiver

    runs = str(folder / "runs")
    if name == "fedsight+mlflow":
        return MLflowReceiver(tracking_uri=tracking_uri, kw_args=names, runs_dir=runs)
    destination = {"fedsight+hanging": "Hanging", "fedsight+slow": "Slow"}.get(name)
    emitters = {f"nvflare_receivers:{destination}": {}} if destination else None
    return FedsightReceiver(runs_dir=runs, emitters=emitters, drain_sec=2.0)


def main():
    name, folder, tracking_uri = sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None
    recipe = NumpyFedAvgRecipe(
        name="bench",
        model=np.zeros((65, 10)),
        min_clients=3,
        num_rounds=3,
        train_script=str(HERE / "nvflare_client.py"),
    )
    if name != "none":
        job = getattr(recipe, "_job", None) or recipe.job
        job.to_server(receiver_of(name, folder, tracking_uri), id="receiver")
    began = time.time()
    recipe.execute(SimEnv(num_clients=3, num_threads=3, workspace_root=str(folder / "workspace")))
    ended = time.time()
    first = min(float(path.read_text()) for path in folder.glob("first_task.*"))
    print(json.dumps({"job_sec": ended - began, "start_sec": first - began}))


if __name__ == "__main__":
    main()
