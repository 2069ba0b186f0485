"""CPU time, against the kernel's own account of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedsight.monitor.family import LinuxFamily
from fedsight.monitor.family_psutil import PsutilFamily
from fedsight.monitor.member import cpu_clock
from fedsight.monitor.probes.cpu import CpuProbe, cpus_available
from fedsight.monitor.probes.probe import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own account")

BURN = "import time\nwhile time.process_time() < {sec}: pass"
"""A program that uses about so many seconds of CPU time, its start included."""


def child(sec: float) -> str:
    """A statement that starts such a program, as `p`."""
    return f"p = subprocess.Popen([sys.executable, '-c', {BURN.format(sec=sec)!r}])"


def cpu_sec(probe: CpuProbe) -> float:
    """User and system time together."""
    values: dict[str, float] = {}
    probe.read(values)
    return values["process.cpu.time{cpu.mode=user}"] + values["process.cpu.time{cpu.mode=system}"]


def own_and_children_sec() -> float:
    """What the kernel says of this process and the children that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def clock_sec(pid: int) -> float:
    """The process's CPU clock."""
    return time.clock_gettime(cpu_clock(pid))


def burn(sec: float) -> None:
    end = time.thread_time() + sec
    while time.thread_time() < end:
        pass


def test_what_was_used_before_the_start_does_not_count(start_program):
    program = start_program("burn(0.1)\n")
    program.do(child(0.1) + "; p.wait()")
    probe = CpuProbe(Target(program.pid))
    assert cpu_sec(probe) < 0.02
    probe.close()


def test_a_busy_process_agrees_with_its_cpu_clock(start_program):
    program = start_program()
    started = clock_sec(program.pid)
    probe = CpuProbe(Target(program.pid))
    program.do("burn(0.4)")
    assert cpu_sec(probe) == pytest.approx(clock_sec(program.pid) - started, rel=0.02)
    probe.close()


def test_this_process_and_its_short_children_agree_with_getrusage():
    before = own_and_children_sec()
    probe = CpuProbe(Target(os.getpid()))
    for number in range(8):
        subprocess.run([sys.executable, "-S", "-c", BURN.format(sec=0.05)], check=True)
        if number % 3 == 0:
            cpu_sec(probe)
    burn(0.1)
    assert cpu_sec(probe) == pytest.approx(own_and_children_sec() - before, rel=0.02)
    probe.close()


def test_twenty_children_that_came_and_went_between_two_samples_are_counted(start_program):
    program = start_program()
    usage = "(lambda r: sum(r.getrusage(w).ru_utime + r.getrusage(w).ru_stime for w in (r.RUSAGE_SELF, -1)))(__import__('resource'))"
    before = float(program.do(f"print({usage})"))
    probe = CpuProbe(Target(program.pid))
    program.do(
        "[subprocess.run([sys.executable, '-S', '-c', 'import time\\nwhile time.process_time() < .05: pass']) "
        "for _ in range(20)]"
    )
    used = float(program.do(f"print({usage})")) - before
    assert cpu_sec(probe) == pytest.approx(used, rel=0.02)
    probe.close()


@pytest.mark.alone
def test_a_child_seen_alive_is_not_counted_twice_when_it_was_waited_for(start_program, until):
    program = start_program()
    probe = CpuProbe(Target(program.pid))
    program.tell(child(0.3) + "; p.wait()")
    until(lambda: cpu_sec(probe) > 0.15)
    alive = cpu_sec(probe)
    program.wait()
    ended = cpu_sec(probe)
    own_sec = clock_sec(program.pid)
    children_sec = float(program.do("import resource; u = resource.getrusage(-1); print(u.ru_utime + u.ru_stime)"))
    assert alive <= ended
    assert ended == pytest.approx(own_sec + children_sec, abs=0.06)  # its own start lies before the probe's
    assert ended <= own_sec + children_sec + 0.02
    probe.close()


def test_a_grandchild_counts_while_it_lives_and_afterwards(start_program, until):
    program = start_program()
    probe = CpuProbe(Target(program.pid))
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN.format(sec=0.3)!r}])"
    program.tell(f"subprocess.run([sys.executable, '-c', {source!r}])")
    until(lambda: cpu_sec(probe) > 0.2)
    program.wait()
    used = float(program.do("import resource; u = resource.getrusage(-1); print(u.ru_utime + u.ru_stime)"))
    assert used > 0.3
    assert cpu_sec(probe) == pytest.approx(used, abs=0.03)
    probe.close()


def test_threads_that_have_ended_count(start_program):
    program = start_program()
    started = clock_sec(program.pid)
    probe = CpuProbe(Target(program.pid))
    program.do(
        "t = [threading.Thread(target=burn, args=(.1,)) for _ in range(3)]; [x.start() for x in t]; [x.join() for x in t]"
    )
    used = cpu_sec(probe)
    assert used >= 0.3
    assert used == pytest.approx(clock_sec(program.pid) - started, rel=0.02)
    probe.close()


def test_children_of_a_parent_that_ignores_their_end_keep_what_was_last_seen(start_program, until):
    program = start_program("import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n")
    probe = CpuProbe(Target(program.pid))
    pid = int(
        program.do("p = subprocess.Popen([sys.executable, '-c', 'import time\\nwhile True: pass']); print(p.pid)")
    )
    until(lambda: cpu_sec(probe) > 0.2)
    seen = cpu_sec(probe)
    os.kill(pid, signal.SIGKILL)
    program.do("p.wait()")
    assert seen <= cpu_sec(probe) <= seen + 0.1
    probe.close()


def test_an_orphan_that_ends_keeps_what_was_last_seen(start_program, until):
    program = start_program()
    probe = CpuProbe(Target(program.pid))
    source = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'while True: pass']); print(p.pid, flush=True); p.wait()"
    orphan = int(
        program.do(
            f"p = subprocess.Popen([sys.executable, '-c', {source!r}], stdout=-1); print(p.stdout.readline().decode())"
        )
    )
    until(lambda: cpu_sec(probe) > 0.1)
    program.do("p.kill(); p.wait(); p.stdout.close()")
    orphaned = cpu_sec(probe)
    until(lambda: cpu_sec(probe) > orphaned + 0.1)
    seen = cpu_sec(probe)
    os.kill(orphan, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{orphan}").exists())
    assert seen <= cpu_sec(probe) <= seen + 0.1
    probe.close()


def test_excluded_processes_count_neither_alive_nor_when_they_were_waited_for(start_program, until):
    program = start_program()
    pid = int(program.do(child(0.3) + "; print(p.pid)"))
    probe = CpuProbe(Target(program.pid, frozenset({pid})))
    until(lambda: clock_sec(pid) > 0.2)
    assert cpu_sec(probe) < 0.05
    program.tell("p.wait()")
    until(lambda: cpu_sec(probe) >= 0 and not Path(f"/proc/{pid}").exists())
    program.wait()
    assert cpu_sec(probe) < 0.05
    probe.close()


def test_the_last_reading_of_a_process_that_ended_is_the_kernels_final_figure(until):
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()\n" + BURN.format(sec=0.2)], stdin=subprocess.PIPE)
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "S")
    started = clock_sec(process.pid)
    probe = CpuProbe(Target(process.pid))
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(b"\n")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    counted = cpu_sec(probe)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    assert counted == pytest.approx(usage.ru_utime + usage.ru_stime - started, rel=0.02)
    with pytest.raises(ProcessLookupError):
        cpu_sec(probe)
    probe.close()


def test_neither_user_nor_system_time_ever_decreases(start_program):
    program = start_program()
    probe = CpuProbe(Target(program.pid))
    program.tell("[os.stat('/proc/self/status') for _ in range(30000)]")
    before: dict[str, float] = {}
    for _ in range(30):
        values: dict[str, float] = {}
        probe.read(values)
        for full_key in ("process.cpu.time{cpu.mode=user}", "process.cpu.time{cpu.mode=system}"):
            assert values[full_key] >= before.get(full_key, 0.0)
        before = values
        time.sleep(0.005)
    program.wait()
    probe.close()


def test_user_and_system_time_are_told_apart(start_program):
    program = start_program()
    probe = CpuProbe(Target(program.pid))
    program.do("for _ in range(100): os.urandom(1 << 20)")  # made in the kernel
    values: dict[str, float] = {}
    probe.read(values)
    assert values["process.cpu.time{cpu.mode=system}"] > 0.1
    assert values["process.cpu.time{cpu.mode=user}"] < values["process.cpu.time{cpu.mode=system}"] / 2
    probe.close()


def test_the_machine_and_what_the_process_may_use_of_it(start_program):
    program = start_program("os.sched_setaffinity(0, {0})\n")
    probe = CpuProbe(Target(program.pid))
    values: dict[str, float] = {}
    probe.read(values)
    assert values["system.cpu.logical.count"] == os.cpu_count()
    assert values["fedsight.cpu.available"] == 1
    assert values["fedsight.process.count"] == values["process.thread.count"] == 1
    assert not any(key.startswith("system.cpu.time") for key in values)  # read 5 s from now: until then unknown, not 0
    assert cpus_available(os.getpid(), 1) <= (os.cpu_count() or 1)
    probe.close()


@pytest.mark.parametrize("kind", [LinuxFamily, PsutilFamily])
def test_without_cpu_clocks_and_through_psutil_it_is_right_to_the_tick(kind, start_program):
    program = start_program()
    target = Target(program.pid)
    family = kind(target)
    family.has_clocks = False
    probe = CpuProbe(target, family=family)
    started = clock_sec(program.pid)
    program.do("burn(0.3)")
    program.do(child(0.2) + "; p.wait()")
    children_sec = float(program.do("import resource; u = resource.getrusage(-1); print(u.ru_utime + u.ru_stime)"))
    assert cpu_sec(probe) == pytest.approx(clock_sec(program.pid) - started + children_sec, abs=0.04)
    probe.close()


def test_a_process_that_is_not_there_is_said_so():
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError):
        CpuProbe(Target(process.pid))


def test_the_thread_that_measures_may_be_another_than_the_one_that_works():
    before = time.process_time()
    readings: list[float] = []
    probes: list[CpuProbe] = []
    started, finish = threading.Event(), threading.Event()

    def measure() -> None:
        probe = CpuProbe(Target(os.getpid()))
        started.set()
        finish.wait(10)
        readings.append(cpu_sec(probe))
        probe.close()
        probes.append(probe)

    thread = threading.Thread(target=measure)
    thread.start()
    assert started.wait(10)
    burn(0.3)
    finish.set()
    thread.join()
    assert readings[0] == pytest.approx(time.process_time() - before, rel=0.05)
    assert readings[0] >= 0.3


TREES = """
import multiprocessing
from random import Random

def grow(depth, seed):
    random = Random(seed)
    end = time.process_time() + 0.02 * random.random()
    while time.process_time() < end: pass
    if depth:
        children = [context.Process(target=grow, args=(depth - 1, 7 * seed + n)) for n in range(random.randint(1, 3))]
        for child in children: child.start()
        for child in children: child.join()

context = multiprocessing.get_context("fork")
"""


def test_trees_of_processes_that_come_and_go_under_its_eyes_are_counted_once(start_program):
    program = start_program(TREES)
    usage = "import resource; print(sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, -1)))"
    before = float(program.do(usage))
    probe = CpuProbe(Target(program.pid))
    program.tell("for seed in range(8): grow(2, seed)")
    trees = threading.Thread(target=program.wait)
    trees.start()
    last, most = 0.0, 0.0
    while trees.is_alive():
        values: dict[str, float] = {}
        probe.read(values)
        now = values["process.cpu.time{cpu.mode=user}"] + values["process.cpu.time{cpu.mode=system}"]
        assert now >= last
        last, most = now, max(most, values["fedsight.process.count"])
        trees.join(0.005)
    assert most >= 4
    used = float(program.do(usage)) - before
    assert cpu_sec(probe) == pytest.approx(used, abs=0.025)
    probe.close()
