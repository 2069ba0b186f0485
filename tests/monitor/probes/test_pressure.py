"""Pressure, as the kernel's files tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedsight.monitor.probes.pressure import PressureProbe
from fedsight.monitor.probes.probe import Target, Unavailable


def write(folder: Path, resource: str, *, suffix: str = "", some: str = "0.00", total: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{kind} avg10={some} avg60=9.99 avg300=9.99 total={total}" for kind in ("some", "full")]
    (folder / f"{resource}{suffix}").write_text("\n".join(lines) + "\n")


def read(probe: PressureProbe) -> dict[str, float]:
    values: dict[str, float] = {}
    probe.read(values)
    return values


def test_the_machines_pressure_counts_from_the_start(tmp_path):
    folder = tmp_path / "proc/pressure"
    for resource in ("cpu", "memory", "io"):
        write(folder, resource, total=5_000_000)
    probe = PressureProbe(Target(7), root=tmp_path)
    assert set(read(probe).values()) == {0.0}
    write(folder, "cpu", some="12.50", total=7_500_000)
    values = read(probe)
    assert values["fedsight.pressure.avg10{resource=cpu,kind=some}"] == 0.125
    assert values["fedsight.pressure.time{resource=cpu,kind=some}"] == pytest.approx(2.5)
    assert values["fedsight.pressure.time{resource=io,kind=full}"] == 0
    # "full" says nothing of a whole machine's CPUs.
    assert "fedsight.pressure.time{resource=cpu,kind=full}" not in values
    probe.close()


def test_in_a_container_it_is_the_containers(tmp_path):
    write(tmp_path / "proc/pressure", "cpu", some="50.00")
    write(tmp_path / "cg", "cpu", suffix=".pressure", some="25.00")
    (tmp_path / "cg/memory.current").write_text("1\n")
    (tmp_path / "proc/7").mkdir()
    (tmp_path / "proc/7/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/mountinfo").write_text("1 2 0:3 / /cg rw - cgroup2 cgroup2 rw\n")
    probe = PressureProbe(Target(7), root=tmp_path)
    values = read(probe)
    assert values["fedsight.pressure.avg10{resource=cpu,kind=some}"] == 0.25
    assert values["fedsight.pressure.avg10{resource=cpu,kind=full}"] == 0.25
    assert not any("resource=io" in full_key for full_key in values)
    probe.close()


def test_a_kernel_without_pressure_says_so(tmp_path):
    with pytest.raises(Unavailable, match="psi=1"):
        PressureProbe(Target(7), root=tmp_path)
