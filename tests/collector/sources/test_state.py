"""A source's state at a moment."""

import time

from fedsight.collector.sources.state import SourceStatus


def status(last_success_ago_sec: float | None, state: str) -> SourceStatus:
    at = None if last_success_ago_sec is None else time.time() - last_success_ago_sec
    return SourceStatus(
        name="s",
        kind="k",
        url="u",
        interval_sec=5,
        timeout_sec=4,
        state=state,
        since=1.0,
        last_success_at=at,  # type: ignore[arg-type]
    )


def test_a_source_without_news_for_three_intervals_is_stale_since_then() -> None:
    found = status(60, "up").now()
    assert found.state == "stale"
    assert found.since is not None
    assert found.since > 1.0


def test_a_source_that_answered_lately_is_up() -> None:
    assert status(10, "up").now().state == "up"


def test_a_failing_source_is_down_however_old_its_news() -> None:
    assert status(60, "down").now().state == "down"
    assert status(None, "starting").now().state == "starting"


def test_what_is_handed_out_does_not_change_any_more() -> None:
    held = status(1, "up")
    handed_out = held.now()
    held.durations_sec.append(1.0)
    held.num_cycles += 1
    assert (list(handed_out.durations_sec), handed_out.num_cycles) == ([], 0)
