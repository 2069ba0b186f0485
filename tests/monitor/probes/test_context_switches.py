"""Context switches of all threads of a process and its children."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time

import pytest

from fedsight.monitor.family_psutil import PsutilFamily
from fedsight.monitor.probes.context_switches import ContextSwitchesProbe, switches_of
from fedsight.monitor.probes.probe import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own account")

NAP = "[time.sleep(0.0005) for _ in range(50)]"


def num_voluntary(probe: ContextSwitchesProbe) -> float:
    """As told as soon as it is told again."""
    deadline = time.monotonic() + 10
    values: dict[str, float] = {}
    while not values:
        probe.read(values)
        assert time.monotonic() < deadline
    assert set(values) == {
        "process.context_switches{process.context_switch.type=voluntary}",
        "process.context_switches{process.context_switch.type=involuntary}",
    }
    return values["process.context_switches{process.context_switch.type=voluntary}"]


def test_this_process_agrees_with_getrusage_ended_threads_too():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    probe = ContextSwitchesProbe(Target(os.getpid()))
    thread = threading.Thread(target=lambda: [time.sleep(0.0005) for _ in range(50)])
    thread.start()
    thread.join()
    counted = num_voluntary(probe)
    assert counted >= 50
    assert counted == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before, abs=20)
    probe.close()


@pytest.mark.parametrize("thread", ["main", "another"])
def test_another_process_counts_from_the_start_whatever_thread_switches(start_program, thread):
    program = start_program()
    program.do(NAP)
    probe = ContextSwitchesProbe(Target(program.pid))
    before = num_voluntary(probe)
    if thread == "main":
        program.do(NAP)
    else:
        program.do(
            f"e = threading.Event(); threading.Thread(target=lambda: ({NAP}, e.set(), time.sleep(60)), daemon=True).start(); e.wait()"
        )
    assert before + 50 <= num_voluntary(probe) <= before + 90
    probe.close()


def test_children_count_while_they_live_and_stay_counted(start_program):
    program = start_program()
    probe = ContextSwitchesProbe(Target(program.pid))
    before = num_voluntary(probe)
    source = f"import time; {NAP}; print(flush=True); input()"
    program.do(f"p = subprocess.Popen([sys.executable, '-c', {source!r}], stdin=-1, stdout=-1); p.stdout.readline()")
    alive = num_voluntary(probe)
    assert alive >= before + 50
    program.do("p.communicate(b'\\n')")
    assert num_voluntary(probe) >= alive
    probe.close()


def test_through_psutil(start_program):
    program = start_program()
    target = Target(program.pid)
    probe = ContextSwitchesProbe(target, family=PsutilFamily(target))
    before = num_voluntary(probe)
    program.do(NAP)
    assert num_voluntary(probe) >= before + 50
    probe.close()


def test_a_process_that_is_not_there_has_no_threads(start_program):
    program = start_program()
    program.end()
    assert switches_of(program.pid) == {}
