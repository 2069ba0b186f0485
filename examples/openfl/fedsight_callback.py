"""An OpenFL callback for both sides: the aggregator's is the run, each collaborator's joins it.

OpenFL 1.9 reads no callbacks from the plan, so the code that builds the two takes it:

    Aggregator(…, callbacks=[FedsightCallback("run-42")])
    Collaborator(…, callbacks=[FedsightCallback("run-42")])
"""

from openfl.callbacks import Callback

import fedsight


class FedsightCallback(Callback):
    """Rounds and the aggregated metrics from the aggregator; each collaborator's metrics from itself.

    run_id: the same for all. accuracy, loss: which of OpenFL's metrics are Fedsight's accuracy and loss, as
    "task/metric" ("aggregated_model_validation/accuracy"); all others keep these names.
    init: what else `fedsight.init` and `fedsight.join` take in common, such as `runs_dir` and `emitters`.
    """

    def __init__(self, run_id, accuracy=None, loss=None, **init):
        super().__init__()
        self.run_id, self.accuracy, self.loss, self.init = run_id, accuracy, loss, init
        self.run = None

    def on_experiment_begin(self, logs=None):
        """`params` are OpenFL's: who this is."""
        if self.params["origin"] == "aggregator":
            self.run = fedsight.init(run_id=self.run_id, framework="OpenFL", **self.init)
        else:
            self.run = fedsight.join(self.run_id, self.params["origin"], **self.init)

    def on_round_begin(self, round_num, logs=None):
        """A collaborator's too: its own updates are then for this round."""
        self.run.round_start(round_num)

    def on_round_end(self, round_num, logs=None):
        """The round's metrics by name: aggregated ones at the aggregator, its own at a collaborator."""
        side = "global" if self.run.client_id is None else "local"
        figures = {}
        for name, value in (logs or {}).items():
            name = name.removeprefix(f"{self.params['origin']}/")
            names = {self.accuracy: f"{side}_accuracy", self.loss: f"{side}_loss"}
            figures[names.get(name, name)] = value
        if side == "global":
            self.run.log_round(round_num, **figures)
        else:
            self.run.log_client_update(round=round_num, **figures)

    def on_experiment_end(self, logs=None):
        """OpenFL may call it twice; the second time does nothing."""
        self.run.finish()
