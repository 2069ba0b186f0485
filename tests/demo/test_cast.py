import pytest

from fedsight.demo.cast import AWAY_FROM, AWAY_UNTIL, LINK_FAILS_IN, POISON_FROM, assign_parts
from fedsight.demo.cities import CITIES


def cast(num_clients=20, num_rounds=30, speed=1.0):
    return assign_parts(CITIES[:num_clients], list(range(100, 100 + num_clients)), num_rounds=num_rounds, speed=speed)


def one(parts, story):
    (part,) = [p for p in parts if story in p.story]
    return part


def test_five_clients_are_troubled_and_the_largest_is_healthy():
    parts = cast()
    assert sum(part.story != "healthy" for part in parts) == 5
    assert parts[-1].story == "healthy"


def test_a_run_of_the_usual_length_plays_the_rounds_as_written():
    parts = cast()
    assert one(parts, "poison").poison_from == POISON_FROM
    assert one(parts, "link").link_fails_in == LINK_FAILS_IN
    away = one(parts, "drops out")
    assert (away.away_from, away.away_until) == (AWAY_FROM, AWAY_UNTIL)


def test_a_shorter_run_tells_the_whole_story_too():
    parts = cast(num_rounds=6)
    away = one(parts, "drops out")
    assert 1 <= one(parts, "poison").poison_from <= 6
    assert 1 <= away.away_from < away.away_until <= 6
    assert all(1 <= r <= 6 for r in one(parts, "link").link_fails_in)


def test_speed_divides_the_waiting_and_nothing_else():
    for normal, fast in zip(cast(), cast(speed=10), strict=True):
        assert fast.pace_sec == pytest.approx(normal.pace_sec / 10)
        assert fast.epochs == normal.epochs


def test_a_cast_too_small_is_refused():
    with pytest.raises(ValueError, match="5 clients are too few: the demo's cast needs 6"):
        cast(num_clients=5)
