"""Points as lines: what is said, what is left out, and what keeps two points apart."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fedsight.collector.mirrors.line_protocol import line, time_ns


def test_a_point_is_measurement_tags_fields_and_time() -> None:
    assert line("fl_training", {"experiment_id": "r1", "client_id": "a"}, {"round": 3, "loss": 0.25}, 7) == (
        b"fl_training,client_id=a,experiment_id=r1 round=3.0,loss=0.25 7\n"
    )


def test_whole_numbers_are_floats_too_so_that_a_field_never_changes_its_type() -> None:
    assert line("m", {}, {"a": 0, "b": 1 << 64, "c": True}, 1) == b"m a=0.0,b=1.8446744073709552e+19,c=1.0 1\n"


def test_what_is_missing_or_no_number_is_left_out() -> None:
    fields = {"a": None, "b": math.nan, "c": math.inf, "d": 10**400, "e": 1.0}
    assert line("m", {"empty": "", "none": None}, fields, 1) == b"m e=1.0 1\n"


def test_a_point_of_which_nothing_is_known_is_none() -> None:
    assert line("m", {"client_id": "a"}, {"loss": math.nan}, 1) is None


def test_commas_blanks_and_equal_signs_are_escaped() -> None:
    assert line("a m", {"t,=": "x y=z,"}, {"k,= ": 1.0}, 1) == rb"a\ m,t\,\==x\ y\=z\, k\,\=\ =1.0 1" + b"\n"


def test_texts_are_quoted_and_stay_on_their_line() -> None:
    assert line("m", {}, {"reason": 'a "b" \\c\nd'}, 1) == b'm reason="a \\"b\\" \\\\c d" 1\n'


def test_backslashes_and_line_breaks_in_tags_which_the_protocol_can_not_say_are_percent_encoded() -> None:
    assert line("m", {"t": "a\\\nb"}, {"k": 1.0}, 1) == b"m,t=a%5C%0Ab k=1.0 1\n"


def test_long_tags_are_cut_and_stay_apart() -> None:
    one, two = (line("m", {"t": "x" * 1000 + end}, {"k": 1.0}, 1) for end in "12")
    assert one is not None
    assert len(one) < 300
    assert one != two


@given(st.text(), st.text(), st.text(), st.text())
def test_any_text_makes_one_line(measurement: str, tag: str, value: str, field: str) -> None:
    told = line(measurement or "m", {tag: value}, {field: 1.0, "text": value}, 1)
    assert told is not None
    assert told.count(b"\n") == 1


def test_two_lines_of_one_instant_have_two_times() -> None:
    assert time_ns(1700000000.1234, 5) == 1700000000123000005
    assert len({time_ns(1700000000.0, number) for number in range(1000)}) == 1000


def test_a_time_that_can_not_be_written_is_none() -> None:
    assert [time_ns(ts, 0) for ts in (math.nan, math.inf, -1.0, 1e11)] == [None] * 4
    assert time_ns(0.0, 0) == 0
