"""The last known value of everything a client says, kept up to date one batch at a time.

Of two values the newer one wins: the one of the higher round, within a round the server's over
the site's, then the one that arrived later. So the order in which journals arrive does not matter. A
value's *rank* is `4·round + 1 (site) or 2 (server)`; a status that was not said ("active", as there was an
update) ranks `4·round`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter

from fedsight.events import ClientEvent, ClientUpdate
from fedsight.store.memory import LOWEST_ROUND, ClientState

STATUS_AFTER = {"dropout": "dropped", "comm_failure": "failed", "joined": "joined", "left": "left"}

_get_ts = attrgetter("ts")
_LOWEST_RANK = 4 * LOWEST_ROUND - 1


def learn(
    client: ClientState,
    items: Sequence[ClientUpdate | ClientEvent],
    source: int,
    fields: Sequence[str],
    metrics: Collection[str],
) -> None:
    """Take in what one journal said of one client, in the order in which it was said.

    `fields` and `metrics` name what has a value anywhere in the batch, so that nothing else is looked for.
    """
    updates = [item for item in items if type(item) is ClientUpdate]
    newest_first = sorted(updates, key=_round_of)[::-1] if len(updates) > 1 else updates
    _learn_values(client, newest_first, source, fields, metrics)
    if len(updates) == len(items):
        top = _round_of(newest_first[0])
        tail = 1
        while tail < len(newest_first) and _round_of(newest_first[tail]) == top:
            tail += 1
        _learn_status(client, newest_first[tail - 1 :: -1], source)
    else:
        _learn_status(client, items, source)
    last_seen = latest(map(_get_ts, items))
    if last_seen is not None and (client.last_seen is None or last_seen > client.last_seen):
        client.last_seen = last_seen
    if (
        updates
        and (last := newest_first[0].round) is not None
        and (client.last_round is None or last > client.last_round)
    ):
        client.last_round = last


def latest(times: Iterable[float]) -> float | None:
    """The greatest of them that is finite, None where none is."""
    every = list(times)
    greatest = max(every, default=math.nan)
    if math.isfinite(greatest):  # a NaN that is not the first never wins
        return greatest
    return max(filter(math.isfinite, every), default=None)


def _round_of(item: ClientUpdate | ClientEvent) -> int:
    return LOWEST_ROUND if item.round is None else item.round


def _learn_values(
    client: ClientState,
    newest_first: Sequence[ClientUpdate],
    source: int,
    fields: Sequence[str],
    metrics: Collection[str],
) -> None:
    ranks, values = client.marks.fields, client.values
    wanted, wanted_metrics = fields, set(metrics)
    for update in newest_first:
        rank = 4 * _round_of(update) + 1 + source
        missing = []
        for name in wanted:
            value = getattr(update, name)
            if value is None:
                missing.append(name)
            elif ranks.get(name, _LOWEST_RANK) <= rank:
                ranks[name] = rank
                values[name] = value
                if name == "base_round":
                    values["staleness"] = update.staleness
        wanted = missing
        if wanted_metrics and update.metrics:
            for name, number in update.metrics.items():
                if name in wanted_metrics:
                    wanted_metrics.discard(name)
                    if client.marks.metrics.get(name, _LOWEST_RANK) <= rank:
                        client.marks.metrics[name] = rank
                        client.metrics[name] = number
        if not wanted and not wanted_metrics:
            break


def _learn_status(client: ClientState, items: Sequence[ClientUpdate | ClientEvent], source: int) -> None:
    for item in items:
        base = 4 * _round_of(item)
        if isinstance(item, ClientEvent):
            status = STATUS_AFTER[item.event]
            # Without a round it is news of now.
            rank = max(base, client.marks.status) if item.round is None else base + 1 + source
        elif item.status is not None:
            status, rank = item.status, base + 1 + source
        else:
            status, rank = "active", base
        if rank >= client.marks.status:
            client.marks.status, client.status = rank, status
