"""The three power figures of heflwr, from whatever rails a Jetson board has.

Boards name and group their rails differently. A figure is given only where its parts are measured
apart: a rail that feeds GPU and SOC together belongs to neither.
"""

from __future__ import annotations

from collections.abc import Mapping

FIGURES = ("vdd_in", "vdd_cpu_gpu_cv", "vdd_soc")

_GENERIC = {"VDD", "SYS", "POM", "5V", "5V0", "VIN"}
_CORES = ({"CPU"}, {"GPU"}, {"CV"})


def rail_figures(rails_w: Mapping[str, float], total_w: float | None) -> dict[str, float]:
    """Watts by figure, from watts by rail. Those that the board doesn't tell are left out."""
    figures: dict[str, float] = {}
    if total_w is not None:
        figures["vdd_in"] = total_w
    parts = [(set(name.upper().split("_")) - _GENERIC, watts) for name, watts in rails_w.items()]
    whole = [watts for part, watts in parts if part == {"CPU", "GPU", "CV"}]
    cores = [(part, watts) for part, watts in parts if part in _CORES]
    if whole:
        figures["vdd_cpu_gpu_cv"] = sum(whole)
    elif all(any(part == wanted for part, _ in cores) for wanted in _CORES[:2]):
        figures["vdd_cpu_gpu_cv"] = sum(watts for _, watts in cores)
    soc = [watts for part, watts in parts if part == {"SOC"}]
    if soc:
        figures["vdd_soc"] = sum(soc)
    return figures
