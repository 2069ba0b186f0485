"""`fedsight probes`, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fedsight.monitor.probes import BUILT_IN


def probes(*arguments: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{before}\nfrom fedsight.cli import main; main()", "probes", *arguments],
        env={**os.environ, "COLUMNS": "80", **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_lists_every_probe_with_its_metrics_in_the_terminals_width() -> None:
    shown = probes()
    assert shown.returncode == 0, shown.stderr
    names = {line.split()[0] for line in shown.stdout.splitlines() if line[:1].strip()}
    assert names >= BUILT_IN.keys()
    assert "process.cpu.time (s)" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_what_can_not_measure_here_says_why() -> None:
    found = json.loads(probes("--json").stdout)
    assert {each["name"] for each in found} >= BUILT_IN.keys()
    assert next(each for each in found if each["name"] == "cpu")["is_available"]
    for probe in found:
        assert bool(probe["reason"]) != probe["is_available"]
        assert probe["metrics"]
        assert all(each["unit"] and each["description"] for each in probe["metrics"])


def test_probes_of_other_packages_are_in_the_list_broken_ones_too(tmp_path: Path) -> None:
    package = tmp_path / "flux-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: flux-probes\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[fedsight.probes]\nflux = flux:Flux\nbroken = nowhere:Gone\n")
    (tmp_path / "flux.py").write_text(
        "from fedsight.monitor.probes.probe import MetricInfo\n"
        "class Flux:\n"
        "    name = 'flux'\n"
        "    metrics = (MetricInfo('flux.density', 'T', 'gauge', 'How much'),)\n"
        "    def __init__(self, target): pass\n"
        "    def close(self): pass\n"
    )
    found = {each["name"]: each for each in json.loads(probes("--json", PYTHONPATH=str(tmp_path)).stdout)}
    assert found["flux"]["is_available"]
    assert (found["flux"]["origin"], found["flux"]["metrics"][0]["name"]) == ("flux-probes", "flux.density")
    assert "nowhere" in found["broken"]["reason"]


def test_it_needs_the_recorder_alone() -> None:
    bare = "import sys; sys.modules.update(dict.fromkeys(('typer', 'rich', 'duckdb', 'litestar')))"
    assert probes(before=bare).returncode == 0


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-c", "from fedsight.cli import main; main()", "probes", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(20) == 0
