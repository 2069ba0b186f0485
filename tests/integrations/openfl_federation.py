"""OpenFL's own callback list with the recipe's callback, called as its aggregator and collaborators do. Argument: a folder."""

import importlib.util
import sys
import types
from pathlib import Path

FOLDER, RECIPE = Path(sys.argv[1]), Path(__file__).parents[2] / "examples" / "openfl" / "fedsight_callback.py"

# OpenFL's package imports what its other callbacks need (TensorBoard, PyTorch, gRPC): only these two files are run.
callbacks = Path(importlib.util.find_spec("openfl").origin).parent / "callbacks"
package = types.ModuleType("openfl.callbacks")
package.__path__ = [str(callbacks)]
sys.modules["openfl.callbacks"] = package
for unused in ("memory_profiler.MemoryProfiler", "metric_writer.MetricWriter"):
    module, _, name = unused.partition(".")
    sys.modules[f"openfl.callbacks.{module}"] = types.SimpleNamespace(**{name: type(name, (), {})})
from openfl.callbacks.callback import Callback  # noqa: E402
from openfl.callbacks.callback_list import CallbackList  # noqa: E402

package.Callback = Callback
spec = importlib.util.spec_from_file_location("fedsight_callback", RECIPE)
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)


def side(origin):
    """One participant's callbacks, made as OpenFL makes them."""
    options = {"accuracy": "validate/accuracy", "runs_dir": FOLDER, "verbose": False}
    return CallbackList([recipe.FedsightCallback("r1", **options)], tensor_db=None, origin=origin)


sides = {origin: side(origin) for origin in ("aggregator", "one", "two")}
for each in sides.values():
    each.on_experiment_begin()
sides["aggregator"].on_round_begin(0)
for round_num in range(2):
    for name in ("one", "two"):
        sides[name].on_round_begin(round_num)
        sides[name].on_task_begin("validate", round_num)
        sides[name].on_task_end("validate", round_num)
        sides[name].on_round_end(round_num, {f"{name}/validate/accuracy": 0.5, f"{name}/train/loss": 1.5})
    sides["aggregator"].on_round_end(round_num, {"aggregator/validate/accuracy": 0.75, "aggregator/train/loss": 1.25})
    if round_num == 0:
        sides["aggregator"].on_round_begin(1)
for each in sides.values():
    each.on_experiment_end()
    each.on_experiment_end()
