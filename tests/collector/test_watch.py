"""Watching a folder of journals: what grew, when, and who still writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.harness import header, run_start
from fedsight.collector.folder import look
from fedsight.collector.journals import Journals
from fedsight.collector.watch import FolderWatch
from fedsight.journal import JournalWriter


def test_a_folder_is_seen_by_journal_with_the_files_of_each_in_order(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a@000000000000100.jsonl", "a@000000000000020.jsonl", "b.c~0a.jsonl", "notes.txt"):
        (tmp_path / name).write_bytes(b"x\n")
    found = look(tmp_path)
    assert {path.name: [file.base for file in files] for path, files in found.items()} == {
        "a.jsonl": [0, 20, 100],
        "b.c~0a.jsonl": [0],
    }


def test_what_grew_is_told_once_with_the_time_of_its_newest_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(header())
    os.utime(path, (50.0, 50.0))
    watch = FolderWatch(tmp_path)
    (found,) = watch.scan()
    assert (found.path, found.end, found.changed_at) == (path, len(header()), 50.0)


def test_what_is_no_journal_or_a_copy_of_one_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(header())
    (tmp_path / "copy.jsonl").write_bytes(header())
    (tmp_path / "foreign.jsonl").write_bytes(b'{"x":1}\n')
    (tmp_path / "begun.jsonl").write_bytes(b"")
    watch = FolderWatch(tmp_path)
    assert [found.path.name for found in watch.scan()] == ["a.jsonl"]
    left_out = {path.name: reason for path, reason in watch.left_out().items()}
    assert left_out.keys() == {"copy.jsonl", "foreign.jsonl"}
    assert "a copy of" in left_out["copy.jsonl"]
    assert "no journal" in left_out["foreign.jsonl"]


def test_writers_are_looked_for_in_turn_so_that_no_commit_waits_for_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        (tmp_path / f"j{n}.jsonl").write_bytes(header(f"j{n}"))
    writer = JournalWriter(tmp_path / "live.jsonl", role="server", run_id="live")
    watch = FolderWatch(tmp_path)
    watch.scan()
    monkeypatch.setattr("fedsight.collector.watch.MAX_PROBING_SEC", 0.0)  # one at a time
    known: list[int] = []
    for turn in range(6):
        seen, gone = watch.contacts(100.0 + turn)
        known.append(len(seen) + len(gone))
    assert known == [1, 2, 3, 4, 5, 6]
    assert (seen.keys(), gone) == ({writer.journal}, {f"j{n}" for n in range(5)})
    (at,) = seen.values()
    assert 100.0 <= at <= 105.0
    writer.close()
    watch.contacts(107.0)
    assert writer.journal in watch.contacts(108.0)[1]


def test_opening_many_copies_looks_at_the_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        (tmp_path / f"j{n}.jsonl").write_bytes(header(f"j{n}") + run_start())
    looks: list[object] = []
    for name in ("scandir", "listdir"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real: (looks.append(a), real(*a))[1])
    assert len(Journals(tmp_path).all()) == 20
    assert len(looks) == 1
