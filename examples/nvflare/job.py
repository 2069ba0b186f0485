"""Four hospitals learn to read digits together, in NVFLARE's simulator; Fedsight records it all in `runs/`."""

import argparse
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from fedsight.integrations.nvflare import add_fedsight

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sites", type=int, default=4)
    options = parser.parse_args()

    recipe = NumpyFedAvgRecipe(
        name="digits",
        model=np.zeros((65, 10)),
        min_clients=options.sites,
        num_rounds=options.rounds,
        train_script=str(HERE / "client.py"),
    )
    # The one line; sites and monitor are extras: each site's own journal, and what the training costs.
    add_fedsight(recipe, runs_dir=str(Path("runs").absolute()), sites=True, monitor=True)
    recipe.execute(SimEnv(num_clients=options.sites, num_threads=options.sites, workspace_root="workspace"))


if __name__ == "__main__":
    main()
