"""NVFLARE (2.7 to 2.9): a job's metrics, rounds, tasks and failures, recorded as a run.

    from fedsight.integrations.nvflare import add_fedsight

    add_fedsight(recipe)  # a recipe or a FedJob; or job.to_server(FedsightReceiver(), id="fedsight")

See docs/nvflare.md.
"""

from fedsight.integrations.nvflare.adding import add_fedsight
from fedsight.integrations.nvflare.mlflow_receiver import MLflowReceiver
from fedsight.integrations.nvflare.receiver import FedsightReceiver
from fedsight.integrations.nvflare.site import FedsightSite

__all__ = ["FedsightReceiver", "FedsightSite", "MLflowReceiver", "add_fedsight"]
