"""The index's thread: what it does when the store can't take a line, or the file is all there is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from collector.harness import a_round, header, run_start, until
from fedsight.collector.indexer import Indexer
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
    indexer.grown(journal, read_header(journal), journal.stat().st_size)
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
    indexer.grown(journal, read_header(journal), journal.stat().st_size)
    indexer.start()
    until(lambda: indexer.stalled and "No space" in indexer.stalled, "it says why")
    broken = False
    until(lambda: indexer.pending_bytes == 0, "all is stored")
    until(lambda: indexer.stalled is None, "it says that all is well")
    indexer.stop()
    assert store.cursors() == {"j1": journal.stat().st_size}
    assert len(queries.dead_letters(store).columns["offset"]) == 1  # the poison alone
    store.close()
