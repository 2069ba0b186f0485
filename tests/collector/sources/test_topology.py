"""Names of devices and ports, links from their directions, and what has gone."""

from __future__ import annotations

import pytest

from fedsight.collector.sources.topology import Direction, View, Watch, device_id, join, port_no

S1 = "of:0000000000000001"


@pytest.mark.parametrize("value", [1, "1", "0000000000000001", "0x1", "of:0000000000000001", "00:00:00:00:00:00:00:01"])
def test_every_form_of_a_datapath_id_is_one_name(value: object) -> None:
    assert device_id(value) == S1


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("0000cc37ab772c80", "of:0000cc37ab772c80"),
        ("OF:0000CC37AB772C80", "of:0000cc37ab772c80"),
        (2**64 - 1, "of:ffffffffffffffff"),
        (str(2**64 - 1), "of:ffffffffffffffff"),
        ("device:leaf1", "device:leaf1"),
        (str(2**64), str(2**64)),
    ],
)
def test_other_datapath_ids(value: object, name: str) -> None:
    assert device_id(value) == name


@pytest.mark.parametrize("value", [None, "", -1, 2**64, True, 1.0])
def test_what_can_be_no_datapath_id_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="datapath id"):
        device_id(value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (11, "11"),
        ("11", "11"),
        ("0000000b", "11"),
        ("[eth1](11)", "11"),
        ("LOCAL", "local"),
        ("local", "local"),
        (65534, "local"),
        ("fffffffe", "local"),
        ("h1", "h1"),
    ],
)
def test_every_form_of_a_port_is_one_name(value: object, name: str) -> None:
    assert port_no(value) == name


def test_one_direction_alone_is_a_link_that_says_so() -> None:
    (link,) = join([Direction(("b", "2"), ("a", "1"))]).values()
    assert link == {
        "id": "a/1-b/2",
        "src": {"device": "a", "port": "1"},
        "dst": {"device": "b", "port": "2"},
        "up": True,
        "one_way": True,
    }


def test_a_link_is_down_when_one_direction_is() -> None:
    (link,) = join([Direction(("a", "1"), ("b", "2")), Direction(("b", "2"), ("a", "1"), up=False)]).values()
    assert link["up"] is False
    assert "one_way" not in link


def test_what_has_gone_is_shown_as_down_and_forgotten_in_the_end() -> None:
    watch = Watch("net", forget_sec=60)
    both = View(devices={"a": {"id": "a"}, "b": {"id": "b"}})
    one = View(devices={"a": {"id": "a"}})
    watch.take(both, 0.0, 0.0)
    watch.take(one, 1.0, 10.0)
    assert watch.devices["b"]["up"] is False
    watch.take(one, 2.0, 69.0)
    assert "b" in watch.devices
    events = watch.take(one, 3.0, 71.0)
    assert [getattr(event, "event", "topology") for event in events] == ["device_forgotten", "topology"]
    assert watch.devices.keys() == {"a"}


def test_what_is_seen_later_is_new_not_back() -> None:
    watch = Watch("net", forget_sec=60)
    watch.take(View(devices={}), 0.0, 0.0)
    events = watch.take(View(devices={"a": {"id": "a"}}), 1.0, 1.0)
    assert [getattr(event, "event", "topology") for event in events] == ["device_added", "topology"]
