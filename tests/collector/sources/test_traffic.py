"""Whose traffic it is: shares of flow bytes, by configured matches."""

from __future__ import annotations

import pytest

from fedsight.collector.sources.traffic import Flow, Matches, TrafficSplit, priority_classes

FL = Matches.of((9092,), ("10.0.0.0/24", "2001:db8::/32", "02:00:00:00:00:0A"), "fl_addresses")
CONTROL = Matches.of((6653,), (), "control_addresses")
NONE = Matches.of((), (), "")


def flow(name: str = "f", counted: int | None = 0, **facts: object) -> Flow:
    return Flow("of:1", name, 1, counted, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"ports": [9092]}, "fl"),
        ({"addresses": ["10.0.0.7"]}, "fl"),
        ({"addresses": ["10.0.0.0/255.255.255.128"]}, "fl"),
        ({"addresses": ["2001:db8::1/128"]}, "fl"),
        ({"addresses": ["02:00:00:00:00:0a"]}, "fl"),
        ({"addresses": ["10.0.0.0/16"]}, "background"),
        ({"addresses": ["10.0.1.7"]}, "background"),
        ({"addresses": ["no address"]}, "background"),
        ({"ports": [6653]}, "control"),
        ({"to_controller": True}, "control"),
        ({"ethertype": 0x88CC}, "control"),
        ({"to_controller": True, "ports": [9092]}, "fl"),
        ({}, "background"),
    ],
)
def test_a_flow_is_of_the_kind_that_its_match_names(facts: dict[str, object], kind: str) -> None:
    assert TrafficSplit(FL, CONTROL).kind(flow(**facts)) == kind


def test_shares_are_of_what_came_since_the_last_time() -> None:
    split = TrafficSplit(FL, CONTROL)
    assert split.take([flow("a", 1000, ports=[9092]), flow("b", 500)], 0.0) == {}
    shares = split.take([flow("a", 1300, ports=[9092]), flow("b", 600)], 5.0)
    assert shares == {"fl_traffic_percentage": 75, "control_traffic_percentage": 0, "background_traffic_percentage": 25}


def test_without_fls_matches_or_traffic_there_are_no_shares() -> None:
    silent = TrafficSplit(NONE, CONTROL)
    silent.take([flow("a", 0)], 0.0)
    assert silent.take([flow("a", 100)], 5.0) == {}
    idle = TrafficSplit(FL, CONTROL)
    idle.take([flow("a", 100)], 0.0)
    assert idle.take([flow("a", 100)], 5.0) == {}


def test_a_flow_that_is_new_counts_whole_and_an_old_one_seen_late_does_not() -> None:
    split = TrafficSplit(FL, CONTROL)
    split.take([], 0.0)
    shares = split.take(
        [flow("new", 100, age_sec=3.0, ports=[9092]), flow("old", 10**9, age_sec=500.0), flow("unknown", None)], 5.0
    )
    assert shares["fl_traffic_percentage"] == 100


def test_a_flow_installed_again_counts_from_0() -> None:
    split = TrafficSplit(FL, CONTROL)
    split.take([flow("a", 1000, age_sec=100.0, ports=[9092]), flow("b", 0)], 0.0)
    shares = split.take([flow("a", 50, age_sec=2.0, ports=[9092]), flow("b", 50)], 5.0)
    assert shares["fl_traffic_percentage"] == 50


def test_priorities_fall_into_three_classes() -> None:
    flows = [Flow("d", str(p), p, 0) for p in (0, 99, 100, 39999, 40000, 65535)]
    assert priority_classes(flows, 40000, 100) == {
        "high_priority_flows": 2,
        "medium_priority_flows": 2,
        "low_priority_flows": 2,
    }
