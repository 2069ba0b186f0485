"""The report of what a program has cost, from accounts that are known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fedsight.monitor.account import Account, Curves
from fedsight.monitor.amounts import bytes_text, energy_text, number_text, time_text
from fedsight.monitor.figures import Interval
from fedsight.monitor.report import Look, curve, report


def an_account(**known: Any) -> Account:
    summary = {
        "num_samples": 4,
        "monitor_cpu_sec": 0.002,
        "duration_sec": 2.0,
        "figures": {},
        **known.pop("summary", {}),
    }
    plain: dict[str, Any] = {"command": ["train"], "pid": 7, "exit_status": 0, "has_ended": True, "duration_sec": 2.0}
    return Account(**{**plain, "curves": {}, "last": {}, "problems": {}, **known}, summary=summary)


def rows(account: Account, look: Look | None = None) -> dict[str, str]:
    lines = report(account, look or Look(width=200)).splitlines()[1:]
    return {line[2:15].strip(): line[15:] for line in lines if line[:15].strip()}


def test_what_is_unknown_has_no_row() -> None:
    assert rows(an_account()).keys() == {"exit status", "monitor"}


def test_a_gpu_and_energy_have_their_rows_and_curves() -> None:
    gpu = {"gpu_util_pct": {"mean": 61.4, "max": 98.0}, "gpu_vram_mb": {"mean": 1000.0, "max": 1230.0}}
    curves = {"gpu_util_pct": [0.0, 98.0], "power_w": [100.0, None]}
    found = rows(an_account(summary={"figures": gpu}, energy_j=3140.0, curves=curves))
    assert found["GPU memory"] == "1.23 GB at most, 1.00 GB on average"
    assert found["energy"] == "3.14 kJ, 1,570 W on average (the whole machine's)"
    assert found["GPU"].endswith("max 98.0 %")  # the curve's row comes last
    assert found["power"].endswith("max 100 W")


def test_a_curve_of_few_readings_is_no_more_than_the_average_and_is_not_drawn() -> None:
    curves = {"cpu_cores": [0.5, 0.5]}
    assert "CPU" in rows(an_account(curves=curves))
    assert "CPU" not in rows(an_account(summary={"num_samples": 3}, curves=curves))
    assert rows(an_account(summary={"num_samples": 1}))["monitor"].startswith("1 reading,")


def test_power_that_nothing_can_measure_is_one_row_and_other_problems_are_one_each() -> None:
    problems = dict.fromkeys(("jetson", "rapl", "gpu_nvidia", "gpu_amd"), "not here") | {"battery": "no battery"}
    found = rows(an_account(problems=problems))
    assert found["energy"] == "can't be measured here; `fedsight probes` says why"
    assert found["not measured"] == "battery: no battery"
    assert "energy" not in rows(an_account(problems={"jetson": "not here"}))


@pytest.mark.parametrize(
    ("ending", "row"),
    [
        ({"exit_status": 3}, ("exit status", "3 after 2.00 s")),
        ({"exit_status": 137, "signal": "SIGKILL"}, ("killed", "by SIGKILL after 2.00 s")),
        ({"exit_status": None}, ("ended", "after 2.00 s")),
        ({"exit_status": None, "has_ended": False}, ("still running", "after 2.00 s")),
    ],
)
def test_how_it_ended(ending: dict[str, Any], row: tuple[str, str]) -> None:
    assert row in rows(an_account(**ending)).items()


@pytest.mark.parametrize("width", [60, 80, 150])
def test_it_fits_the_width(width: int) -> None:
    account = an_account(
        command=["python", "-c", "x = 1\n" * 100],
        memory_peak_bytes=int(5e9), memory_mean_bytes=4e9, memory_limit_bytes=25e9,
        curves={"ram_mb": [1.0] * Look(width=width).num_points},
    )  # fmt: skip
    assert max(map(len, report(account, Look(width=width)).splitlines())) <= width


def test_arguments_can_not_play_tricks_on_the_terminal() -> None:
    shown = report(an_account(command=["train\x1b[31m\r", "é"]), Look())
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert shown.isascii()


def test_a_curve_goes_from_nothing_to_its_highest_point_and_a_gap_is_blank() -> None:
    assert curve([0.0, 0.01, 0.5, 1.0, None, math.nan], 1.0, has_blocks=True) == " ▁▄█  "
    assert curve([0.0, 1.0], 1.0, has_blocks=False) == " @"
    assert curve([0.0], 0.0, has_blocks=True) == " "


def an_interval(end: float, sec: float, before: dict[str, float] | None = None, **figures: float) -> Interval:
    return Interval(ts=100 + end, elapsed_sec=end, duration_sec=sec, figures=figures, before=before or {})


def test_a_curves_points_are_means_over_time_of_memory_the_highest() -> None:
    curves = Curves(2, 4.0)
    curves.add(an_interval(1.0, 1.0, cpu_cores=1.0, ram_mb=10.0))
    curves.add(an_interval(3.0, 2.0, {"ram_mb": 10.0}, cpu_cores=2.0, ram_mb=30.0))
    curves.add(an_interval(4.0, 1.0, {"ram_mb": 30.0}, cpu_cores=0.0))  # it has ended: no memory any more
    assert curves.points() == {"cpu_cores": [1.5, 1.0], "ram_mb": [30.0, 30.0]}


def test_before_a_program_is_one_its_memory_is_nobodys() -> None:
    curves = Curves(1, 1.0)
    curves.add(an_interval(1.0, 1.0, {"ram_mb": 500.0}, ram_mb=10.0))
    assert curves.points() == {"ram_mb": [10.0]}


def test_a_part_without_a_reading_is_unknown() -> None:
    curves = Curves(4, 4.0)
    curves.add(an_interval(1.0, 1.0, power_w=5.0))
    assert curves.points() == {"power_w": [5.0, None, None, None]}


def test_amounts_as_people_read_them() -> None:
    assert [bytes_text(each) for each in (0, 999, 1000, 16_560_128, 999_600, 5e15)] == [
        "0 B", "999 B", "1.00 kB", "16.6 MB", "1.00 MB", "5.00 PB",
    ]  # fmt: skip
    assert [time_text(each) for each in (0.0004, 0.31, 9.5, 42.25, 125, 7260)] == [
        "0.000 s", "0.310 s", "9.50 s", "42.2 s", "2 min 5 s", "2 h 1 min",
    ]  # fmt: skip
    assert [energy_text(each) for each in (0.5, 1200, 3.6e6)] == ["0.50 J", "1.20 kJ", "3.60 MJ"]
    assert [number_text(each) for each in (0, 0.126, 12.34, 1234.5, math.nan, math.inf)] == [
        "0", "0.13", "12.3", "1,234", "nan", "inf",
    ]  # fmt: skip
