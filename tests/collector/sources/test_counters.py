"""Counters and rates: nothing is invented, nothing is negative, nothing is rounded away."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsight.collector.sources.counters import RateMeter, count, seconds


@pytest.mark.parametrize(
    "value", [2**64 - 1, str(2**64 - 1), float(2**64), -1, "-1", "?", "", None, math.nan, math.inf, True, []]
)
def test_a_counter_that_the_device_does_not_keep_is_none(value: object) -> None:
    assert count(value) is None


@pytest.mark.parametrize("value", [0, 1, 2**53 + 1, 2**64 - 2])
def test_a_counter_is_exact_as_number_and_as_text(value: int) -> None:
    assert count(value) == value
    assert count(str(value)) == value


def test_a_prometheus_float_is_a_counter() -> None:
    assert count("1.3163658e+07") == 13163658
    assert count(1328.0) == 1328


def test_a_duration_is_seconds_and_nanoseconds_and_none_where_the_device_says_0() -> None:
    assert seconds(60, 339000000) == pytest.approx(60.339)
    assert seconds(0) is None
    assert seconds(None) is None


def test_the_first_reading_gives_no_rate() -> None:
    assert RateMeter().take("p", {"bytes": 10}, 0.0) is None


def test_the_devices_own_duration_beats_the_polls_clock() -> None:
    meter = RateMeter()
    meter.take("p", {"bytes": 1594}, 100.0, 60.339)
    rates = meter.take("p", {"bytes": 13163658}, 110.0, 65.411)
    assert rates is not None
    assert rates.interval_sec == pytest.approx(5.072)
    assert rates.per_sec["bytes"] * 8 / 1e6 == pytest.approx(20.76, abs=0.01)


def test_a_rate_beyond_2_to_53_is_exact() -> None:
    meter = RateMeter()
    meter.take("p", {"bytes": 2**60 + 1}, 0.0)
    rates = meter.take("p", {"bytes": 2**60 + 4}, 1.0)
    assert rates is not None
    assert rates.per_sec == {"bytes": 3.0}


def test_a_duration_that_falls_is_a_reset_even_where_the_counter_has_grown() -> None:
    meter = RateMeter()
    meter.take("p", {"bytes": 100}, 0.0, 50.0)
    assert meter.take("p", {"bytes": 5000}, 5.0, 3.0) is None
    rates = meter.take("p", {"bytes": 5500}, 10.0, 8.0)
    assert rates is not None
    assert rates.per_sec == {"bytes": 100.0}


def test_a_counter_that_falls_has_no_rate_and_harms_no_other() -> None:
    meter = RateMeter()
    meter.take("p", {"rx": 100, "tx": 100}, 0.0)
    rates = meter.take("p", {"rx": 7, "tx": 200}, 10.0)
    assert rates is not None
    assert rates.per_sec == {"tx": 10.0}


def test_after_all_counters_fell_rates_go_on_from_the_new_reading() -> None:
    meter = RateMeter(window_sec=60)
    meter.take("p", {"rx": 100}, 0.0)
    assert meter.take("p", {"rx": 0}, 10.0) is None
    rates = meter.take("p", {"rx": 50}, 20.0)
    assert rates is not None
    assert rates.per_sec == {"rx": 5.0}


def test_a_32_bit_counter_wraps_only_where_that_was_declared() -> None:
    narrow = RateMeter(is_narrow=True)
    narrow.take("p", {"rx": 2**32 - 100}, 0.0)
    rates = narrow.take("p", {"rx": 100}, 10.0)
    assert rates is not None
    assert rates.per_sec == {"rx": 20.0}
    wide = RateMeter()
    wide.take("p", {"rx": 2**32 - 100}, 0.0)
    assert wide.take("p", {"rx": 100}, 10.0) is None


def test_an_unsupported_counter_has_no_rate() -> None:
    meter = RateMeter()
    meter.take("p", {"rx": None, "tx": 0}, 0.0)
    rates = meter.take("p", {"rx": 5, "tx": 10}, 1.0)
    assert rates is not None
    assert rates.per_sec == {"tx": 10.0}


def test_the_same_reading_again_is_no_standstill() -> None:
    meter = RateMeter()
    meter.take("p", {"rx": 0}, 0.0, 100.0)
    assert meter.take("p", {"rx": 0}, 1.0, 100.0) is None
    slow = RateMeter(refresh_sec=5.0)
    slow.take("p", {"rx": 10}, 0.0)
    assert slow.take("p", {"rx": 10}, 2.0) is None
    rates = slow.take("p", {"rx": 60}, 5.0)
    assert rates is not None
    assert rates.per_sec == {"rx": 10.0}


def test_idle_longer_than_the_refresh_is_standstill() -> None:
    meter = RateMeter(refresh_sec=5.0)
    meter.take("p", {"rx": 10}, 0.0)
    rates = meter.take("p", {"rx": 10}, 6.0)
    assert rates is not None
    assert rates.per_sec == {"rx": 0.0}


def test_a_window_evens_out_coarse_clocks() -> None:
    meter = RateMeter(window_sec=20)
    for second, received in [(0, 0), (4, 500), (10, 1000), (14, 1500), (20, 2000)]:
        rates = meter.take("p", {"rx": received}, float(second))
    assert rates is not None
    assert rates.interval_sec == 20
    assert rates.per_sec == {"rx": 100.0}


def test_what_has_gone_and_comes_back_starts_anew() -> None:
    meter = RateMeter()
    meter.take("p", {"rx": 0}, 0.0)
    meter.keep_only(set())
    assert meter.take("p", {"rx": 100}, 10.0) is None


@given(st.lists(st.tuples(st.integers(0, 2**64), st.floats(0, 1e6)), max_size=20), st.floats(0, 100))
def test_no_rate_is_ever_negative(readings: list[tuple[int, float]], window_sec: float) -> None:
    meter = RateMeter(window_sec=window_sec)
    for now, (value, duration) in enumerate(readings):
        rates = meter.take("p", {"rx": count(value)}, float(now), duration)
        assert rates is None or all(rate >= 0 for rate in rates.per_sec.values())
