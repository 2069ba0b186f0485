"""How many points of `loss` an MLflow store has, by run, and how the runs ended: `mlflow_points.py TRACKING_URI`; prints JSON."""

import json
import sys

from mlflow import MlflowClient

client = MlflowClient(tracking_uri=sys.argv[1])
runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
found = {
    run.info.run_name: len({point.step for point in client.get_metric_history(run.info.run_id, "loss")})
    for run in runs
    if "loss" in run.data.metrics
}
print(json.dumps({"points": found, "statuses": [run.info.status for run in runs]}))
