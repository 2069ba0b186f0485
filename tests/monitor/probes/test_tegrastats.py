"""Every variant of tegrastats' lines that is known from boards and releases."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsight.monitor.probes.tegrastats import parse_line, total_power_mw

LINES = json.loads((Path(__file__).parent / "tegrastats_lines.json").read_text())


@pytest.mark.parametrize("each", LINES, ids=[each["name"] for each in LINES])
def test_the_rails_of_every_board_are_read(each: dict[str, object]) -> None:
    line = parse_line(str(each["line"]))
    expected = each["expected_rails_mW[cur,avg,max]"]
    assert isinstance(expected, dict)
    assert line is not None
    assert line.rails_mw == {rail: values[0] for rail, values in expected.items()}


def test_a_rail_that_holds_the_others_is_the_total() -> None:
    assert total_power_mw({"VDD_IN": 5299, "VDD_CPU_GPU_CV": 773, "VDD_SOC": 1424}) == 5299


def test_rails_beside_each_other_are_added_up() -> None:
    assert total_power_mw({"VDD_GPU_SOC": 4940, "VDD_CPU_CV": 988, "VIN_SYS_5V0": 4442}) == 10370


def test_three_values_with_units_and_temperatures_with_an_average() -> None:
    line = parse_line("RAM 1/2MB cpu@34.312C/34.843C GR3D_FREQ @[0,0,0] VDD_CPU_SOC_MSS 7953mW/8332mW/8710mW")
    assert line is not None
    assert line.rails_mw == {"VDD_CPU_SOC_MSS": 7953}
    assert line.temperatures_cel == {"cpu": 34.312}
    assert line.gpu_util_pct is None


def test_sensors_without_a_reading_are_left_out() -> None:
    line = parse_line("RAM 1/2MB PMIC@100C BCPU@-45C CV0@-256C CPU@36.5C VDD_IN 1/1")
    assert line is not None
    assert line.temperatures_cel == {"CPU": 36.5}


@pytest.mark.parametrize("garbage", ["", "sudo: a password is required", "tegrastats: not found", "\x00\xff"])
def test_what_is_no_line_of_its_is_none(garbage: str) -> None:
    assert parse_line(garbage) is None


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    parse_line(text)
