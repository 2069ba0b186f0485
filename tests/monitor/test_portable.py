"""What psutil is asked for, with the operating system's own errors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fedsight.monitor import portable


@pytest.mark.parametrize(
    "ask",
    [
        portable.num_allowed_cpus,
        portable.peak_bytes,
        portable.memory_shares,
        portable.io_bytes,
        portable.num_open_files,
        portable.context_switches,
    ],
)
def test_a_process_that_is_gone_is_said_so(ask):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(ProcessLookupError):
        ask(process.pid)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="macOS has no affinity")
def test_the_cpus_that_affinity_allows(start_program):
    program = start_program("os.sched_setaffinity(0, {0})\n")
    assert portable.num_allowed_cpus(program.pid) == 1


def test_the_machine():
    assert portable.memory_total_bytes() > portable.memory_used_bytes() > 0
    times = portable.machine_cpu_sec()
    assert times["user"] > 0
    assert times["idle"] > 0


def test_this_process():
    assert portable.memory_shares(os.getpid())["uss"] > 1 << 20
    assert portable.num_open_files(os.getpid()) >= 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a peak")
def test_an_unknown_peak_is_no_peak():
    assert portable.peak_bytes(os.getpid()) == 0
