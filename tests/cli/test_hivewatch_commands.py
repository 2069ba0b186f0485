"""`fedsight import hivewatch` and `fedsight map`, as a user types them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx

import fedsight
from collector.harness import Process, until

FILES = Path(__file__).parents[1] / "imports" / "hivewatch_files"


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "fedsight", *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_a_folder_of_hivewatchs_files_becomes_one_of_journals(tmp_path: Path) -> None:
    shutil.copytree(FILES, tmp_path / "runs")
    with (tmp_path / "runs" / "run-v020.jsonl").open("a") as file:
        file.write('{"event_type": "finis')
    done = command("import", "hivewatch", *sorted((tmp_path / "runs").glob("*.jsonl")), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "line 19: no JSON: the line was torn" in done.stderr
    assert done.stdout.splitlines()[-1] == (
        "2 of 2 files imported: 36 events, 1 line skipped. Look at them with: fedsight view imported-runs"
    )
    assert sorted(path.name for path in (tmp_path / "imported-runs").iterdir()) == ["run-v020.jsonl", "run-v031.jsonl"]


def test_what_is_there_stays_and_the_others_are_imported(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run-v020.jsonl").write_text("mine")
    done = command("import", "hivewatch", *sorted(FILES.glob("*.jsonl")), "--into", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "out/run-v020.jsonl exists already and is not overwritten" in done.stderr
    assert (tmp_path / "out" / "run-v020.jsonl").read_text() == "mine"
    assert (tmp_path / "out" / "run-v031.jsonl").exists()


def test_a_map_is_written_on_demand(tmp_path: Path) -> None:
    run = fedsight.Run("r", runs_dir=tmp_path, verbose=False)
    run.log_client_update("a", 0, lat=1.0)  # while the run goes on
    assert command("map", "export", "r.jsonl", cwd=tmp_path).stdout == "r.map.json\n"
    assert json.loads((tmp_path / "r.map.json").read_bytes())["rounds"][0]["clients"][0]["lat"] == 1.0
    command("map", "export", "r.jsonl", "-o", "elsewhere.json", cwd=tmp_path)
    assert (tmp_path / "elsewhere.json").read_bytes() == (tmp_path / "r.map.json").read_bytes()
    assert command("map", "export", "r.map.json", cwd=tmp_path).stderr.startswith("fedsight: r.map.json is no journal")
    run.finish()


def test_map_run_opens_the_dashboard_on_this_machine_alone(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Process("map", "run", "--port", str(port), "--run-id", "a b", cwd=tmp_path)
    try:
        until(lambda: "Fedsight shows" in server.output, "that it is up")
        assert f"http://127.0.0.1:{port}/runs/a%20b" in server.output
        assert httpx.get(f"http://127.0.0.1:{port}/runs", trust_env=False).json() == []
        assert (tmp_path / "runs").is_dir()
    finally:
        server.stop()
