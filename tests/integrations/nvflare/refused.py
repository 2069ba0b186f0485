"""Arguments that can't be meant, and what is said of each: prints JSON."""

import json

from fedsight.errors import UsageError
from fedsight.integrations.nvflare import FedsightReceiver, MLflowReceiver, add_fedsight

told = {}
for name, attempt in {
    "emitters": lambda: FedsightReceiver(emitters=["mlflow"]),
    "tracking_uri": lambda: MLflowReceiver(tracking_uri=5000),
    "experiment": lambda: MLflowReceiver(kw_args={"experiment": "ward"}),
    "run_tags": lambda: MLflowReceiver(kw_args={"run_tags": "research"}),
    "buffer_flush_time": lambda: MLflowReceiver(buffer_flush_time=-1),
    "recipe_or_job": lambda: add_fedsight("digits"),
}.items():
    try:
        attempt()
    except UsageError as error:
        told[name] = str(error)
print(json.dumps(told))
