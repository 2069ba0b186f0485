"""`fedsight view`: a folder of journals, seen as it is, those of live and of killed writers included."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.harness import Process, a_round, a_run, header, lines, run_end, run_start, until
from fedsight.events import ClientUpdate, JournalHeader, encode

WRITER = """
import sys, time
from pathlib import Path
from fedsight.events import ClientUpdate, RunStart, encode
from fedsight.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]) / "live.jsonl", role="server", run_id="live")
writer.append(encode(RunStart(ts=time.time(), run_id="live")))
for number in range(10**6):
    writer.append(encode(ClientUpdate(ts=time.time(), client_id="a", round=number)))
    print(number, flush=True)
    time.sleep(0.05)
"""


class View(Process):
    def __init__(self, folder: Path, cwd: Path, **environ: str) -> None:
        super().__init__("view", str(folder), "--port", "0", cwd=cwd, environ=environ)

    def get(self, path: str, **params: Any) -> Any:
        answer = httpx.get(self.url + path, params=params, timeout=20, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def runs(self) -> dict[str, str]:
        columns = self.get("/api/v1/runs")["columns"]
        return dict(zip(columns["run_id"], columns["state"], strict=True))

    def num_updates(self, run_id: str) -> int:
        columns = self.get("/api/v1/runs")["columns"]
        counts: dict[str, int] = dict(zip(columns["run_id"], columns["num_updates"], strict=True))
        return counts.get(run_id, 0)


@contextmanager
def view(folder: Path, cwd: Path, **environ: str) -> Iterator[View]:
    process = View(folder, cwd, **environ)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def test_what_lies_there_what_comes_and_what_grows_is_shown(runs: Path, tmp_path: Path) -> None:
    (runs / "one.jsonl").write_bytes(a_run("j1", "one"))
    with view(runs, tmp_path) as shown:
        until(lambda: shown.runs() == {"one": "finished"}, "the run that lies there")
        with (runs / "two.jsonl").open("wb", buffering=0) as journal:
            journal.write(header("j2", run_id="two") + run_start("two") + a_round(0, "a", "b"))
            until(lambda: shown.num_updates("two") == 2, "the run that came")
            journal.write(a_round(1, "a", "b")[:-5])  # a line that is still being written
            until(lambda: shown.num_updates("two") == 4, "its growth")
            journal.write(a_round(1, "a", "b")[-5:] + run_end())
            until(lambda: shown.runs()["two"] == "finished", "its end")
        status = shown.get("/api/v1/status")
        assert (status["mode"], status["num_dead_letters"], status["pending_bytes"]) == ("view", 0, 0)


def test_it_takes_nothing_in(runs: Path, tmp_path: Path) -> None:
    with view(runs, tmp_path) as shown:
        answer = httpx.post(f"{shown.url}/api/v1/journals/j1?offset=0", content=header(), trust_env=False)
        assert answer.status_code == 401
    assert list(runs.iterdir()) == []


def test_a_live_writer_is_running_and_a_killed_one_is_killed(runs: Path, tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(runs)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with view(runs, tmp_path) as shown:
            before = until(lambda: shown.num_updates("live"), "its first updates")
            until(lambda: shown.num_updates("live") > before, "more of them")
            assert shown.runs() == {"live": "running"}
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            until(lambda: shown.runs() == {"live": "killed"}, "that it was killed")
            written = (runs / "live.jsonl").read_bytes().count(b'"client_update"')
            until(lambda: shown.num_updates("live") == written, "all that it wrote")
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()  # type: ignore[union-attr]


def test_a_rolled_journal_is_followed_into_its_next_file(runs: Path, tmp_path: Path) -> None:
    first = header("j1", run_id="r1") + run_start() + a_round(0, "a")
    (runs / "r1.jsonl").write_bytes(first)
    with view(runs, tmp_path) as shown:
        until(lambda: shown.num_updates("r1") == 1, "the first file")
        base = len(first)
        rolled = encode(JournalHeader(ts=1.0, version=1, journal="j1", role="server", run_id="r1", base=base))
        (runs / f"r1@{base:015d}.jsonl").write_bytes(rolled + a_round(1, "a") + run_end())
        until(lambda: shown.runs() == {"r1": "finished"}, "the next file")
        assert shown.num_updates("r1") == 2


def test_the_folder_may_be_read_only_and_stays_as_it_was(runs: Path, tmp_path: Path) -> None:
    (runs / "one.jsonl").write_bytes(a_run("j1", "one"))
    (runs / "one.jsonl").chmod(0o444)
    runs.chmod(0o555)
    before = {p.name: p.stat().st_mtime_ns for p in runs.iterdir()}
    try:
        with view(runs, tmp_path) as shown:
            until(lambda: shown.runs() == {"one": "finished"}, "the run")
        assert {p.name: p.stat().st_mtime_ns for p in runs.iterdir()} == before
    finally:
        runs.chmod(0o755)


def test_the_index_is_kept_in_the_cache_and_used_again(runs: Path, tmp_path: Path) -> None:
    (runs / "one.jsonl").write_bytes(a_run("j1", "one"))
    as_ofs = []
    for _ in range(2):
        with view(runs, tmp_path) as shown:
            until(lambda s=shown: s.runs() == {"one": "finished"}, "the run")  # type: ignore[misc]
            as_ofs.append(shown.get("/api/v1/status")["as_of"])
    assert as_ofs[0].rpartition("-")[0] == as_ofs[1].rpartition("-")[0]
    assert list((tmp_path / "cache" / "fedsight" / "view").glob("*.duckdb"))


@pytest.mark.parametrize("what", ["a journal is gone", "a journal was replaced", "the cache is damaged"])
def test_a_cached_index_that_no_longer_fits_is_made_anew(runs: Path, tmp_path: Path, what: str) -> None:
    (runs / "one.jsonl").write_bytes(a_run("j1", "one"))
    (runs / "two.jsonl").write_bytes(a_run("j2", "two"))
    with view(runs, tmp_path) as shown:
        until(lambda: set(shown.runs()) == {"one", "two"}, "both")
    if what == "a journal is gone":
        (runs / "two.jsonl").unlink()
    elif what == "a journal was replaced":
        (runs / "two.jsonl").write_bytes(a_run("j3", "three"))
    else:
        for file in (tmp_path / "cache").rglob("*.duckdb"):
            file.write_bytes(b"no database" * 1000)
    wanted = {"a journal is gone": {"one"}, "a journal was replaced": {"one", "three"}}.get(what, {"one", "two"})
    with view(runs, tmp_path) as again:
        until(lambda: set(again.runs()) == wanted, f"{wanted}")


def test_two_views_of_one_folder_do_not_disturb_each_other(runs: Path, tmp_path: Path) -> None:
    (runs / "one.jsonl").write_bytes(a_run("j1", "one"))
    with view(runs, tmp_path) as first, view(runs, tmp_path) as second:
        for shown in (first, second):
            until(lambda s=shown: s.runs() == {"one": "finished"}, "the run")  # type: ignore[misc]


def test_where_no_cache_can_be_written_the_index_lives_for_this_time_only(runs: Path, tmp_path: Path) -> None:
    (runs / "one.jsonl").write_bytes(a_run("j1", "one"))
    (tmp_path / "a-file").write_bytes(b"")
    with view(runs, tmp_path, XDG_CACHE_HOME=str(tmp_path / "a-file")) as shown:
        until(lambda: shown.runs() == {"one": "finished"}, "the run")


def test_what_is_no_journal_and_a_copy_of_one_are_left_out_and_said(runs: Path, tmp_path: Path) -> None:
    (runs / "a.jsonl").write_bytes(a_run("j1", "one"))
    shutil.copy(runs / "a.jsonl", runs / "copy.jsonl")
    (runs / "other.jsonl").write_bytes(lines(ClientUpdate(ts=1.0, client_id="a", round=1)))
    (runs / "notes.txt").write_text("hello")
    with view(runs, tmp_path) as shown:
        until(lambda: shown.runs() == {"one": "finished"}, "the run")
        assert shown.num_updates("one") == 6
        until(lambda: "copy.jsonl is left out" in shown.output, "the copy is named")
        assert "other.jsonl is no journal" in shown.output
        os.utime(runs / "other.jsonl")
        assert shown.output.count("other.jsonl is no journal") == 1
