"""Appends to several journals happen all or not at all, over a crash, too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fedsight.collector.journals import Journals
from fedsight.collector.parts import Parts
from fedsight.collector.producer import journal_id
from fedsight.collector.settings import serve_settings
from fedsight.collector.together import Addition, Together, finish_batches
from fedsight.events import Log
from recorded import of_type

A, B = (f"{journal_id('source', subject)}.jsonl" for subject in ("a", "b"))


def log(number: int) -> Log:
    return Log(ts=float(number), component="c", event="e", message=str(number))


def both(number: int) -> list[Addition]:
    return [Addition("source", "a", [log(number), log(number)]), Addition("source", "b", [log(number)])]


def numbers(folder: Path, name: str) -> list[float]:
    return [event.ts for event in of_type(folder / name, Log)] if (folder / name).exists() else []


class Opened:
    """The collector's parts over a folder, without its threads."""

    def __init__(self, data: Path) -> None:
        self.parts = Parts(serve_settings(data, environ={}))
        self.folder = data / "journals"
        self.journals = Journals(self.folder)
        self.together = Together(self.journals, self.parts.indexer)

    def append(self, additions: list[Addition]) -> None:
        asyncio.run(self.together.append(additions))

    def close(self) -> None:
        self.parts.store.close()


def test_what_is_appended_together_is_there_and_leaves_no_note(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.append(both(1))
    opened.append(both(2))
    opened.close()
    assert numbers(opened.folder, A) == [1, 1, 2, 2]
    assert numbers(opened.folder, B) == [1, 2]
    assert not list(opened.folder.glob("*.batch*"))


@pytest.mark.parametrize("reached", ["nothing", "a part of the first", "the first", "both"])
def test_a_crash_in_the_midst_is_made_good_at_the_next_start(
    tmp_path: Path, reached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Opened(tmp_path)
    opened.append(both(1))
    a, b = opened.folder / A, opened.folder / B
    before = a.read_bytes(), b.read_bytes()
    with monkeypatch.context() as patch:
        # The note stays, as after a crash.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        opened.append(both(2))
    after = a.read_bytes(), b.read_bytes()
    opened.close()
    torn = before[0] + after[0][len(before[0]) : -7]
    a.write_bytes({"nothing": before[0], "a part of the first": torn}.get(reached, after[0]))
    b.write_bytes(after[1] if reached == "both" else before[1])
    for _ in range(2):
        finish_batches(opened.folder)
        assert (a.read_bytes(), b.read_bytes()) == after
        assert not list(opened.folder.glob("*.batch"))


def test_where_one_journal_cannot_be_written_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(tmp_path)
    opened.append(both(1))
    copy = opened.journals.get(journal_id("source", "b"))
    assert copy is not None

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(copy, "append", full)
        with pytest.raises(OSError, match="No space left"):
            opened.append(both(2))
    opened.append(both(3))
    opened.close()
    assert numbers(opened.folder, A) == [1, 1, 3, 3]
    assert numbers(opened.folder, B) == [1, 3]
    assert not list(opened.folder.glob("*.batch*"))


def test_a_crash_while_it_is_taken_back_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(tmp_path)
    opened.append(both(1))
    copy = opened.journals.get(journal_id("source", "b"))
    assert copy is not None

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    def crash(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(copy, "append", full)
        patch.setattr("fedsight.collector.together._take_back", crash)
        with pytest.raises(MemoryError):
            opened.append(both(2))
    opened.close()
    finish_batches(opened.folder)
    assert numbers(opened.folder, A) == [1, 1, 2, 2]
    assert numbers(opened.folder, B) == [1, 2]


def test_half_a_note_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.batch.new").write_bytes(b'[{"journal":"source-1","sta')
    finish_batches(tmp_path)
    assert list(tmp_path.iterdir()) == []
