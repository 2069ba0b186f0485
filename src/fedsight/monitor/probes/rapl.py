"""Energy of the CPU packages and their memory, counted by the processor itself (Intel RAPL, also AMD's).

Source: Linux's powercap interface (`/sys/class/powercap/intel-rapl:*`).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_JOULES_PER_MICROJOULE = 1e-6


class RaplProbe:
    """The machine's processor packages and DRAM, whoever uses them."""

    name: ClassVar[str] = "rapl"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("hw.energy", "J", "counter", "Energy of a CPU package or its memory, the whole machine's"),
    )

    def __init__(self, target: Target, *, sysfs: Path = Path("/sys")) -> None:
        folder = sysfs / "class" / "powercap"
        zones = sorted(folder.glob("intel-rapl:*"))
        if not zones:
            raise Unavailable(f"no RAPL counters in {folder} (a virtual machine, or a processor without them)")
        self._zones: list[_Zone] = []
        refused: OSError | None = None
        for zone in zones:
            # Package zones are `intel-rapl:0`; of their parts only memory isn't within the package's count.
            try:
                label = (zone / "name").read_text().strip()
                if zone.name.count(":") == 1 or label == "dram":
                    self._zones.append(_Zone(zone, label))
            except OSError as error:
                refused = error
        if not self._zones:
            raise Unavailable(f"{refused}. Allow it with: sudo chmod -R a+r {folder}/*")

    def read(self, values: dict[str, float]) -> None:
        """Joules since the start, of each zone."""
        for zone in self._zones:
            values[zone.key] = zone.joules()

    def close(self) -> None:
        """Nothing is held open."""


class _Zone:
    def __init__(self, folder: Path, label: str) -> None:
        self._file = folder / "energy_uj"
        self._wraps_at_uj = int((folder / "max_energy_range_uj").read_text())
        self._last_uj = int(self._file.read_text())
        self._total_uj = 0
        number = folder.name.removeprefix("intel-rapl:")
        label = label if label.startswith("package") else f"{label}-{number.split(':')[0]}"
        self.key = key("hw.energy", hw_id=label, hw_type="memory" if label.startswith("dram") else "cpu")

    def joules(self) -> float:
        now_uj = int(self._file.read_text())
        grown_uj = now_uj - self._last_uj
        self._total_uj += grown_uj if grown_uj >= 0 else grown_uj + self._wraps_at_uj
        self._last_uj = now_uj
        return self._total_uj * _JOULES_PER_MICROJOULE
