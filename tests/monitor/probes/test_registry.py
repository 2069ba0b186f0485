"""Which probes there are, ours and other packages'."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fedsight.errors import UsageError
from fedsight.monitor import probes
from fedsight.monitor.probes import BUILT_IN, close_probes, open_probes
from fedsight.monitor.probes.probe import Target, split_key

PACKAGE = """
class Probe:
    name = "humidity"
    metrics = ()
    def __init__(self, target): pass
    def read(self, values): values["acme.humidity"] = 0.4
    def close(self): pass

class Broken:
    def __init__(self, target): raise RuntimeError("the sensor bit me")
"""

ENTRY_POINTS = """[fedsight.probes]
humidity = acme_probes:Probe
broken = acme_probes:Broken
absent = acme_probes.nothing:Probe
cpu = acme_probes:Probe
"""


@pytest.fixture
def acme(tmp_path, monkeypatch):
    """Another package with probes, installed for the time of a test."""
    (tmp_path / "acme_probes.py").write_text(PACKAGE)
    information = tmp_path / "acme-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    probes._third_party.cache_clear()
    yield
    probes._third_party.cache_clear()


def test_all_probes_are_open_or_say_why_not():
    opened, unavailable = open_probes(Target(os.getpid()))
    try:
        assert {probe.name for probe in opened} | set(unavailable) >= set(BUILT_IN)
        assert all(unavailable.values())
        assert "cpu" not in unavailable
    finally:
        close_probes(opened)


def test_what_a_probe_tells_is_what_it_says_it_tells():
    opened, _ = open_probes(Target(os.getpid()))
    try:
        for probe in opened:
            values: dict[str, float] = {}
            probe.read(values)
            assert {split_key(full_key)[0] for full_key in values} <= {info.name for info in probe.metrics}, probe.name
    finally:
        close_probes(opened)


def test_only_those_asked_for_are_opened_in_their_order():
    opened, unavailable = open_probes(Target(os.getpid()), ["network", "cpu", "network"])
    assert [probe.name for probe in opened] == ["network", "cpu"]
    assert unavailable == {}
    close_probes(opened)


def test_probes_of_other_packages_are_found_and_broken_ones_say_why(acme):
    opened, unavailable = open_probes(Target(os.getpid()), ["humidity", "broken", "absent", "cpu"])
    values: dict[str, float] = {}
    for probe in opened:
        probe.read(values)
    assert values["acme.humidity"] == 0.4
    assert "process.cpu.time{cpu.mode=user}" in values  # ours can't be replaced
    assert unavailable["broken"] == "RuntimeError: the sensor bit me"
    assert unavailable["absent"].startswith("ModuleNotFoundError: ")
    close_probes(opened)


@pytest.mark.parametrize("names", [["cpu", "moon"], "cpu"])
def test_names_that_no_probe_has_are_refused(names):
    with pytest.raises(UsageError, match=r"moon|list"):
        open_probes(Target(os.getpid()), names)


def test_a_process_that_is_not_there_is_no_missing_probe():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(ProcessLookupError):
        open_probes(Target(process.pid))


def test_probes_are_imported_when_they_are_opened():
    source = (
        "import os, sys; from fedsight.monitor.probes import open_probes; from fedsight.monitor.probes.probe import Target\n"
        "loaded = [name for name in sys.modules if name.startswith('fedsight.monitor.probes.')]\n"
        "assert loaded == ['fedsight.monitor.probes.probe'], loaded\n"
        "open_probes(Target(os.getpid()), ['cpu', 'memory', 'network'])\n"
        "assert 'fedsight.monitor.probes.disk' not in sys.modules\n"
        "assert sys.platform != 'linux' or 'psutil' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", source], check=True)
