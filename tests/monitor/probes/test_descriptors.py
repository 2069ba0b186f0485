"""Open descriptors of a process and its children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedsight.monitor.family import LinuxFamily
from fedsight.monitor.family_psutil import PsutilFamily
from fedsight.monitor.probes.descriptors import DescriptorsProbe
from fedsight.monitor.probes.probe import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")

COUNT = "process.unix.file_descriptor.count"


def read(probe: DescriptorsProbe) -> dict[str, float]:
    values: dict[str, float] = {}
    probe.read(values)
    return values


@pytest.mark.parametrize("kind", [LinuxFamily, PsutilFamily])
def test_descriptors_of_the_process_and_its_children(start_program, kind):
    program = start_program()
    target = Target(program.pid)
    probe = DescriptorsProbe(target, family=kind(target))
    before = read(probe)[COUNT]
    assert before == sum(1 for _ in Path(f"/proc/{program.pid}/fd").iterdir())
    program.do("files = [open('/dev/null') for _ in range(7)]")
    assert read(probe)[COUNT] == before + 7
    probe.close()


def test_children_count_too(start_program):
    program = start_program()
    child = int(program.do("p = subprocess.Popen(['sleep', '60']); print(p.pid)"))
    probe = DescriptorsProbe(Target(program.pid))
    of_child = sum(1 for _ in Path(f"/proc/{child}/fd").iterdir())
    assert of_child >= 3
    assert read(probe)[COUNT] == sum(1 for _ in Path(f"/proc/{program.pid}/fd").iterdir()) + of_child
    program.do("p.kill(); p.wait()")
    probe.close()


def test_how_many_the_process_may_open(start_program):
    program = start_program("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))\n")
    probe = DescriptorsProbe(Target(program.pid))
    assert read(probe)["fedsight.process.file_descriptor.limit"] == 123
    probe.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, which root may")
def test_another_users_process_is_said_to_be_that():
    # The probes are imported before the change: that user may not be allowed to read them.
    source = (
        "import os, resource, fedsight.monitor.probes.cpu, fedsight.monitor.probes.disk, fedsight.monitor.probes.descriptors\n"
        "from fedsight.monitor.probes import open_probes\n"
        "from fedsight.monitor.probes.probe import Target\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"opened, unavailable = open_probes(Target({os.getpid()}), ['cpu', 'descriptors', 'disk'])\n"
        "print([probe.name for probe in opened], unavailable)"
    )
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("['cpu'] {'descriptors': ")
    assert done.stdout.count("another user's process; run the monitor as that user") == 2
