"""When readings are due."""

from __future__ import annotations

import pytest

from fedsight.monitor.clock import Schedule


def test_readings_are_due_at_whole_intervals_however_late_each_was() -> None:
    schedule = Schedule(1.0, start_sec=100.0)
    assert schedule.wait_sec(100.25) == pytest.approx(0.75)
    assert not schedule.is_due(100.9)
    assert schedule.is_due(101.4)
    assert schedule.wait_sec(101.4) == pytest.approx(0.6)
    assert schedule.num_missed == 0


def test_readings_that_were_slept_through_are_skipped_and_counted() -> None:
    schedule = Schedule(1.0, start_sec=100.0)
    assert schedule.is_due(104.5)
    assert schedule.num_missed == 3
    assert schedule.wait_sec(104.5) == pytest.approx(0.5)


def test_a_reading_that_is_overdue_is_due_now() -> None:
    assert Schedule(1.0, start_sec=100.0).wait_sec(250.0) == 0.0
