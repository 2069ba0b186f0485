"""The index's thread: what it does when the store can't take a line, or the file is all there is."""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from collector.harness import a_round, header, run_start, until
from fedsight.collector.indexer import Indexer
from fedsight.collector.watch import FolderWatch
from fedsight.events import ClientUpdate, decode_block
from fedsight.journal import read_header
from fedsight.store import Receipt, Store, queries


class PickyStore(Store):
    """A real store with one flaw: any block that holds the client "poison" makes it fail."""

    num_failures = 0

    def apply(self, receipts: Sequence[Receipt]) -> int:
        for receipt in receipts:
            for event in receipt.block.events:
                if isinstance(event, ClientUpdate) and event.client_id == "poison":
                    self.num_failures += 1
                    raise RuntimeError("can't take poison")
        return super().apply(receipts)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "j1.jsonl"
    rounds = [a_round(n, *(f"c{i}" for i in range(20))) for n in range(20)]
    rounds[7] = a_round(7, "c0", "poison", "c1")
    path.write_bytes(header() + run_start() + b"".join(rounds))
    return path


def test_a_line_that_the_store_can_not_take_costs_only_itself(journal: Path) -> None:
    store = PickyStore.open(None)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
    indexer.grown(journal, read_header(journal), journal.stat().st_size, 1.0)
    indexer.run_dry()

    assert store.cursors() == {"j1": journal.stat().st_size}
    assert indexer.pending_bytes == 0
    letters = queries.dead_letters(store).columns
    data = journal.read_bytes()
    assert letters["offset"] == [data.rindex(b"\n", 0, data.index(b'"client_id":"poison"')) + 1]
    assert "can't take poison" in letters["reason"][0]
    run = queries.run(store, "r1")
    assert run is not None
    assert run.run["num_rounds"] == 20
    assert run.run["num_updates"] == 19 * 20 + 2
    store.close()


def test_blocks_that_found_no_room_are_read_from_the_file(journal: Path) -> None:
    data = journal.read_bytes().replace(b"poison", b"c19")
    journal.write_bytes(data)
    store = Store.open(None)
    commits: list[int] = []
    indexer = Indexer(store, commits.append, max_queue_bytes=1 << 20)
    cuts = [0, *(data.index(b"\n", len(data) * n // 5) + 1 for n in range(1, 5)), len(data)]
    blocks = [decode_block(data[a:b], a) for a, b in itertools.pairwise(cuts)]
    indexer.received(journal, read_header(journal), [blocks[1], blocks[3]], cuts[4])  # 0 and 2 are missing
    indexer.received(journal, read_header(journal), [blocks[4]], cuts[5])
    indexer.start()
    until(lambda: indexer.pending_bytes == 0, "all is stored")
    indexer.stop()
    assert store.cursors() == {"j1": len(data)}
    assert indexer.room_bytes() == 1 << 20
    assert commits[-1] == store.commit
    assert queries.updates(store, "r1", limit=10_000).columns["round"].count(3) == 20
    store.close()


def test_while_the_store_fails_altogether_it_is_told_and_nothing_is_lost(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PickyStore.open(None)
    broken = True
    real = PickyStore.apply

    def apply(self: PickyStore, receipts: Sequence[Receipt]) -> int:
        if broken:
            raise OSError("No space left on device")
        return real(self, receipts)

    monkeypatch.setattr(PickyStore, "apply", apply)
    monkeypatch.setattr("fedsight.collector.indexer.RETRY_SEC", 0.05)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
    indexer.grown(journal, read_header(journal), journal.stat().st_size, 1.0)
    indexer.start()
    until(lambda: indexer.stalled and "No space" in indexer.stalled, "it says why")
    broken = False
    until(lambda: indexer.pending_bytes == 0, "all is stored")
    until(lambda: indexer.stalled is None, "it says that all is well")
    indexer.stop()
    assert store.cursors() == {"j1": journal.stat().st_size}
    assert len(queries.dead_letters(store).columns["offset"]) == 1  # the poison alone
    store.close()


@pytest.fixture
def few_files() -> Iterator[None]:
    """A process that may open 200 files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
@pytest.mark.parametrize("num_rounds", [1, 60])
def test_more_journals_than_files_a_process_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_rounds: int
) -> None:
    monkeypatch.setattr("fedsight.collector.indexer.READ_BYTES", 4_000)  # so that the long ones take several turns
    for n in range(300):
        (tmp_path / f"j{n}.jsonl").write_bytes(header(f"j{n}", run_id=f"r{n}") + run_start(f"r{n}"))
    whole = header("long", run_id="r") + b"".join(a_round(n, "a") for n in range(num_rounds))
    for n in range(300, 300 + (120 if num_rounds > 1 else 0)):
        (tmp_path / f"j{n}.jsonl").write_bytes(whole.replace(b'"long"', b'"j%d"' % n))
    store = Store.open(None)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
    found = FolderWatch(tmp_path).scan()
    for journal in found:
        indexer.grown(journal.path, journal.header, journal.end, journal.changed_at)
    indexer.run_dry()
    assert store.cursors() == {journal.header.journal: journal.end for journal in found}
    assert indexer.unreadable() == {}
    store.close()


def test_a_journal_that_can_not_be_read_is_told_of_and_taken_up_again_when_it_can(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsight.collector.indexer.RETRY_READING_SEC", 0.05)
    journal.write_bytes(journal.read_bytes().replace(b"poison", b"c19"))
    other = tmp_path / "j2.jsonl"
    other.write_bytes(header("j2", run_id="r2") + run_start("r2"))
    store = Store.open(None)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
    for path in (journal, other):
        indexer.grown(path, read_header(path), path.stat().st_size, 1.0)
    away = journal.rename(tmp_path / "away")
    indexer.start()
    until(lambda: indexer.stalled and "j1.jsonl can't be read" in indexer.stalled, "it says why")
    assert indexer.unreadable().keys() == {journal}
    assert (indexer.pending_bytes, indexer.backlog_bytes) == (away.stat().st_size, 0)
    assert store.cursors() == {"j2": other.stat().st_size}
    away.rename(journal)
    until(lambda: indexer.pending_bytes == 0, "all is stored")
    until(lambda: indexer.stalled is None, "it says that all is well")
    indexer.stop()
    assert store.cursors()["j1"] == journal.stat().st_size
    store.close()


def test_what_is_read_from_a_file_was_heard_when_the_file_changed(journal: Path) -> None:
    os.utime(journal, (1000.0, 1000.0))
    store = Store.open(None)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
    (found,) = FolderWatch(journal.parent).scan()
    indexer.grown(found.path, found.header, found.end, found.changed_at)
    indexer.run_dry()
    run = queries.run(store, "r1")
    assert run is not None
    assert run.journals[0].last_contact == 1000.0
    assert store.note_contact({}, [], 2_000_020.0, listening_since=2_000_000.0) is None  # it may yet be heard of
    assert store.note_contact({}, [], 2_000_031.0, listening_since=2_000_000.0) == store.commit
    assert queries.runs(store).columns["state"] == ["lost"]
    store.close()


class CountingStore(Store):
    """A real store that counts how often silence was judged."""

    num_judged = 0

    def note_contact(self, *told: Any) -> int | None:
        commit = super().note_contact(*told)
        self.num_judged += 1
        return commit


def test_after_a_restart_nobody_is_taken_for_lost_before_there_was_time_to_be_heard(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsight.collector.indexer.CONTACT_INTERVAL_SEC", 0.01)
    store = CountingStore.open(None)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)
    indexer.grown(journal, read_header(journal), journal.stat().st_size, 1000.0)
    indexer.start()
    until(lambda: indexer.pending_bytes == 0 and store.num_judged > 2, "silence was judged")
    indexer.stop()
    assert queries.runs(store).columns["state"] == ["running"]
    assert store.note_contact({}, [], time.time() + 1) == store.commit  # as one who always listened would say
    assert queries.runs(store).columns["state"] == ["lost"]
    store.close()
