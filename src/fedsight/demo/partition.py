"""Splitting one data set among clients that see different mixes of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsight.demo.model import Labels


def dirichlet_split(
    labels: Labels, num_clients: int, *, alpha: float, min_samples: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Indices of each client's samples: every class is shared out in Dirichlet(`alpha`) proportions.

    A small `alpha` gives each client few classes. A client with fewer than `min_samples` takes
    what it lacks from the largest one.
    """
    if num_clients * min_samples > len(labels):
        raise ValueError(f"{len(labels)} samples are too few for {num_clients} clients with {min_samples} each")
    parts: list[list[int]] = [[] for _ in range(num_clients)]
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(num_clients, alpha))
        cuts = (np.cumsum(shares)[:-1] * len(indices)).astype(int)
        for part, chunk in zip(parts, np.split(indices, cuts), strict=True):
            part.extend(int(i) for i in chunk)
    for part in parts:
        while len(part) < min_samples:
            part.append(max(parts, key=len).pop())
    return [rng.permutation(np.array(part, dtype=np.int64)) for part in parts]
