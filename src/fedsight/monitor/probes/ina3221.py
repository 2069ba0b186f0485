"""Power rails of a Jetson from its INA3221 sensors in sysfs: no root, no child process, any rate.

Source: Linux's hwmon files of the ina3221 driver (JetPack 5 and newer: `in<n>_input` in mV, `curr<n>_input` in mA)
and NVIDIA's older iio driver (JetPack 4: `in_power<n>_input` in mW).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_IGNORED = {"NC", "sum of shunt voltages"}


class Rail:
    """One rail: its name, and the files that tell its power."""

    def __init__(self, name: str, files: tuple[Path, ...]) -> None:
        self.name = name
        self._files = files

    def milliwatts(self) -> int:
        """Power now. Raises `OSError` or `ValueError` where it can't be read."""
        numbers = [int(file.read_text()) for file in self._files]
        if len(numbers) == 1:
            return numbers[0]
        millivolts, milliamperes = numbers
        return round(millivolts * milliamperes / 1000)


def find_rails(sysfs: Path) -> list[Rail]:
    """Every rail that this machine's sensors measure and this user may read."""
    drivers = sysfs / "bus" / "i2c" / "drivers"
    rails = [rail for folder in sorted(drivers.glob("ina3221/*/hwmon/hwmon*")) for rail in _hwmon_rails(folder)]
    rails += [rail for folder in sorted(drivers.glob("ina3221x/*/iio:device*")) for rail in _iio_rails(folder)]
    return rails


def _hwmon_rails(folder: Path) -> Iterator[Rail]:
    for label_file in sorted(folder.glob("in*_label")):
        number = label_file.name.removeprefix("in").removesuffix("_label")
        yield from _rail(label_file, (folder / f"in{number}_input", folder / f"curr{number}_input"))


def _iio_rails(folder: Path) -> Iterator[Rail]:
    for label_file in sorted(folder.glob("rail_name_*")):
        number = label_file.name.removeprefix("rail_name_")
        yield from _rail(label_file, (folder / f"in_power{number}_input",))


def _rail(label_file: Path, files: tuple[Path, ...]) -> Iterator[Rail]:
    try:
        rail = Rail(label_file.read_text().strip(), files)
        rail.milliwatts()
    except (OSError, ValueError):  # a channel that is wired to nothing has no reading
        return
    if rail.name not in _IGNORED:
        yield rail
