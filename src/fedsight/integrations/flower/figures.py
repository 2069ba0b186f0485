"""What is known of the phase and the round that go on, and the figures that it comes to, under the names of the recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fedsight.integrations.flower import metric_names
from fedsight.integrations.flower.replies import Phase, Reply

SHORT: dict[Phase, str] = {"train": "train", "evaluate": "eval"}
"""How the names of a phase's figures begin."""


@dataclass
class OpenPhase:
    """The phase that goes on. Times are of the monotonic clock; bytes_down: node → bytes of the records for it."""

    phase: Phase
    round: int
    asked_sec: float
    sent_sec: float = 0.0
    bytes_down: dict[str, int | None] = field(default_factory=dict)
    bytes_up: int = 0
    replied: set[str] = field(default_factory=set)


@dataclass
class OpenRound:
    """The round that goes on. sent, received: bytes of both phases, by node."""

    number: int
    is_started: bool = False
    trained: set[str] = field(default_factory=set)
    asked_to_train: set[str] = field(default_factory=set)
    sent: dict[str, int] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    evaluated: dict[str, Any] = field(default_factory=dict)
    server_evaluated: dict[str, Any] = field(default_factory=dict)

    def add_sent(self, node: str, num_bytes: int | None) -> None:
        """`node` has sent so much more in this round."""
        _add(self.sent, node, num_bytes)

    def add_received(self, node: str, num_bytes: int | None) -> None:
        """`node` has received so much more in this round."""
        _add(self.received, node, num_bytes)


def of_reply(phase: OpenPhase, round_: OpenRound, reply: Reply, reply_sec: float, weight_key: str) -> dict[str, Any]:
    """Fields of the update that a client's reply is.

    reply_sec: from the sending of the messages to the reply's arrival. weight_key: the metric that is the number of samples.
    """
    own = metric_names.recordable(reply.metrics)
    fields: dict[str, Any] = {}
    num_samples, report = own.pop(weight_key, None), reply.report
    if phase.phase == "train":
        fields.update(status="active", num_samples=num_samples)
        for kind in ("accuracy", "loss"):
            if (name := metric_names.find(own, kind, "train")) is not None:
                fields[f"local_{kind}"] = own.pop(name)
        fields.update(train_time_sec=report.get("wall_sec"), train_cpu_sec=report.get("cpu_sec"))
        own = metric_names.of_update(own)
    else:
        fields.update(status=_status_in_evaluation(round_, reply.node), eval_num_samples=num_samples)
        fields.update(eval_time_sec=report.get("wall_sec"), eval_cpu_sec=report.get("cpu_sec"))
        own = metric_names.of_update(metric_names.of_evaluation(own))
    if phase.phase == "train" or reply.node not in round_.trained:
        fields["ram_mb"] = report.get("ram_mb")
        if report.get("wall_sec"):
            fields["cpu_pct"] = 100 * report["cpu_sec"] / report["wall_sec"]
    fields[f"{SHORT[phase.phase]}_reply_sec"] = reply_sec
    fields["partition_id"] = report.get("partition_id")
    # What isn't known must not hide what the application itself said.
    return {**own, **{name: value for name, value in fields.items() if value is not None}}


def _status_in_evaluation(round_: OpenRound, node: str) -> str | None:
    """A client that was not asked to train is idle in this round; of others it is said already."""
    return "idle" if round_.asked_to_train and node not in round_.asked_to_train else None


def of_round(round_: OpenRound) -> dict[str, Any]:
    """Figures of a round that is over.

    The global accuracy and loss are those that the server found where it evaluates, else those of the clients together.
    """
    figures = {**round_.figures, **metric_names.of_round(metric_names.of_evaluation(round_.evaluated))}
    server = dict(round_.server_evaluated)
    for kind in ("accuracy", "loss"):
        if (name := metric_names.find(server, kind, "evaluate")) is not None:
            figures[f"global_{kind}"] = server.pop(name)
        elif (name := metric_names.find(round_.evaluated, kind, "evaluate")) is not None:
            figures.setdefault(f"global_{kind}", round_.evaluated[name])
    figures.update(metric_names.of_round(metric_names.of_server(server)))
    for way in ("up", "down"):
        phases = [figures.get(f"{short}_bytes_{way}") for short in SHORT.values()]
        known = [num_bytes for num_bytes in phases if num_bytes is not None]
        if known:
            figures[f"total_bytes_{way}"] = sum(known)
    return figures


def _add(totals: dict[str, int], node: str, num_bytes: int | None) -> None:
    if num_bytes is not None:
        totals[node] = totals.get(node, 0) + num_bytes
