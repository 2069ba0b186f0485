"""RAPL, battery and temperature, from stand-ins of Linux's files: a virtual machine has none of them."""

import os
import shutil
from pathlib import Path

import pytest

from fedsight.monitor.probes.battery import BatteryProbe
from fedsight.monitor.probes.probe import Target, Unavailable
from fedsight.monitor.probes.rapl import RaplProbe
from fedsight.monitor.probes.temperature import TemperatureProbe

TARGET = Target(pid=os.getpid())


def write(file: Path, text: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def zone(sysfs: Path, name: str, label: str, energy_uj: int) -> Path:
    folder = sysfs / "class/powercap" / name
    write(folder / "name", label)
    write(folder / "max_energy_range_uj", 1_000_000_000)
    write(folder / "energy_uj", energy_uj)
    return folder


def test_rapl_counts_packages_and_memory_and_not_the_parts_of_a_package(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 4_000_000)
    probe = RaplProbe(TARGET, sysfs=tmp_path)
    write(package / "energy_uj", 7_500_000)
    write(memory / "energy_uj", 1_250_000)
    values: dict[str, float] = {}
    probe.read(values)
    assert values == {
        "hw.energy{hw.id=package-0,hw.type=cpu}": 2.5,
        "hw.energy{hw.id=dram-0,hw.type=memory}": 0.25,
    }


def test_rapl_goes_on_over_the_counters_wrap(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    probe = RaplProbe(TARGET, sysfs=tmp_path)
    write(package / "energy_uj", 2_000_000)
    values: dict[str, float] = {}
    probe.read(values)
    assert values["hw.energy{hw.id=package-0,hw.type=cpu}"] == pytest.approx(3.0)


def test_rapl_is_unavailable_where_there_are_no_counters(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no RAPL counters"):
        RaplProbe(TARGET, sysfs=tmp_path)


def battery(sysfs: Path, status: str) -> Path:
    folder = sysfs / "class/power_supply/BAT0"
    write(folder / "type", "Battery")
    write(folder / "capacity", 80)
    write(folder / "status", status)
    write(folder / "current_now", 1_500_000)
    write(folder / "voltage_now", 12_000_000)
    return folder


def test_a_battery_in_use_tells_charge_and_power(tmp_path: Path) -> None:
    battery(tmp_path, "Discharging")
    values: dict[str, float] = {}
    BatteryProbe(TARGET, sysfs=tmp_path).read(values)
    assert values == {
        "hw.battery.charge{hw.id=BAT0}": 0.8,
        "fedsight.battery.charging{hw.id=BAT0}": 0.0,
        "hw.power{hw.id=BAT0,hw.type=battery}": 18.0,
    }


def test_what_charges_a_battery_is_not_what_the_training_draws(tmp_path: Path) -> None:
    battery(tmp_path, "Charging")
    values: dict[str, float] = {}
    BatteryProbe(TARGET, sysfs=tmp_path).read(values)
    assert "hw.power{hw.id=BAT0,hw.type=battery}" not in values
    assert values["fedsight.battery.charging{hw.id=BAT0}"] == 1.0


def test_a_battery_that_is_taken_out_is_missing_from_then_on(tmp_path: Path) -> None:
    folder = battery(tmp_path, "Discharging")
    probe = BatteryProbe(TARGET, sysfs=tmp_path)
    shutil.rmtree(folder)
    values: dict[str, float] = {}
    probe.read(values)
    assert values == {}


def test_no_battery_is_said(tmp_path: Path) -> None:
    write(tmp_path / "class/power_supply/AC/type", "Mains")
    with pytest.raises(Unavailable, match="no battery"):
        BatteryProbe(TARGET, sysfs=tmp_path)


def test_thermal_zones_are_read_and_impossible_values_left_out(tmp_path: Path) -> None:
    write(tmp_path / "class/thermal/thermal_zone0/type", "cpu-thermal")
    write(tmp_path / "class/thermal/thermal_zone0/temp", 48_500)
    write(tmp_path / "class/thermal/thermal_zone1/type", "cv0-thermal")
    write(tmp_path / "class/thermal/thermal_zone1/temp", -256_000)
    values: dict[str, float] = {}
    TemperatureProbe(TARGET, sysfs=tmp_path).read(values)
    assert values["hw.temperature{hw.id=cpu-thermal}"] == 48.5
    assert not any("cv0" in key for key in values)
