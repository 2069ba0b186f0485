"""What a line of NVIDIA's `tegrastats` says.

A line is `[MM-DD-YYYY HH:MM:SS ]` and tokens parted by spaces; power rails are
`NAME now[mW][/average[mW][/most[mW]]]`, in milliwatts with or without the unit (JetPack 4 has none).
"""

from __future__ import annotations

import re

import msgspec

_RAIL = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_]*)\s+(\d+)(?:mW)?((?:/\d+(?:mW)?){1,2}|(?<=mW))(?=\s|$)")
_GPU = re.compile(r"(?:^|\s)GR3D_FREQ\s+(\d+)%")
_MEMORY = re.compile(r"(?:^|\s)RAM\s+(\d+)/(\d+)MB(?=\s|$)")
_TEMPERATURE = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C(?=[\s/]|$)")

TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that hold all the others; where there is none of them, the rails are parts beside each other."""

_NO_READING_CEL = 100.0
"""What PMIC@100C says on every board: that the sensor has none."""


class TegraLine(msgspec.Struct):
    """One line. `rails_mw`: power now, by rail. What the line doesn't tell is None or not in the maps."""

    rails_mw: dict[str, int]
    gpu_util_pct: float | None = None
    ram_used_mb: int | None = None
    ram_total_mb: int | None = None
    temperatures_cel: dict[str, float] = {}

    @property
    def total_mw(self) -> int | None:
        """Power of the whole module (or board, where it is measured)."""
        return total_power_mw(self.rails_mw)


def total_power_mw(rails_mw: dict[str, int]) -> int | None:
    """All that the rails add up to: the rail that holds the others, else their sum; None without rails."""
    for rail in TOTAL_RAILS:
        if rail in rails_mw:
            return rails_mw[rail]
    return sum(rails_mw.values()) if rails_mw else None


def parse_line(line: str) -> TegraLine | None:
    """A line in figures; None where it is none of tegrastats' (a message, half a line, garbage)."""
    memory, gpu = _MEMORY.search(line), _GPU.search(line)
    rails = {match[1]: int(match[2]) for match in _RAIL.finditer(line)}
    if memory is None and not rails:
        return None
    return TegraLine(
        rails_mw=rails,
        gpu_util_pct=float(gpu[1]) if gpu else None,
        ram_used_mb=int(memory[1]) if memory else None,
        ram_total_mb=int(memory[2]) if memory else None,
        temperatures_cel={
            match[1]: float(match[2])
            for match in _TEMPERATURE.finditer(line)
            if -40 < float(match[2]) < 150 and not (match[1] == "PMIC" and float(match[2]) == _NO_READING_CEL)
        },
    )
