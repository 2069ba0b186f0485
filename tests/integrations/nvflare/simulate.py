"""Runs a job in NVFLARE's simulator: `simulate.py JOB WORKSPACE [OPTIONS AS JSON]`; prints how long it took as its last line."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv
from nvflare.recipe.utils import TRACKING_REGISTRY, add_experiment_tracking

from fedsight.integrations.nvflare import FedsightSite, add_fedsight

HERE = Path(__file__).parent


def recipe_of(client, rounds):
    options = {"name": "digits", "min_clients": 3, "num_rounds": rounds, "train_script": str(HERE / client)}
    try:
        return NumpyFedAvgRecipe(model=np.zeros((65, 10)), **options)
    except TypeError:  # nvflare 2.7
        return NumpyFedAvgRecipe(initial_model=np.zeros((65, 10)).tolist(), **options)


def everything(options):
    """NVFLARE's own way to add MLflow, with our receiver in the place of its own; sites keep journals, too."""
    TRACKING_REGISTRY["mlflow"]["receiver_module"] = "fedsight.integrations.nvflare"
    recipe = recipe_of("client_everything.py", rounds=3)
    add_experiment_tracking(recipe, "mlflow", options)
    recipe._job.to_clients(FedsightSite(), id="fedsight_site")
    return recipe


def burst(options):
    return add_fedsight(recipe_of("client_burst.py", rounds=3), **options)


def tracked(options):
    """By NVFLARE's `add_experiment_tracking`, on the server and on the clients."""
    TRACKING_REGISTRY["fedsight"] = {
        "package": "fedsight",
        "receiver_module": "fedsight.integrations.nvflare",
        "receiver_class": "FedsightReceiver",
    }
    recipe = recipe_of("client_burst.py", rounds=3)
    add_experiment_tracking(recipe, "fedsight", options, client_side=True)
    return recipe


def main():
    job, workspace, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}")
    began = time.monotonic()
    recipe = {"everything": everything, "burst": burst, "tracked": tracked}[job](options)
    failed = None
    try:
        recipe.execute(SimEnv(num_clients=3, num_threads=3, workspace_root=workspace))
    except RuntimeError as error:  # the job failed
        failed = str(error)
    print(json.dumps({"took_sec": time.monotonic() - began, "failed": failed}))


if __name__ == "__main__":
    main()
