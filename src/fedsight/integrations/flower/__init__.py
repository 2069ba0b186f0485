"""Flower: `strategy = watch(strategy)` in the ServerApp, and `ClientApp(mods=[fedsight_mod])` in the ClientApp.

    from fedsight.integrations.flower import watch

    strategy = watch(FedAvg(fraction_train=0.5), project="ward")
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=10)

docs/flower.md says what is recorded, and under which names.
"""

from fedsight.integrations.flower.mod import fedsight_mod
from fedsight.integrations.flower.watching import watch

__all__ = ["fedsight_mod", "watch"]
