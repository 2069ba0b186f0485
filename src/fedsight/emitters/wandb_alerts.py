"""Which dropouts and communication failures become W&B alerts: at most one a round and kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from fedsight.emitters.destination import Batch
from fedsight.events import ClientEvent, RoundEnd, RoundStart, RunEnd

Kind = Literal["dropout", "comm_failure"]

_MOST_NAMED = 20
_LONGEST_REASON = 200
_MOST_REMEMBERED = 1000


class Alert(msgspec.Struct):
    """Who had trouble of one kind in one round. `clients` names the first twenty, with the reason."""

    kind: Kind
    round: int | None
    clients: list[str] = []
    num_clients: int = 0

    @property
    def title(self) -> str:
        """The same for all of a kind: by its title W&B tells alerts that come too often."""
        return "Client dropout" if self.kind == "dropout" else "Communication failure"

    @property
    def level(self) -> Literal["WARN", "ERROR"]:
        """How bad."""
        return "WARN" if self.kind == "dropout" else "ERROR"

    def text(self, run_id: str) -> str:
        """Who, where and when."""
        more = self.num_clients - len(self.clients)
        named = ", ".join(self.clients) + (f" and {more} more" if more else "")
        placed = "" if self.round is None else f", round {self.round}"
        return f"{run_id}{placed}: {named}"


class Alerts(msgspec.Struct):
    """What is to be told yet. It has a JSON form, to be kept over restarts.

    An alert waits for its round's end (or the next round, or the run's end), so that it names all
    clients; a round that has told is silent from then on.
    """

    held: list[Alert] = []
    told: list[tuple[Kind, int | None]] = []
    ended: int = -1

    def after(self, batch: Batch) -> tuple[Alerts, list[Alert]]:
        """The state after `batch`, and what is to be told now. Leaves this one as it is."""
        new = msgspec.convert(msgspec.to_builtins(self), Alerts)
        is_over = batch.run.client_id is not None  # a site's own journal has no rounds that end
        for line in batch.lines:
            event = line.event
            if isinstance(event, ClientEvent):
                _hold(new, event)
            elif isinstance(event, RoundEnd):
                new.ended = max(new.ended, event.round)
            elif isinstance(event, RoundStart):
                new.ended = max(new.ended, event.round - 1)
            elif isinstance(event, RunEnd):
                is_over = True
        ready = [each for each in new.held if is_over or each.round is None or each.round <= new.ended]
        new.held = [each for each in new.held if each not in ready]
        new.told = (new.told + [(each.kind, each.round) for each in ready])[-_MOST_REMEMBERED:]
        return new, ready


def _hold(alerts: Alerts, event: ClientEvent) -> None:
    if event.event not in ("dropout", "comm_failure") or (event.event, event.round) in alerts.told:
        return
    alert = _find(alerts.held, event.event, event.round)
    if alert is None:
        alert = Alert(event.event, event.round)
        alerts.held.append(alert)
    named = event.client_id if event.reason is None else f"{event.client_id} ({event.reason[:_LONGEST_REASON]})"
    if named in alert.clients:
        return
    alert.num_clients += 1
    if len(alert.clients) < _MOST_NAMED:
        alert.clients.append(named)


def _find(held: Sequence[Alert], kind: Kind, round_: int | None) -> Alert | None:
    return next((each for each in held if (each.kind, each.round) == (kind, round_)), None)
