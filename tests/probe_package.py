"""An installed package that brings probes of its own, as far as Python's metadata can tell."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
import os
from fedsight.monitor.probes.probe import MetricInfo, Unavailable


class Fan:
    """Told by a file, which a test writes to."""

    name = "fan"
    metrics = (MetricInfo("hw.fan.speed", "rpm", "gauge", "Turns a minute"),)

    def __init__(self, target):
        self.path = os.path.join(os.path.dirname(__file__), "fan")

    def read(self, values):
        with open(self.path) as file:
            values["hw.fan.speed"] = float(file.read())

    def close(self):
        pass


class Broken(Fan):
    """Fails at each reading."""

    name = "broken"

    def read(self, values):
        raise ZeroDivisionError("the sensor counted no turns")


class Absent(Fan):
    """Is not there."""

    name = "absent"

    def __init__(self, target):
        raise Unavailable("this machine has no fan; open a window")
'''

ENTRY_POINTS = "[fedsight.probes]\nfan = fan_probes:Fan\nbroken = fan_probes:Broken\nabsent = fan_probes:Absent\n"


def install(folder: Path, turns: float = 900.0) -> Path:
    """Put the package into `folder`, which is to be searched for modules."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fan_probes.py").write_text(MODULE)
    (folder / "fan").write_text(str(turns))
    info = folder / "fan_probes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fan-probes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder
