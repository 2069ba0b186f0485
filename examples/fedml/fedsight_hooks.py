"""What FedML's server tells its own cloud, recorded by Fedsight as well; no account is needed for it.

import fedml
from fedml.core import mlops
from fedsight_hooks import watch

watch(mlops, run_id="run-42")
FedMLRunner(args, device, dataset, model).run()
"""

import functools
import time

import fedsight

GLOBAL_FIGURES = {"Test/Acc": "global_accuracy", "Test/Loss": "global_loss"}


def watch(mlops, **init):
    """Record what FedML's server calls `mlops.event` and `mlops.log` with, whether its cloud is bound or not.

    mlops: the module `fedml.core.mlops`. init: as of `fedsight.init`. Returns the run; finish it, or let the process end.
    """
    run = fedsight.init(framework="FedML", **init)
    began = {}

    def event(event_name, event_started=True, event_value=None, event_edge_id=None):
        if event_name == "server.wait" and event_started:
            run.round_start(int(event_value))
        elif event_name == "comm_c2s" and not event_started:
            run.log_client_update(event_edge_id, int(event_value))  # it has arrived; no more is said
        elif event_name == "server.agg_and_eval" and event_started:
            began[event_value] = time.monotonic()
        elif event_name == "server.agg_and_eval" and event_value in began:
            took_sec = time.monotonic() - began.pop(event_value)
            run.log_round(int(event_value), aggregation_and_evaluation_sec=took_sec)

    def log(metrics, step=None, **_):
        figures = {GLOBAL_FIGURES.get(name, name): value for name, value in metrics.items()}
        round = figures.pop("round", figures.pop("round_idx", step))
        if round is not None and figures:
            run.log_round(int(round), **figures)

    mlops.event = after(event, mlops.event)
    mlops.log = after(log, mlops.log)
    return run


def after(tell, call):
    """`call`, told of first; trouble with telling is never FedML's."""
    is_told = []

    @functools.wraps(call)
    def wrapped(*args, **kwargs):
        try:
            tell(*args, **kwargs)
        except Exception as error:
            if not is_told:
                is_told.append(True)
                print(f"fedsight: not recorded (said once): {error!r}")
        return call(*args, **kwargs)

    return wrapped
