"""The store as a file: opening it, its commits, its readers beside the writer, and runs that fall silent."""

from __future__ import annotations

import subprocess
import sys
import threading

import duckdb
import pytest

from fedsight.errors import StoreError
from fedsight.events import ClientUpdate, RoundEnd, RunEnd, RunStart
from fedsight.store import Store, queries


def update(client_id="a", round=0, **fields):
    return ClientUpdate(ts=2.0, client_id=client_id, round=round, **fields)


def state(store, run_id="run"):
    return queries.run(store, run_id).run["state"]


def test_a_reopened_store_goes_on_where_it_was(journal, store_path):
    server = journal().append(update())
    with Store.open(store_path) as store:
        store.apply([server.receipt()])
        as_of, cursors = store.as_of(), store.cursors()
    with Store.open(store_path) as store:
        assert (store.as_of(), store.cursors()) == (as_of, cursors)
        assert store.apply([server.receipt()]) == store.commit
        assert store.as_of() == as_of


def test_another_store_has_another_epoch():
    with Store.open(None) as one, Store.open(None) as other:
        assert one.epoch != other.epoch


def test_a_file_that_another_process_has_open_is_refused(store_path):
    script = (
        "import sys, pathlib\nfrom fedsight.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]))\nprint('open', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, store_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="open in another process"):
            Store.open(store_path)
        child.stdin.close()


def test_a_newer_schema_and_a_damaged_file_are_refused_with_the_remedy(store_path):
    Store.open(store_path).close()
    with duckdb.connect(str(store_path)) as con:
        con.execute("UPDATE meta SET schema_version = 99")
    with pytest.raises(StoreError, match="schema version 99"):
        Store.open(store_path)
    store_path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="can be deleted"):
        Store.open(store_path)


def test_rounds_left_dirty_by_a_crash_are_rolled_up_after_it(journal, store_path):
    server = journal().append(update("a"), update("b"))
    crashed = Store.open(store_path)
    crashed.apply([server.receipt(0, 2)])
    crashed.apply([server.receipt(2)])
    assert queries.rounds(crashed, "run").columns["num_completed"] == [1]
    crashed._con.close()  # without the roll-up that `close` does
    with Store.open(store_path) as store:
        store.refresh()
        assert queries.rounds(store, "run").columns["num_completed"] == [2]


def test_dirty_rounds_are_rolled_up_by_the_next_commit_once_the_interval_is_over(journal, store, monkeypatch):
    server = journal().append(update("a"), update("b"), update("c", 1))
    store.apply([server.receipt(0, 2)])
    store.apply([server.receipt(2, 3)])
    assert queries.rounds(store, "run").columns["num_completed"] == [1]
    monkeypatch.setattr("fedsight.store.duckdb.ROLLUP_INTERVAL_SEC", 0.0)
    store.apply([server.receipt(3)])
    assert queries.rounds(store, "run").columns["num_completed"] == [2, 1]


def test_a_silent_run_is_lost_and_found_again(journal, store):
    server = journal().append(RunStart(ts=1.0, run_id="run"), update())
    name = server.header.journal
    store.apply([server.receipt(received_at=100.0)])
    assert store.note_contact({}, [], 120.0) is None
    assert store.note_contact({}, [], 131.0) == store.commit
    assert state(store) == "lost"
    assert store.note_contact({name: 140.0}, [], 140.0) == store.commit
    assert state(store) == "running"
    assert queries.run(store, "run").journals[0].last_contact == 140.0
    assert store.note_contact({}, [name], 141.0) == store.commit
    assert state(store) == "killed"
    assert store.note_contact({}, [], 500.0) is None
    assert state(store) == "killed"


def test_an_event_of_its_server_finds_a_lost_run(journal, store):
    server = journal().append(update("a"), update("b"))
    store.apply([server.receipt(0, 2, received_at=100.0)])
    store.note_contact({}, [], 200.0)
    assert state(store) == "lost"
    store.apply([server.receipt(2, received_at=201.0)])
    assert state(store) == "running"


def test_silence_changes_nothing_of_a_run_that_ended_or_has_no_server(journal, store):
    ended = journal().append(RunStart(ts=1.0, run_id="run"), RunEnd(ts=2.0, status="finished"))
    site = journal(run_id="sites", role="client", client_id="a").append(update())
    store.apply([ended.receipt(), site.receipt()])
    assert store.note_contact({}, [ended.header.journal, site.header.journal], 900.0) is None
    assert (state(store), state(store, "sites")) == ("finished", "running")


def test_readers_see_whole_commits_while_the_writer_writes(journal, store_path):
    server = journal()
    for number in range(25):
        server.append(*(update(f"c{i}", number, local_loss=1.0) for i in range(20)), RoundEnd(ts=1.0, round=number))
    problems, stop = [], threading.Event()
    with Store.open(store_path) as store:
        store.apply([server.receipt(0, 22)])

        def read():
            try:
                while not stop.is_set():
                    found = queries.rounds(store, "run")
                    updates = queries.updates(store, "run", limit=10_000)
                    commit = int(found.as_of.rsplit("-", 1)[1])
                    if found.columns["num_completed"] != [20] * commit or len(updates.columns["ts"]) % 20:
                        problems.append((commit, found.columns["num_completed"]))
            except Exception as error:
                problems.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(1, 25):
            store.apply([server.receipt(1 + 21 * number, 22 + 21 * number)])
        stop.set()
        for reader in readers:
            reader.join()
    assert problems == []
