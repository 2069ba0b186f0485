"""Storage I/O of a process and its children."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fedsight.monitor.family import LinuxFamily
from fedsight.monitor.family_psutil import PsutilFamily
from fedsight.monitor.probes.disk import DiskProbe
from fedsight.monitor.probes.probe import Target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own account")

MB = 1 << 20
WRITE = "f = open({path!r}, 'wb'); f.write(bytes({num_bytes})); f.flush(); os.fsync(f.fileno()); f.close()"


@pytest.fixture
def folder(tmp_path):
    """One on a storage that counts: memory file systems read and write none."""
    before = written(os.getpid())
    with (tmp_path / "try").open("wb") as file:
        file.write(bytes(MB))
        file.flush()
        os.fsync(file.fileno())
    if written(os.getpid()) - before < MB:
        pytest.skip(f"{tmp_path} is no storage that the kernel counts")
    return tmp_path


def written(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise AssertionError("no write_bytes")


def num_written(probe: DiskProbe) -> float:
    values: dict[str, float] = {}
    probe.read(values)
    return values["process.disk.io{disk.io.direction=write}"]


@pytest.mark.parametrize("kind", [LinuxFamily, PsutilFamily])
def test_what_a_process_writes_counts_from_the_start(folder, start_program, kind):
    program = start_program()
    program.do(WRITE.format(path=str(folder / "before"), num_bytes=4 * MB))
    target = Target(program.pid)
    probe = DiskProbe(target, family=kind(target))
    program.do(WRITE.format(path=str(folder / "after"), num_bytes=2 * MB))
    assert 2 * MB <= num_written(probe) <= 3 * MB
    probe.close()


def test_what_ended_children_wrote_counts_once(folder, start_program, until):
    program = start_program()
    probe = DiskProbe(Target(program.pid))
    source = (
        "import os, sys; " + WRITE.format(path=str(folder / "child"), num_bytes=2 * MB) + "; print(flush=True); input()"
    )
    program.do(f"p = subprocess.Popen([sys.executable, '-c', {source!r}], stdin=-1, stdout=-1); p.stdout.readline()")
    assert 2 * MB <= num_written(probe) <= 3 * MB
    program.do("p.communicate(b'\\n')")
    assert 2 * MB <= num_written(probe) <= 3 * MB
    program.do(f"subprocess.run([sys.executable, '-c', {source!r}], input=b'\\n', stdout=-3)")
    assert 4 * MB <= num_written(probe) <= 6 * MB
    probe.close()


def test_a_process_that_ended_is_said_so(start_program):
    program = start_program()
    probe = DiskProbe(Target(program.pid))
    program.end()
    with pytest.raises(ProcessLookupError):
        num_written(probe)
    probe.close()
