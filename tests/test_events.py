"""What goes into a journal line comes out of it, whatever it is."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsight.events import (
    EVENT_TYPES,
    ClientUpdate,
    Log,
    Metric,
    RoundEnd,
    RunStart,
    Text,
    UnknownEvent,
    decode,
    decode_block,
    encode,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=True, allow_infinity=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
updates = st.builds(
    ClientUpdate,
    ts=st.floats(0, 4e9),
    client_id=texts,
    round=st.none() | st.integers(0, 10**6),
    base_round=st.none() | st.integers(0, 10**6),
    local_accuracy=st.none() | numbers,
    local_loss=st.none() | numbers,
    bytes_sent=st.none() | numbers,
    city=st.none() | texts,
    metrics=st.none() | st.dictionaries(texts, numbers, max_size=4),
    extra=st.none() | st.dictionaries(texts, json_values, max_size=4),
)


def same(a: Any, b: Any) -> bool:
    """Equal, where NaN is NaN."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return (math.isnan(a) and math.isnan(b)) or a == b
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, msgspec.Struct):
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in a.__struct_fields__)
    return bool(a == b)


@given(updates)
def test_an_update_survives_the_round_trip_whatever_it_holds(update: ClientUpdate) -> None:
    line = encode(update)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert same(decode(line), update)


@given(st.lists(updates, max_size=5), st.integers(0, 10**9))
def test_a_block_decodes_to_its_lines_and_their_offsets(events: list[ClientUpdate], start: int) -> None:
    lines = [encode(event) for event in events]
    block = decode_block(b"".join(lines), start)
    assert same(list(block.events), events)
    assert block.bad == []
    assert list(block.offsets()) == [start + sum(map(len, lines[:i])) for i in range(len(lines))]
    assert block.end == start + sum(map(len, lines))


@given(st.binary(max_size=60).filter(lambda data: b"\n" not in data))
def test_a_line_of_rubbish_costs_only_itself(rubbish: bytes) -> None:
    before, after = encode(Text(ts=1.0, text="a")), encode(Text(ts=2.0, text="b"))
    block = decode_block(before + rubbish + b"\n" + after, 0)
    assert block.events[0] == Text(ts=1.0, text="a")
    assert block.events[-1] == Text(ts=2.0, text="b")
    assert len(block.events) == 3
    assert [bad.offset for bad in block.bad] == ([len(before)] if block.events[1] is None else [])


def test_missing_is_absent_and_not_a_number_is_a_string_in_the_file() -> None:
    line = encode(ClientUpdate(ts=1.0, client_id="a", local_loss=math.nan, metrics={"auc": -math.inf}))
    assert line == (
        b'{"kind":"client_update","client_id":"a","local_loss":"NaN","metrics":{"auc":"-Infinity"},"ts":1.0}\n'
    )


def test_a_text_that_reads_nan_stays_a_text() -> None:
    event = ClientUpdate(ts=1.0, client_id="NaN", city="Infinity", extra={"note": "NaN"}, local_loss=math.nan)
    assert same(decode(encode(event)), event)


def test_not_a_number_deep_in_a_config_comes_back_as_a_number() -> None:
    start = RunStart(ts=1.0, run_id="r", config={"clip": math.inf, "grid": [{"lr": math.nan}], "none": None})
    back = decode(encode(start))
    assert isinstance(back, RunStart)
    assert back.config is not None
    assert back.config["clip"] == math.inf
    assert math.isnan(back.config["grid"][0]["lr"])
    assert back.config["none"] is None


def test_what_a_newer_version_added_to_an_event_is_kept() -> None:
    event = decode(b'{"kind":"client_update","ts":1,"client_id":"a","joules":3.5,"zone":"eu","local_loss":"NaN"}')
    assert isinstance(event, ClientUpdate)
    assert event.metrics == {"joules": 3.5}
    assert event.extra == {"zone": "eu"}


def test_an_unknown_kind_is_kept_as_it_is() -> None:
    event = decode(b'{"kind":"hologram","ts":5,"depth":3}')
    assert event == UnknownEvent(kind="hologram", ts=5, fields={"kind": "hologram", "ts": 5, "depth": 3})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"kind":"metric","ts":1,"key":"loss","value":"high"}', "value"),
        (b'{"kind":"client_update","ts":1}', "client_id"),
        (b'{"kind":"client_update","ts":1,"client_id":"a","round":"x"}', "round"),
        (b'{"ts":1}', "kind"),
        (b"[1,2]", "kind"),
        (b'{"kind":', "truncated"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_the_field(line: bytes, says: str) -> None:
    with pytest.raises(msgspec.MsgspecError, match=says):
        decode(line)


def test_an_empty_line_is_a_bad_line_and_shifts_nobody() -> None:
    line = encode(Metric(ts=1.0, key="k", value=1.0))
    block = decode_block(line + b"\n" + line, 0)
    assert [type(event) for event in block.events] == [Metric, type(None), Metric]
    assert [bad.offset for bad in block.bad] == [len(line)]


def test_half_a_line_is_no_block() -> None:
    with pytest.raises(ValueError, match="whole lines"):
        decode_block(b'{"kind"', 0)


def test_staleness_is_the_round_less_the_round_of_the_model() -> None:
    assert ClientUpdate(ts=0, client_id="a", round=9, base_round=6).staleness == 3
    assert ClientUpdate(ts=0, client_id="a", round=9).staleness is None


def test_kinds_are_named_once() -> None:
    assert set(EVENT_TYPES) >= {"journal", "run_start", "run_end", "client_update", "round_end", "metric", "log"}
    assert EVENT_TYPES["log"] is Log
    assert EVENT_TYPES["round_end"] is RoundEnd


@pytest.mark.parametrize("levels", [101, 1_000, 100_000])
@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"text","ts":1,"text":"x","extra":{"a":%s}}',
        b'{"kind":"run_start","ts":1,"run_id":"r","config":{"a":%s,"b":{"$float":"NaN"}}}',
        b'{"kind":"text","ts":1,"text":"x","new":%s}',
        b'{"kind":"topology","ts":1,"nodes":%s}',
    ],
    ids=["extra", "config", "a newer field", "an unknown kind"],
)
def test_a_line_nested_too_deeply_is_a_bad_line_and_costs_only_itself(line: bytes, levels: int) -> None:
    good = encode(Text(ts=1.0, text="good", extra={"a": [[1]]}))
    data = good + line % (b"[" * levels + b"]" * levels) + b"\n" + good
    block = decode_block(data, 10)
    assert [event is None for event in block.events] == [False, True, False]
    assert [bad.offset for bad in block.bad] == [10 + len(good)]
    assert "100 levels" in block.bad[0].reason


def test_an_update_as_a_dict_holds_what_the_application_added_beside_the_rest() -> None:
    update = ClientUpdate(
        ts=1.0,
        client_id="a",
        round=2,
        base_round=1,
        local_loss=0.5,
        metrics={"auc": 0.7},
        extra={"city": "Lyon", "x": [1]},
    )
    told = update.to_dict()
    assert (told["client_id"], told["local_loss"], told["auc"], told["x"], told["city"]) == ("a", 0.5, 0.7, [1], "Lyon")
    assert (told["status"], told["num_samples"]) == ("active", None)
    assert not {"ts", "metrics", "extra"} & told.keys()
