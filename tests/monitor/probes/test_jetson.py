"""A Jetson's power, from stand-ins of its sensors and of its tegrastats: none can run here."""

import os
import time
from pathlib import Path

import pytest

from fedsight.monitor.probes.jetson import EnergyIntegral, JetsonProbe
from fedsight.monitor.probes.probe import Target, Unavailable

TARGET = Target(pid=os.getpid())


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def jetpack5(sysfs: Path) -> Path:
    chip = sysfs / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    for number, (rail, millivolts, milliamperes) in enumerate(
        [("VDD_IN", 5000, 1060), ("VDD_CPU_GPU_CV", 5000, 155), ("VDD_SOC", 5000, 285)], start=1
    ):
        write(chip / f"in{number}_label", rail)
        write(chip / f"in{number}_input", str(millivolts))
        write(chip / f"curr{number}_input", str(milliamperes))
    write(chip / "in7_label", "sum of shunt voltages")
    write(chip / "in7_input", "12")
    return chip


def program(file: Path, script: str) -> str:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def until(probe: JetsonProbe, name: str, at_least: float = 0.0) -> dict[str, float]:
    """What the probe reads, once it tells `name`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        values: dict[str, float] = {}
        probe.read(values)
        if values.get(name, -1.0) >= at_least:
            return values
        time.sleep(0.02)
    raise AssertionError(f"{name} never came")


def test_without_sensors_and_tegrastats_it_is_unavailable_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no Jetson"):
        JetsonProbe(TARGET, sysfs=tmp_path)


def test_jetpack_5_sensors_give_the_power_of_each_rail_and_the_total_rail(tmp_path: Path) -> None:
    jetpack5(tmp_path)
    probe = JetsonProbe(TARGET, sysfs=tmp_path)
    values = until(probe, "hw.host.energy", at_least=0.5)
    probe.close()
    assert values["hw.power{hw.id=VDD_IN,hw.type=power_supply}"] == 5.3
    assert values["hw.power{hw.id=VDD_SOC,hw.type=power_supply}"] == 1.425
    assert values["hw.host.power"] == 5.3
    assert not any("shunt" in key for key in values)


def test_jetpack_4_sensors_are_read_too(tmp_path: Path) -> None:
    chip = tmp_path / "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    write(chip / "rail_name_0", "POM_5V_IN")
    write(chip / "in_power0_input", "4520")
    write(chip / "rail_name_1", "POM_5V_CPU")
    write(chip / "in_power1_input", "1078")
    probe = JetsonProbe(TARGET, sysfs=tmp_path)
    values: dict[str, float] = {}
    probe.read(values)
    probe.close()
    assert values["hw.host.power"] == 4.52


def test_a_sensor_that_fails_for_a_while_harms_nothing(tmp_path: Path) -> None:
    chip = jetpack5(tmp_path)
    probe = JetsonProbe(TARGET, sysfs=tmp_path)
    (chip / "curr1_input").write_text("garbage")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        values: dict[str, float] = {}
        probe.read(values)
        if "hw.power{hw.id=VDD_IN,hw.type=power_supply}" not in values:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the sensor's last value was told for ever")
    (chip / "curr1_input").write_text("2000")
    assert until(probe, "hw.power{hw.id=VDD_IN,hw.type=power_supply}")["hw.host.power"] == 10.0
    probe.close()


def test_tegrastats_runs_along_and_ends_with_the_probe(tmp_path: Path) -> None:
    line = "RAM 6334/15388MB GR3D_FREQ 50%@611 CPU@47.9C VDD_IN 5000mW/5299mW VDD_SOC 1424mW/1424mW"
    tegrastats = program(
        tmp_path / "tegrastats", f'echo $$ > "{tmp_path}/pid"; while :; do echo "{line}"; sleep 0.05; done'
    )
    probe = JetsonProbe(TARGET, sysfs=tmp_path, tegrastats=tegrastats)
    values = until(probe, "hw.host.energy", at_least=0.5)
    probe.close()
    assert values["hw.host.power"] == 5.0
    assert values["hw.gpu.utilization{hw.id=jetson}"] == 0.5
    assert values["hw.temperature{hw.id=CPU}"] == 47.9
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_tegrastats_that_prints_garbage_and_stops_tells_nothing(tmp_path: Path) -> None:
    tegrastats = program(tmp_path / "tegrastats", "echo sudo: a password is required; printf '\\377\\n'")
    probe = JetsonProbe(TARGET, sysfs=tmp_path, tegrastats=tegrastats)
    values: dict[str, float] = {}
    probe.read(values)
    probe.close()
    assert values == {}


def test_energy_is_the_integral_over_the_real_times() -> None:
    energy = EnergyIntegral()
    for at_sec, watts in [(0.0, 10.0), (1.0, 10.0), (1.5, 20.0), (3.5, 20.0)]:
        energy.add(at_sec, watts)
    assert energy.joules == 10 + 7.5 + 40


def test_energy_has_no_spike_after_a_suspended_laptop() -> None:
    energy = EnergyIntegral()
    for at_sec, watts in [(0.0, 10.0), (1.0, 10.0), (3601.0, 10.0), (3602.0, 10.0)]:
        energy.add(at_sec, watts)
    assert energy.joules == 20
