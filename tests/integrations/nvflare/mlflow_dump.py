"""What an MLflow store holds, as JSON: `mlflow_dump.py TRACKING_URI`."""

import json
import sys

from mlflow import MlflowClient

client = MlflowClient(tracking_uri=sys.argv[1])


def artifacts(run_id, folder=None):
    for found in client.list_artifacts(run_id, folder):
        yield from artifacts(run_id, found.path) if found.is_dir else [found.path]


def shown(run):
    run_id = run.info.run_id
    return {
        "id": run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {
            key: [[point.step, point.value, point.timestamp] for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        "artifacts": list(artifacts(run_id)),
    }


print(
    json.dumps(
        {
            experiment.name: {
                "tags": experiment.tags,
                "runs": [shown(run) for run in client.search_runs([experiment.experiment_id])],
            }
            for experiment in client.search_experiments()
        }
    )
)
