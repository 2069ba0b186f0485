"""A container's own account, with v1 and v2 files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fedsight.monitor.probes.container import ContainerProbe
from fedsight.monitor.probes.probe import Target, Unavailable

V2 = {
    "memory.current": "1000",
    "memory.stat": "anon 600\ninactive_file 300",
    "memory.max": "4096",
    "memory.peak": "2000",
    "memory.events": "low 0\noom 1\noom_kill 2",
    "cpu.stat": "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nthrottled_usec 500000",
    "cpu.max": "max 100000",
}


def write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def read(probe: ContainerProbe) -> dict[str, float]:
    values: dict[str, float] = {}
    probe.read(values)
    return values


def test_v2(tmp_path):
    write(tmp_path / "proc/7", {"cgroup": "0::/"})
    write(tmp_path / "proc/self", {"mountinfo": "1 2 0:3 / /cg rw - cgroup2 cgroup2 rw"})
    write(tmp_path / "cg", V2)
    probe = ContainerProbe(Target(7), root=tmp_path)
    assert read(probe) == {
        "container.cpu.time{cpu.mode=user}": 0,
        "container.cpu.time{cpu.mode=system}": 0,
        "fedsight.container.cpu.throttled_time": 0,
        "fedsight.container.oom_kills": 0,
        "container.memory.usage": 1000,
        "container.memory.working_set": 700,
        "fedsight.container.memory.limit": 4096,
        "fedsight.container.memory.peak": 2000,
    }
    busy = "usage_usec 5500000\nuser_usec 4500000\nsystem_usec 1000000\nthrottled_usec 750000"
    write(tmp_path / "cg", {"cpu.stat": busy, "memory.events": "oom_kill 3", "memory.current": "200"})
    later = read(probe)
    assert later["container.cpu.time{cpu.mode=user}"] == pytest.approx(2.5)
    assert later["container.cpu.time{cpu.mode=system}"] == 0
    assert later["fedsight.container.cpu.throttled_time"] == pytest.approx(0.25)
    assert later["fedsight.container.oom_kills"] == 1
    assert later["container.memory.working_set"] == 0
    (tmp_path / "cg/memory.peak").unlink()  # older kernels have none
    assert "fedsight.container.memory.peak" not in read(probe)
    probe.close()


def test_v1(tmp_path):
    write(tmp_path / "proc/7", {"cgroup": "3:cpuacct:/a\n2:cpu:/a\n1:memory:/a"})
    mounts = [f"1 2 0:3 / /cg/{each} rw - cgroup cgroup rw,{each}" for each in ("memory", "cpu", "cpuacct")]
    write(tmp_path / "proc/self", {"mountinfo": "\n".join(mounts)})
    write(
        tmp_path / "cg/memory/a",
        {
            "memory.usage_in_bytes": "1000",
            "memory.limit_in_bytes": "9223372036854771712",
            "memory.max_usage_in_bytes": "2000",
            "memory.stat": "inactive_file 1\ntotal_inactive_file 300",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1",
        },
    )
    write(tmp_path / "cg/cpu/a", {"cpu.stat": "nr_periods 1\nthrottled_time 1000000000", "cpu.cfs_quota_us": "-1"})
    write(tmp_path / "cg/cpuacct/a", {"cpuacct.stat": "user 100\nsystem 50"})
    probe = ContainerProbe(Target(7), root=tmp_path)
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    write(tmp_path / "cg/cpuacct/a", {"cpuacct.stat": f"user {100 + ticks}\nsystem 50"})
    write(tmp_path / "cg/cpu/a", {"cpu.stat": "nr_periods 1\nthrottled_time 3000000000"})
    values = read(probe)
    assert values == {
        "container.cpu.time{cpu.mode=user}": pytest.approx(1),
        "container.cpu.time{cpu.mode=system}": 0,
        "fedsight.container.cpu.throttled_time": pytest.approx(2),
        "fedsight.container.oom_kills": 0,
        "container.memory.usage": 1000,
        "container.memory.working_set": 700,
        "fedsight.container.memory.peak": 2000,
    }
    probe.close()


def test_a_process_of_the_bare_machine_is_in_no_container(tmp_path):
    write(tmp_path / "proc/7", {"cgroup": "0::/"})
    write(tmp_path / "proc/self", {"mountinfo": "1 2 0:3 / /cg rw - cgroup2 cgroup2 rw"})
    write(tmp_path / "cg", {"cpu.stat": "usage_usec 1"})
    with pytest.raises(Unavailable, match="no control group of its own"):
        ContainerProbe(Target(7), root=tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_this_machines_own_group_tells_what_its_file_tells():
    try:
        probe = ContainerProbe(Target(os.getpid()))
    except Unavailable as error:
        pytest.skip(str(error))
    values = read(probe)
    assert values["container.memory.usage"] > values["container.memory.working_set"] > 0
    probe.close()
