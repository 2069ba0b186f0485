"""A run as an MLflow run: `MLflowEmitter`."""

from fedsight.emitters.mlflow.emitter import MLflowEmitter
from fedsight.emitters.mlflow.names import mlflow_name, original_name

__all__ = ["MLflowEmitter", "mlflow_name", "original_name"]
