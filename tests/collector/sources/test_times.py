"""Times and numbers as other systems write them."""

from typing import Any

import pytest

from fedsight.collector.sources.times import epoch_sec, number, numbers_in, whole


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (1_750_000_000, 1_750_000_000.0),
        ("1750000000.5", 1_750_000_000.5),
        (1_750_000_000_250, 1_750_000_000.25),
        (1_750_000_000_250_000, 1_750_000_000.25),
        (1_750_000_000_250_000_000, 1_750_000_000.25),
        ("2025-06-15T15:06:40Z", 1_750_000_000.0),
        ("2025-06-15T15:06:40+00:00", 1_750_000_000.0),
        ("2025-06-15T17:06:40.250000+02:00", 1_750_000_000.25),
        ("2025-06-15T15:06:40", 1_750_000_000.0),
        (0, 0.0),
        (None, None),
        (True, None),
        ("soon", None),
        (float("nan"), None),
        ({}, None),
        (10**400, None),
    ],
)
def test_times(written: Any, meant: float | None) -> None:
    found = epoch_sec(written)
    assert found == (None if meant is None else pytest.approx(meant, abs=1e-6))


@pytest.mark.parametrize(
    ("written", "meant"), [(3, 3), (3.0, 3), ("3", 3), (3.5, None), (True, None), (1e300, None), (float("inf"), None)]
)
def test_whole_numbers(written: Any, meant: int | None) -> None:
    assert whole(written) == meant


def test_numbers() -> None:
    assert number("0.5") == 0.5
    assert number("NaN") != number("NaN")
    assert number("x") is None
    assert numbers_in({"a": 1, "b": True, "c": "1", "d": None, "e": {}, "f": 2.5, "g": 10**400}) == {"a": 1.0, "f": 2.5}
    assert numbers_in([1]) == {}
