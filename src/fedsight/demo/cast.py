"""Who takes part in the demo, and who misbehaves how.

Nothing here is a made-up reading: each trait makes a client really behave so, and what the
dashboard shows is what the server and the clients then measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fedsight.demo.cities import City

NUM_TROUBLED = 5
MIN_CLIENTS = NUM_TROUBLED + 1

ROUNDS_OF_THE_STORY = 30
"""The rounds named below are those of a run of this length; others are scaled."""

POISON_FROM, AWAY_FROM, AWAY_UNTIL = 8, 12, 17
LINK_FAILS_IN = (4, 10, 11, 18, 25)


class Part(msgspec.Struct):
    """One client's part in the demo.

    `pace_sec` is how long its machine is busy with other work between two epochs. `asynchronous`
    clients are not waited for. `poison_factor` scales the update that it sends from round
    `poison_from` on; `away_from` is the round in which it leaves, to be back in `away_until`;
    in the rounds `link_fails_in` its connection breaks while it sends.
    """

    client_id: str
    city: City
    story: str = "healthy"
    epochs: int = 3
    pace_sec: float = 0.2
    asynchronous: bool = False
    poison_from: int | None = None
    poison_factor: float = -5.0
    away_from: int | None = None
    away_until: int | None = None
    link_fails_in: tuple[int, ...] = ()


def assign_parts(cities: Sequence[City], num_samples: Sequence[int], *, num_rounds: int, speed: float) -> list[Part]:
    """A part for each of `cities`, whose clients hold `num_samples`.

    The five troubled clients are chosen by how much data they hold, so that the poison has the
    weight to be seen. `speed` divides all waiting.
    """
    if len(cities) < MIN_CLIENTS:
        raise ValueError(f"{len(cities)} clients are too few: the demo's cast needs {MIN_CLIENTS}")

    def scaled(round_: int) -> int:
        return max(1, round(round_ * num_rounds / ROUNDS_OF_THE_STORY))

    parts = [Part(city.slug, city, pace_sec=(0.15 + 0.04 * (i % 6)) / speed) for i, city in enumerate(cities)]
    by_size = sorted(range(len(parts)), key=lambda i: num_samples[i], reverse=True)
    # The largest client stays healthy: one that fails or poisons with a seventh of all data tells another story.
    slow, away, flaky, lagging, poisoner = (parts[i] for i in by_size[1 : NUM_TROUBLED + 1])
    slow.story = "is slow"
    slow.epochs, slow.pace_sec = 8, 0.22 / speed
    away.story = "drops out and comes back"
    away.away_from = scaled(AWAY_FROM)
    away.away_until = max(scaled(AWAY_UNTIL), away.away_from + 1)
    flaky.story = "has a failing link"
    flaky.link_fails_in = tuple(sorted({scaled(r) for r in LINK_FAILS_IN}))
    lagging.story = "lags rounds behind"
    lagging.asynchronous, lagging.epochs, lagging.pace_sec = True, 4, 1.1 / speed
    poisoner.story = "sends poisoned updates"
    poisoner.poison_from = scaled(POISON_FROM)
    return parts
