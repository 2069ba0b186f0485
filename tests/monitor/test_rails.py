"""heflwr's three power figures, whatever the board calls its rails (tegrastats of public boards)."""

from __future__ import annotations

import pytest

from fedsight.monitor.rails import rail_figures


@pytest.mark.parametrize(
    ("board", "rails_w", "total_w", "figures"),
    [
        (
            "Orin NX",
            {"VDD_IN": 5.299, "VDD_CPU_GPU_CV": 0.773, "VDD_SOC": 1.424},
            5.299,
            {"vdd_in": 5.299, "vdd_cpu_gpu_cv": 0.773, "vdd_soc": 1.424},
        ),
        (
            "AGX Xavier",
            {"GPU": 1.0, "CPU": 0.311, "SOC": 0.932, "CV": 0.5, "VDDRQ": 0.621, "SYS5V": 1.482},
            4.846,
            {"vdd_in": 4.846, "vdd_cpu_gpu_cv": 1.811, "vdd_soc": 0.932},
        ),
        (
            "TX2",
            {"VDD_SYS_GPU": 0.152, "VDD_SYS_SOC": 0.687, "VDD_IN": 3.056, "VDD_SYS_CPU": 0.152},
            3.056,
            {"vdd_in": 3.056, "vdd_cpu_gpu_cv": 0.304, "vdd_soc": 0.687},
        ),
        ("Nano", {"POM_5V_IN": 4.52, "POM_5V_GPU": 0.1, "POM_5V_CPU": 1.078}, 4.52, {"vdd_in": 4.52, "vdd_cpu_gpu_cv": 1.178}),
    ],
)  # fmt: skip
def test_boards_that_measure_the_parts_apart(
    board: str, rails_w: dict[str, float], total_w: float, figures: dict[str, float]
) -> None:
    assert rail_figures(rails_w, total_w) == pytest.approx(figures)


def test_a_rail_that_feeds_gpu_and_soc_is_counted_to_neither() -> None:
    assert rail_figures({"VDD_GPU_SOC": 4.94, "VDD_CPU_CV": 0.988, "VIN_SYS_5V0": 4.442}, 10.37) == {"vdd_in": 10.37}
