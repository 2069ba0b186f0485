"""A training as Fedsight records it: what the strategy's hooks and the grid tell becomes a run's events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from fedsight.integrations.flower.figures import SHORT, OpenPhase, OpenRound, of_reply, of_round
from fedsight.integrations.flower.guard import Guard
from fedsight.integrations.flower.metric_names import of_round as own_round_figures
from fedsight.integrations.flower.metric_names import recordable
from fedsight.integrations.flower.names import ClientNames
from fedsight.integrations.flower.replies import NO_REPLY, Failure, Phase, Reply
from fedsight.integrations.flower.watchdog import Level, Watchdog
from fedsight.run import Run

_NAMED_AT_MOST = 5


class Rounds:
    """The rounds of one training. Calls may come from several threads.

    weight_key: the metric that is the number of samples. num_wanted: how few clients the strategy
    goes on with in a phase, where that is known. waiting_after_sec: as of `watch`.
    """

    def __init__(
        self,
        run: Run,
        guard: Guard,
        *,
        weight_key: str,
        num_wanted: Callable[[Phase], int | None],
        waiting_after_sec: float,
    ) -> None:
        self.run = run
        self.num_available: Callable[[], int | None] = lambda: None
        self._guard = guard
        self._weight_key = weight_key
        self._num_wanted = num_wanted
        self._names = ClientNames()
        self._lock = threading.RLock()
        self._watchdog = Watchdog(waiting_after_sec, self._say, self._lock)
        self._open: OpenPhase | None = None
        self._round: OpenRound | None = None
        self._node_of: dict[str, str] = {}

    def prepare(self) -> None:
        """The training begins; before the first round there may be initial parameters to fetch, and a model to evaluate."""
        self._watchdog.expect(
            lambda: "The first round has not begun: initial parameters, or the server's evaluation", "info"
        )

    # ── one phase ─────────────────────────────────────────────────────────────────────────────

    def configure(self, phase: Phase, number: int) -> None:
        """The strategy is about to choose clients, and may wait for enough of them."""
        with self._lock:
            if self._round is not None and self._round.number != number:
                self.close()
            if self._round is None:
                self._round = OpenRound(number)
            self._open = OpenPhase(phase, number, time.monotonic())
            self._watchdog.expect(self._waiting_for_clients, "warning")

    def send(self, bytes_down: Mapping[str, int | None]) -> None:
        """The strategy has chosen its clients. bytes_down: node → bytes of the records for it."""
        with self._lock:
            if (phase := self._open) is None or (round_ := self._round) is None:
                return
            phase.sent_sec = time.monotonic()
            phase.bytes_down = dict(bytes_down)
            self._node_of.clear()
            short = SHORT[phase.phase]
            round_.figures[f"{short}_configure_sec"] = phase.sent_sec - phase.asked_sec
            round_.figures["num_available"] = self.num_available()
            if phase.phase == "train":
                round_.asked_to_train = set(bytes_down)
            elif bytes_down:
                round_.figures["eval_num_selected"] = len(bytes_down)
            if bytes_down and not round_.is_started:
                round_.is_started = True
                self.run.round_start(phase.round, [self._names.of(node) for node in bytes_down])
            if bytes_down:
                self._watchdog.expect(self._waiting_for_replies, "info", learns=True)
            else:
                self._watchdog.idle()

    def pushed(self, message_id: str, node: str) -> None:
        """A message is on its way: a reply names it, an error reply by that alone (its sender is the SuperLink)."""
        with self._lock:
            self._node_of[message_id] = node

    def node_of(self, message: Any) -> str:
        """The node whose reply, or whose failure, a message is."""
        metadata = message.metadata
        return self._node_of.get(metadata.reply_to_message_id) or str(metadata.src_node_id)

    def is_awaited(self, node: str) -> bool:
        """The node was asked in this phase and has not answered."""
        return self._open is not None and node in self._open.bytes_down and node not in self._open.replied

    def reply(self, reply: Reply) -> None:
        """A client answered."""
        with self._lock:
            if (phase := self._open) is None or (round_ := self._round) is None or not self.is_awaited(reply.node):
                return
            phase.replied.add(reply.node)
            if name := reply.report.get("name"):
                self._names.learn(reply.node, name, phase.bytes_down)
            reply_sec = time.monotonic() - phase.sent_sec
            if reply.failure is None or not reply.failure.is_unreachable:
                round_.add_received(reply.node, phase.bytes_down[reply.node])
            if reply.failure is not None:
                self._failed(phase, round_, reply.node, reply.failure, reply_sec)
            else:
                self._answered(phase, round_, reply, reply_sec)
            self._watchdog.progress()

    def aggregate(self) -> None:
        """What is in is in: who has not answered is missing."""
        with self._lock:
            if (phase := self._open) is None or (round_ := self._round) is None:
                return
            self._watchdog.idle()
            short, waited_sec = SHORT[phase.phase], time.monotonic() - phase.sent_sec
            failure = Failure(None, NO_REPLY, f"nothing came within {waited_sec:.1f} s")
            for node in phase.bytes_down:
                if node not in phase.replied:
                    self._failed(phase, round_, node, failure, None)
            if phase.bytes_down:
                round_.figures[f"{short}_phase_sec"] = waited_sec
                round_.figures[f"{short}_bytes_up"] = phase.bytes_up
                known = [each for each in phase.bytes_down.values() if each is not None]
                round_.figures[f"{short}_bytes_down"] = sum(known) if known else None

    def aggregated(self, metrics: Mapping[str, Any] | None, took_sec: float) -> None:
        """The strategy has aggregated the phase's replies, to `metrics` where there are any."""
        metrics = recordable(metrics or {})
        with self._lock:
            if (phase := self._open) is None or (round_ := self._round) is None:
                return
            self._open = None
            if phase.phase == "train":
                if phase.bytes_down:
                    round_.figures["aggregation_time_sec"] = took_sec
                round_.figures.update(own_round_figures(metrics))
            else:
                if phase.bytes_down:
                    round_.figures["eval_aggregation_sec"] = took_sec
                round_.evaluated = metrics

    def server_evaluated(self, number: int, metrics: Mapping[str, Any] | None, took_sec: float) -> None:
        """The server has evaluated the global model itself; round 0 is the model before any training."""
        with self._lock:
            if self._round is not None and self._round.number != number:
                self.close()
            if metrics is None:
                return
            if self._round is None:
                self._round = OpenRound(number)
            self._round.server_evaluated = recordable(metrics)
            self._round.figures["server_eval_sec"] = took_sec

    # ── a round, and all of them ──────────────────────────────────────────────────────────────

    def close(self) -> None:
        """The round is over, with the global accuracy and loss that the server found, or else the clients together."""
        with self._lock:
            round_, self._round, self._open = self._round, None, None
            if round_ is None:
                return
            self.run.log_round(round_.number, **of_round(round_))

    def end(self, *, is_failed: bool) -> None:
        """The training is over. A round that it failed in is closed only if it has figures that would be lost."""
        with self._lock:
            self._watchdog.stop()
            self._watchdog.idle()
            round_ = self._round
            if round_ is not None and (not is_failed or "aggregation_time_sec" in round_.figures):
                self.close()
            if self._guard.num_errors:
                message = (
                    f"{self._guard.num_errors} times something was not recorded; the last: {self._guard.last_error}"
                )
                self.run.log_event("flower", "errors", message, level="error")

    # ── what is recorded of a client ──────────────────────────────────────────────────────────

    def _answered(self, phase: OpenPhase, round_: OpenRound, reply: Reply, reply_sec: float) -> None:
        phase.bytes_up += reply.bytes_up or 0
        round_.add_sent(reply.node, reply.bytes_up)
        self._update(phase, round_, reply.node, of_reply(phase, round_, reply, reply_sec, self._weight_key))
        if phase.phase == "train":
            round_.trained.add(reply.node)

    def _failed(
        self, phase: OpenPhase, round_: OpenRound, node: str, failure: Failure, reply_sec: float | None
    ) -> None:
        client, reason = self._names.of(node), f"{phase.phase}: {failure}"
        if phase.phase == "train":
            status = "failed" if failure.is_unreachable else "dropped"
            self._update(
                phase, round_, node, {"status": status, "train_reply_sec": reply_sec, "error_code": failure.code}
            )
        if failure.is_unreachable:
            self.run.log_comm_failure(phase.round, client, reason)
        else:
            self.run.log_dropout(phase.round, client, reason)

    def _update(self, phase: OpenPhase, round_: OpenRound, node: str, fields: dict[str, Any]) -> None:
        client = self._names.of(node)
        fields["bytes_sent"], fields["bytes_received"] = round_.sent.get(node), round_.received.get(node)
        if client != node:
            fields["node_id"] = node
        if self.run.is_anonymous:
            fields.pop("node_id", None)
            fields.pop("partition_id", None)
        self.run.log_client_update(client, phase.round, **fields)

    # ── what the watchdog says ────────────────────────────────────────────────────────────────

    def _waiting_for_clients(self) -> str:
        assert self._open is not None
        connected, wanted = self.num_available(), self._num_wanted(self._open.phase)
        said = "" if connected is None else f": {connected} connected"
        if wanted is not None:
            said += f"{',' if said else ':'} it wants at least {wanted}"
        return f"Round {self._open.round}, {self._open.phase}: the strategy has not chosen its clients yet{said}"

    def _waiting_for_replies(self) -> str:
        phase = self._open
        assert phase is not None
        missing = [node for node in phase.bytes_down if node not in phase.replied]
        shown = ", ".join(self.run.recorded_name(self._names.of(node)) for node in missing[:_NAMED_AT_MOST])
        more = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        return (
            f"Round {phase.round}, {phase.phase}: {len(phase.replied)} of {len(phase.bytes_down)} clients have answered; "
            f"not yet: {shown}{more}"
        )

    def _say(self, event: str, message: str, level: Level, waiting_sec: float) -> None:
        with self._guard("recording that the training waits"):
            extra: dict[str, Any] = {"waiting_sec": waiting_sec}
            if self._open is not None:
                extra |= {"round": self._open.round, "phase": self._open.phase}
            self.run.log_event("flower", event, message, level=level, **extra)
