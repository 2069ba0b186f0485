"""Who belongs to a measured process, as processes come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedsight.monitor.family import Family, LinuxFamily, descendants, open_family
from fedsight.monitor.family_psutil import PsutilFamily
from fedsight.monitor.probes.probe import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLEEP = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def num_open_files() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def pids(family: Family) -> set[int]:
    """The living members' pids, after a fresh look."""
    family.refresh()
    return set(family.members)


def test_a_child_that_starts_later_is_found(start_program):
    program = start_program()
    family = LinuxFamily(Target(program.pid))
    assert pids(family) == {program.pid}
    child = int(program.do(f"p = {SLEEP}; print(p.pid)"))
    assert pids(family) == {program.pid, child}
    assert family.members[child].parent is family.members[program.pid]
    program.do("p.kill(); p.wait()")
    assert pids(family) == {program.pid}
    family.close()


def test_children_and_grandchildren_that_are_there_already_are_found(start_program):
    program = start_program()
    source = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    child, grandchild = program.do(
        f"p = subprocess.Popen([sys.executable, '-c', {source!r}], stdout=-1, text=True); "
        "print(p.pid, p.stdout.readline())"
    ).split()
    family = LinuxFamily(Target(program.pid))
    try:
        assert pids(family) == {program.pid, int(child), int(grandchild)}
        assert next(iter(family.members)) == program.pid
        # The grandchild whose parent died is still of the family.
        program.do("p.kill(); p.wait(); p.stdout.close()")
        assert pids(family) == {program.pid, int(grandchild)}
        assert family.members[int(grandchild)].parent is None
    finally:
        os.kill(int(grandchild), signal.SIGKILL)
        family.close()


def test_an_orphan_never_seen_with_its_parent_is_found_by_the_session_that_a_member_opened(start_program, until):
    program = start_program("os.setsid()")
    family = LinuxFamily(Target(program.pid))
    orphan = int(program.do("print(subprocess.check_output('sleep 60 >/dev/null & echo $!', shell=True, text=True))"))
    try:
        until(lambda: orphan in pids(family))
    finally:
        os.kill(orphan, signal.SIGKILL)
        family.close()


def test_while_nobody_runs_nothing_is_read_again(start_program, until):
    program = start_program()
    family = LinuxFamily(Target(program.pid))

    def stands_still() -> bool:
        before = family.num_changes
        family.refresh()
        return family.num_changes == before

    until(stands_still)
    program.do("sum(range(1000))")
    assert not stands_still()
    family.close()


def test_a_monitor_of_its_parent_leaves_itself_out_and_does_not_look_at_itself(start_program):
    program = start_program()
    child = (
        "import os, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from fedsight.monitor.family import LinuxFamily\n"
        "from fedsight.monitor.probes.probe import Target\n"
        "family = LinuxFamily(Target(os.getppid(), frozenset({os.getpid()})))\n"
        "sum(range(10**6)); family.refresh(); before = family.members[os.getpid()].cpu_sec\n"
        "sum(range(10**6)); family.refresh()\n"
        "print(family.members[os.getpid()].is_excluded, family.members[os.getpid()].cpu_sec == before)"
    )
    assert program.do(f"print(subprocess.check_output([sys.executable, '-c', {child!r}], text=True))") == "True True\n"


def test_threads_are_no_members(start_program):
    program = start_program()
    family = LinuxFamily(Target(program.pid))
    program.do("[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(5)]")
    assert pids(family) == {program.pid}
    assert family.members[program.pid].num_threads == 6
    family.close()


def test_threads_of_children_are_no_members_without_cpu_clocks(start_program):
    program = start_program()
    family = LinuxFamily(Target(program.pid))
    family.has_clocks = False
    source = "import threading, time; [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(3)]"
    child = int(
        program.do(
            f"p = subprocess.Popen([sys.executable, '-c', {source + '; print(flush=True)'!r}], stdout=-1); "
            "p.stdout.readline(); print(p.pid)"
        )
    )
    assert pids(family) == {program.pid, child}
    program.do("p.kill(); p.wait(); p.stdout.close()")
    family.close()


def test_children_of_an_excluded_process_are_excluded(start_program):
    program = start_program()
    shell = int(program.do("p = subprocess.Popen(['sh', '-c', 'sleep 60 & echo; wait'], stdout=-1); print(p.pid)"))
    program.do("p.stdout.readline()")
    family = LinuxFamily(Target(program.pid, frozenset({shell})))
    excluded = [member for member in family.members.values() if member.is_excluded]
    assert len(excluded) == 2
    for member in excluded[1:]:
        os.kill(member.pid, signal.SIGKILL)
    program.do("p.wait(); p.stdout.close()")
    family.close()


def test_many_members_take_few_open_files():
    processes = [subprocess.Popen(["sleep", "60"]) for _ in range(40)]
    before = num_open_files()
    family = LinuxFamily(Target(os.getpid()))
    try:
        assert len(family.members) >= 41
        assert num_open_files() - before <= 34
        for process in processes:
            process.kill()
            process.wait()
        family.refresh()
        assert not {process.pid for process in processes} & set(family.members)
    finally:
        family.close()
        for process in processes:
            process.kill()
            process.wait()
    assert num_open_files() == before


@pytest.mark.parametrize("kind", [LinuxFamily, PsutilFamily])
def test_a_process_that_ended_can_be_read_once_before_it_is_waited_for_and_never_after(kind):
    process = subprocess.Popen(["sleep", "60"])
    family = kind(Target(process.pid))
    family.refresh()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    family.refresh()
    assert family.members[process.pid].is_zombie
    with pytest.raises(ProcessLookupError):
        family.refresh()
    process.wait()
    with pytest.raises(ProcessLookupError):
        family.refresh()
    family.close()


@pytest.mark.parametrize("kind", [LinuxFamily, PsutilFamily])
def test_a_process_that_was_waited_for_is_gone(kind):
    process = subprocess.Popen(["sleep", "60"])
    family = kind(Target(process.pid))
    process.kill()
    process.wait()
    with pytest.raises(ProcessLookupError):
        family.refresh()
    with pytest.raises(ProcessLookupError):
        kind(Target(process.pid))
    family.close()


def test_a_pid_given_out_again_is_another_process(start_program, monkeypatch):
    monkeypatch.setattr("fedsight.monitor.family._MAX_KEPT_FILES", 0)
    program = start_program()
    family = LinuxFamily(Target(program.pid))
    family.refresh()
    member = family.members[program.pid]
    member._started_ticks -= 1  # as of a process before it that had its pid
    program.do("burn(0.001)")
    with pytest.raises(ProcessLookupError):
        family.refresh()
    family.close()


def test_a_process_whose_name_holds_parentheses_is_read(tmp_path):
    script = tmp_path / "a) R (b"
    script.symlink_to("/bin/sleep")
    process = subprocess.Popen([script, "60"])
    try:
        family = LinuxFamily(Target(process.pid))
        assert family.members[process.pid].num_threads == 1
        family.close()
    finally:
        process.kill()
        process.wait()


def test_probes_of_one_thread_share_a_family_and_other_threads_have_their_own(start_program):
    target = Target(start_program().pid)
    first, second = open_family(target), open_family(target)
    assert first is second
    others: list[Family] = []
    thread = threading.Thread(target=lambda: others.append(open_family(target)))
    thread.start()
    thread.join()
    assert others[0] is not first
    others[0].close()
    first.close()
    second.refresh()
    second.close()
    assert open_family(target) is not first
    open_family(target).close()
    open_family(target).close()


def test_each_reader_of_a_shared_family_gets_fresh_figures(start_program):
    program = start_program()
    family = open_family(Target(program.pid))
    family.refresh_for("a")
    before = family.members[program.pid].cpu_sec
    program.do("burn(0.02)")
    family.refresh_for("b")  # maybe what "a" read: b sees it for the first time
    family.refresh_for("b")
    assert family.members[program.pid].cpu_sec >= before + 0.02
    family.close()


def test_descendants_are_told_with_and_without_an_open_family(start_program):
    program = start_program()
    child = int(program.do(f"p = {SLEEP}; print(p.pid)"))
    assert descendants(program.pid) == {child}
    family = open_family(Target(program.pid))
    assert descendants(program.pid) == {child}
    family.close()
    program.do("p.kill(); p.wait()")


def test_psutil_tells_the_same(start_program, until):
    program = start_program()
    child = int(program.do(f"p = {SLEEP}; print(p.pid)"))
    family, other = LinuxFamily(Target(program.pid)), PsutilFamily(Target(program.pid))
    assert pids(family) == pids(other) == {program.pid, child}
    program.do("burn(0.1)")
    time.sleep(0.01)
    family.refresh()
    other.refresh()
    mine, theirs = family.members[program.pid], other.members[program.pid]
    assert mine.cpu_sec == pytest.approx(theirs.cpu_sec, abs=0.03)
    assert mine.rss_bytes == pytest.approx(theirs.rss_bytes, rel=0.01)
    assert mine.num_threads == theirs.num_threads == 1
    program.do("p.kill(); p.wait()")
    until(lambda: pids(other) == {program.pid})
    family.close()
    other.close()
