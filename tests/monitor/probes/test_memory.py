"""Memory, against the kernel's own account of it."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import psutil
import pytest

from fedsight.monitor.cgroup import Cgroup
from fedsight.monitor.family import LinuxFamily
from fedsight.monitor.family_psutil import PsutilFamily
from fedsight.monitor.probes import memory
from fedsight.monitor.probes.memory import MemoryProbe
from fedsight.monitor.probes.probe import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own account")

MB = 1 << 20


def read(probe: MemoryProbe) -> dict[str, float]:
    values: dict[str, float] = {}
    probe.read(values)
    return values


def status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


@pytest.fixture(params=[LinuxFamily, PsutilFamily])
def family(request):
    return request.param


def test_resident_memory_of_the_process_and_its_children(start_program, family):
    program = start_program("block = bytearray(64 << 20)\n")
    child = int(
        program.do(
            "p = subprocess.Popen([sys.executable, '-c', 'b = bytearray(32 << 20); print(flush=True); input()'], "
            "stdin=-1, stdout=-1); p.stdout.readline(); print(p.pid)"
        )
    )
    target = Target(program.pid)
    probe = MemoryProbe(target, family=family(target))
    values = read(probe)
    rss = [status_bytes(pid, "VmRSS") for pid in (program.pid, child)]
    assert rss[0] > 64 * MB
    assert rss[1] > 32 * MB
    assert values["process.memory.usage"] == pytest.approx(sum(rss), rel=0.01)
    sizes = [status_bytes(pid, "VmSize") for pid in (program.pid, child)]
    assert values["process.memory.virtual"] == pytest.approx(sum(sizes), rel=0.01)
    assert values["fedsight.process.memory.uss"] == pytest.approx(sum(rss), rel=0.3)
    if family is LinuxFamily:
        assert values["fedsight.process.memory.uss"] <= values["fedsight.process.memory.pss"] <= sum(rss)
    program.do("p.stdin.close(); p.wait(); p.stdout.close()")
    probe.close()


def test_excluded_processes_use_nothing(start_program):
    program = start_program()
    child = int(program.do("p = subprocess.Popen(['sleep', '60']); print(p.pid)"))
    probe = MemoryProbe(Target(program.pid, frozenset({child})))
    assert read(probe)["process.memory.usage"] == pytest.approx(status_bytes(program.pid, "VmRSS"), rel=0.01)
    program.do("p.kill(); p.wait()")
    probe.close()


def test_a_peak_between_two_samples_is_told(start_program, until):
    program = start_program()
    probe = MemoryProbe(Target(program.pid))
    before = read(probe)["fedsight.process.memory.peak"]
    program.do("block = bytearray(48 << 20); del block")
    until(lambda: read(probe)["fedsight.process.memory.peak"] > before + 47 * MB)
    values = read(probe)
    assert values["fedsight.process.memory.peak"] == pytest.approx(status_bytes(program.pid, "VmHWM"), rel=0.01)
    assert values["process.memory.usage"] < before + 24 * MB
    probe.close()


def test_the_peak_of_this_process_is_getrusages():
    probe = MemoryProbe(Target(os.getpid()))
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert read(probe)["fedsight.process.memory.peak"] >= told * 0.98
    probe.close()


def test_page_faults_count_from_the_start_those_of_ended_children_too(start_program):
    program = start_program("block = bytearray(16 << 20)\n")
    usage = "(lambda r: sum(r.getrusage(w).ru_minflt for w in (r.RUSAGE_SELF, -1)))(__import__('resource'))"
    before = int(program.do(f"print({usage})"))
    probe = MemoryProbe(Target(program.pid))
    assert read(probe)["process.paging.faults{system.paging.fault.type=minor}"] < 200
    program.do("subprocess.run([sys.executable, '-c', 'b = bytearray(8 << 20)'])")
    after = int(program.do(f"print({usage})"))
    counted = read(probe)["process.paging.faults{system.paging.fault.type=minor}"]
    assert after - before > 500
    assert counted == pytest.approx(after - before, rel=0.1)
    probe.close()


def test_pss_and_uss_are_read_rarely_and_repeated_in_between(start_program):
    program = start_program()
    probe = MemoryProbe(Target(program.pid))
    first = read(probe)
    program.do("block = bytearray(16 << 20)")
    second = read(probe)
    assert second["process.memory.usage"] > first["process.memory.usage"] + 15 * MB
    assert second["fedsight.process.memory.pss"] == first["fedsight.process.memory.pss"]
    probe.close()


def test_the_machines_memory_where_no_group_limits_it(start_program, family, monkeypatch):
    monkeypatch.setattr(memory, "find_cgroup", lambda controller, pid: None)
    target = Target(start_program().pid)
    probe = MemoryProbe(target, family=family(target))
    values = read(probe)
    machine = psutil.virtual_memory()
    assert values["system.memory.limit"] == machine.total
    used = values["system.memory.usage{system.memory.state=used}"]
    assert used == pytest.approx(machine.total - machine.available, rel=0.2)
    probe.close()


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_and_usage_of_the_group_that_limits_it(tmp_path, start_program, monkeypatch, version):
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}[version]
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for folder, limit, usage in ((inner, 64 * MB, 1 * MB), (inner.parent, 32 * MB, 3 * MB)):
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{usage}\n")
    group = Cgroup(version=version, folders=(inner, inner.parent), is_root=False)
    monkeypatch.setattr(memory, "find_cgroup", lambda controller, pid: group)
    probe = MemoryProbe(Target(start_program().pid))
    values = read(probe)
    assert values["system.memory.limit"] == 32 * MB
    assert values["system.memory.usage{system.memory.state=used}"] == 3 * MB
    probe.close()


def test_a_process_that_ended_and_is_not_waited_for_has_no_memory_rather_than_none():
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "input()"], os.environ)
    probe = MemoryProbe(Target(pid))
    assert read(probe)["process.memory.usage"] > 0
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    time.sleep(0.02)  # what was read together counts as one reading
    values = read(probe)
    assert "process.memory.usage" not in values
    assert values["fedsight.process.memory.peak"] > 0
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        read(probe)
    probe.close()
