"""An aggregator for APPFL, loaded by its `aggregator_path`: the mean of whatever models it is given, in NumPy."""

import numpy as np
from appfl.algorithm.aggregator import BaseAggregator


class NumpyMean(BaseAggregator):
    """Takes what any of APPFL's schedulers passes: one client's model, or models by client."""

    def __init__(self, aggregator_configs, logger):
        self.weights = np.zeros(1000, dtype=np.float32)
        self.calls = []
        self.is_broken = False

    def get_parameters(self, **kwargs):
        """The global model."""
        return {"weights": self.weights}

    def aggregate(self, client_id=None, local_model=None, local_models=None, **kwargs):
        """The new global model."""
        if self.is_broken:
            raise ValueError("the models don't fit together")
        models = client_id if isinstance(client_id, dict) else local_models or {client_id: local_model}
        self.calls.append((list(models), kwargs))
        self.weights = np.mean([model["weights"] for model in models.values()], axis=0)
        return {"weights": self.weights}
