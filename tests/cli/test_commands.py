"""The command line, as a user calls it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from collector.harness import Collector, Process, a_run, until
from fedsight import __version__
from fedsight.store import Store, queries


def fedsight(*arguments: str, cwd: Path, code: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FEDSIGHT_")}
    return subprocess.run(
        [sys.executable, "-c", f"{code}\nfrom fedsight.cli import main; main()", *arguments],
        cwd=cwd,
        env={**clean, "COLUMNS": "200", "XDG_CACHE_HOME": str(cwd / "cache"), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version(tmp_path: Path) -> None:
    assert fedsight("--version", cwd=tmp_path).stdout == f"fedsight {__version__}\n"


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = fedsight("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in ("serve", "view", "reindex", "sync", "demo", "token"):
        assert command in shown.stdout


@pytest.mark.parametrize("command", ["serve", "view", "reindex", "sync", "demo", "token"])
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    shown = fedsight(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "Usage" in shown.stdout


def without(package: str) -> str:
    return f"import sys; sys.modules[{package!r}] = None"


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("litestar", ("serve", "--port", "0"), "collector"),
        ("duckdb", ("view", "."), "collector"),
        ("zstandard", ("serve", "--port", "0"), "collector"),
        ("numpy", ("demo", "--clients", "20"), "demo"),
    ],
)
def test_a_missing_package_is_answered_with_the_command_that_installs_it(
    tmp_path: Path, package: str, arguments: tuple[str, ...], extra: str
) -> None:
    shown = fedsight(*arguments, cwd=tmp_path, code=without(package))
    assert shown.returncode == 1
    assert f"pip install 'fedsight[{extra}]'" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_the_other_commands_do_without_the_demos_packages(tmp_path: Path) -> None:
    shown = fedsight("--help", cwd=tmp_path, code=f"{without('numpy')}; sys.modules['sklearn'] = None")
    assert shown.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (("view", "no-such-folder"), {}, "no-such-folder is no folder"),
        (("serve",), {"FEDSIGHT_PORT": "x"}, "FEDSIGHT_PORT is 'x'"),
        (("reindex", "no-such-folder"), {}, "no-such-folder is no folder"),
        (("sync", "."), {}, "FEDSIGHT_COLLECTOR"),
        (("sync", "nothing.jsonl", "--url", "http://127.0.0.1:1"), {}, "nothing.jsonl does not exist"),
        (("token", "revoke", "nope"), {}, "no token 'nope'"),
        (("token", "create", "--role", "viewer", "--run", "r"), {}, "only a producer"),
        (("view", ".", "--host", "0.0.0.0"), {}, "FEDSIGHT_TOKENS"),
        (("serve", "--data", "/dev/null/data", "--port", "0"), {}, "/dev/null/data"),
        (("serve", "--port", "0"), {"FEDSIGHT_TOKENS": "/etc/hostname"}, "is no tokens file"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], says: str
) -> None:
    shown = fedsight(*arguments, cwd=tmp_path, **environ)
    assert shown.returncode == 1
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr + shown.stdout


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    made = fedsight("token", "create", "--role", "producer", "--run", "r1", "--name", "site A", cwd=tmp_path)
    token = made.stdout.strip()
    assert re.fullmatch(r"fs_[0-9a-f]{8}_[0-9a-f]{48}", token)
    listed = fedsight("token", "list", cwd=tmp_path).stdout
    token_id = token.split("_")[1]
    for part in (token_id, "producer", "site A", "r1"):
        assert part in listed
    assert token not in listed
    assert fedsight("token", "revoke", token_id, cwd=tmp_path).returncode == 0
    assert token_id not in fedsight("token", "list", cwd=tmp_path).stdout


def test_a_default_port_that_is_taken_gives_way_to_the_next_and_it_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 7070))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        (tmp_path / "runs").mkdir()
        process = Process("view", cwd=tmp_path)
        try:
            assert 7070 < int(process.url.rpartition(":")[2]) < 7090
            assert "Port 7070 is taken" in process.output
        finally:
            process.stop()


def test_sync_delivers_a_folder_and_says_what_became_of_it(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for number in range(3):
        (tmp_path / "runs" / f"r{number}.jsonl").write_bytes(a_run(f"j{number}", f"r{number}"))
    with Collector(tmp_path) as collector:
        shown = fedsight("sync", "runs", "--url", collector.url, "--token", collector.token("producer"), cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "3 of 3 journals are complete" in shown.stdout
        collector.settled()
        assert sorted(collector.get("/api/v1/runs")["columns"]["run_id"]) == ["r0", "r1", "r2"]
        wrong = fedsight("sync", "runs", "--url", collector.url, "--token", "fs_no_such", cwd=tmp_path)
        assert wrong.returncode == 1
        assert "no such token" in wrong.stderr


def snapshot(index: Path) -> dict[str, object]:
    with Store.open(index) as store:
        runs = queries.runs(store, sort="run_id", order="asc").columns
        return {
            "runs": runs,
            "rounds": [queries.rounds(store, r).columns for r in runs["run_id"]],
            "clients": [queries.clients(store, r).columns for r in runs["run_id"]],
            "updates": [queries.updates(store, r, limit=10_000).columns for r in runs["run_id"]],
            "events": [queries.events(store, r).columns for r in runs["run_id"]],
            # The collector writes down its own end after the index has stopped.
            "cursors": {j: at for j, at in store.cursors().items() if not j.startswith("source-")},
        }


def test_a_rebuilt_index_answers_like_the_one_that_grew(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        for number in range(3):
            body = a_run(f"j{number}", f"r{number}", rounds=12)
            cut = body.index(b"\n", len(body) // 2) + 1
            collector.post(f"j{number}", 0, body[:cut])
            collector.settled()
            collector.post(f"j{number}", cut, body[cut:])
        collector.settled()
    index = tmp_path / "data" / "index.duckdb"
    grown = snapshot(index)
    inode = index.stat().st_ino

    shown = fedsight("reindex", "data", cwd=tmp_path)

    assert shown.returncode == 0, shown.stderr
    assert "4 journals" in shown.stdout  # the collector's own log among them
    assert index.stat().st_ino != inode
    assert snapshot(index) == grown
    assert sorted(p.name for p in index.parent.iterdir() if "new" in p.name) == []


def test_reindex_mends_an_index_that_is_damaged(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.post("j0", 0, a_run("j0", "r0"))
        collector.settled()
    (tmp_path / "data" / "index.duckdb").write_bytes(b"no database" * 1000)
    damaged = fedsight("serve", "--data", "data", "--port", "0", cwd=tmp_path)
    assert damaged.returncode == 1
    assert "can't be opened" in damaged.stderr
    assert fedsight("reindex", "data", cwd=tmp_path).returncode == 0
    with Collector(tmp_path) as again:
        assert again.get("/api/v1/runs")["columns"]["run_id"] == ["r0"]


def test_reindex_names_what_it_had_to_skip_and_fails_with_the_rest_indexed(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r0.jsonl").write_bytes(a_run("j0", "r0"))
    (tmp_path / "runs" / "damaged.jsonl").write_bytes(b"no header\n" + a_run("j1", "r1"))
    shown = fedsight("reindex", "runs", cwd=tmp_path)
    assert shown.returncode == 1
    assert "1 journals" in shown.stdout
    assert "1 files were skipped" in shown.stderr
    assert "damaged.jsonl" in shown.stderr


def test_reindex_refuses_while_a_collector_holds_the_index(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.post("j0", 0, a_run("j0", "r0"))
        collector.settled()
        shown = fedsight("reindex", str(collector.data), cwd=tmp_path)
        assert shown.returncode == 1
        assert f"in use by fedsight serve (pid {collector.process.pid}). Stop that first." in shown.stderr
        assert collector.get("/api/v1/runs")["columns"]["run_id"] == ["r0"]


def test_a_viewed_folder_is_reindexed_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r0.jsonl").write_bytes(a_run("j0", "r0"))
    shown = fedsight("reindex", "runs", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["r0.jsonl"]
    process = Process("view", "runs", "--port", "0", cwd=tmp_path)
    try:
        until(lambda: "Ctrl+C" in process.output, "it runs")
    finally:
        assert process.stop(signal.SIGINT) == 0
