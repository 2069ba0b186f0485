"""However a journal's lines arrive, and whatever is killed meanwhile, the tables end up the same."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsight.errors import StoreError
from fedsight.events import ClientEvent, ClientUpdate, Metric, RoundEnd, RoundStart, RunEnd, RunStart, Sample, Text
from fedsight.store import Store

numbers = st.none() | st.sampled_from([0.0, 1.0, 2.5, -7.0, math.nan, math.inf])
rounds = st.integers(0, 3)
client_ids = st.sampled_from(["a", "b", "c/ü"])
statuses = st.sampled_from([None, "active", "dropped", "failed", "idle"])


def updates(ids):
    return st.builds(
        ClientUpdate,
        ts=st.floats(0, 10),
        client_id=ids,
        round=st.none() | rounds,
        base_round=st.none() | rounds,
        status=statuses,
        local_loss=numbers,
        gradient_norm=numbers,
        bytes_sent=numbers,
        train_time_sec=numbers,
        metrics=st.none() | st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([1.0, 2.0, math.nan])),
        extra=st.none() | st.just({"note": math.nan}),
    )


def of_a_client(ids):
    return st.one_of(
        updates(ids),
        updates(ids),
        st.builds(
            ClientEvent,
            ts=st.floats(0, 10),
            client_id=ids,
            event=st.sampled_from(["dropout", "comm_failure", "joined", "left"]),
            round=st.none() | rounds,
        ),
        st.builds(Metric, ts=st.just(1.0), key=st.sampled_from(["k", "l"]), value=st.just(1.0), client_id=ids),
    )


of_a_server = st.one_of(
    of_a_client(client_ids),
    of_a_client(client_ids),
    st.builds(RoundStart, ts=st.floats(0, 10), round=rounds, selected=st.none() | st.just(["a", "b"])),
    st.builds(RoundEnd, ts=st.floats(0, 10), round=rounds, global_accuracy=numbers, total_bytes_up=numbers),
    st.builds(RunStart, ts=st.floats(0, 10), run_id=st.sampled_from(["run", "other"]), resumed=st.booleans()),
    st.builds(RunEnd, ts=st.floats(0, 10), status=st.sampled_from(["finished", "killed"])),
    st.builds(Text, ts=st.floats(0, 10), text=st.text(max_size=3)),
    st.builds(Sample, ts=st.just(1.0), node=st.just("n"), metrics=st.just({"w": 1.0, "v": math.nan})),
)


@st.composite
def deliveries(draw, length):
    """Blocks (first, last) that together cover all lines: split, repeated and overlapping as one likes."""
    blocks, done = [], 0
    while done < length:
        first = draw(st.integers(0, done))
        last = draw(st.integers(first, length))
        blocks.append((first, last))
        done = max(done, last)
    return blocks


slow_machine = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@slow_machine
@given(data=st.data(), events=st.lists(of_a_server, max_size=25))
def test_any_split_and_repetition_of_a_journal_gives_the_same_tables(journal, tables_of, data, events):
    server = journal().append(*events).append_line(b"not an event")
    blocks = data.draw(deliveries(len(server.lines)))
    grouped = data.draw(st.integers(1, 4))
    with Store.open(None) as at_once, Store.open(None) as in_parts:
        at_once.apply([server.receipt()])
        for i in range(0, len(blocks), grouped):
            in_parts.apply([server.receipt(*block) for block in blocks[i : i + grouped]])
        assert tables_of(in_parts) == tables_of(at_once)


@slow_machine
@given(
    data=st.data(),
    from_server=st.lists(updates(client_ids), max_size=15),
    from_sites=st.lists(updates(st.just("a")), max_size=15),
)
def test_journals_may_arrive_in_any_order(journal, tables_of, data, from_server, from_sites):
    server = journal().append(*from_server)
    site = journal(role="client", client_id="a").append(*from_sites)
    with Store.open(None) as one_way, Store.open(None) as another:
        one_way.apply([server.receipt(), site.receipt()])
        waiting = [(server, i) for i in range(len(server.lines))], [(site, i) for i in range(len(site.lines))]
        while any(waiting):
            queue = data.draw(st.sampled_from([queue for queue in waiting if queue]))
            which, i = queue.pop(0)
            another.apply([which.receipt(i, i + 1)])
        assert tables_of(another) == tables_of(one_way)


def test_what_is_no_longer_in_memory_is_read_back(journal, tables_of, store_path):
    rng = random.Random(4)
    events = [RunStart(ts=1.0, run_id="run")]
    for _ in range(120):
        number, client_id = rng.randrange(5), rng.choice("abcd")
        events.append(
            rng.choice(
                [
                    RoundStart(ts=1.0, round=number),
                    RoundEnd(ts=1.0, round=number, global_loss=rng.random()),
                    ClientEvent(ts=1.0, client_id=client_id, event="dropout", round=number),
                    ClientUpdate(ts=1.0, client_id=client_id, round=number, local_loss=rng.random()),
                    ClientUpdate(ts=1.0, client_id=client_id, round=number, status="failed", metrics={"x": 1.0}),
                ]
            )
        )
    server = journal().append(*events)
    with Store.open(None) as at_once:
        at_once.apply([server.receipt()])
        wanted = tables_of(at_once)
    for i in range(0, len(server.lines), 6):
        with Store.open(store_path) as reopened:
            reopened.apply([server.receipt(i, i + 6)])
    with Store.open(store_path) as reopened:
        assert tables_of(reopened) == wanted


def test_a_gap_is_refused_and_changes_nothing(store, journal, tables_of):
    server = journal().append(ClientUpdate(ts=1.0, client_id="a", round=0), Text(ts=2.0, text="t"))
    store.apply([server.receipt(0, 1)])
    before = tables_of(store)
    with pytest.raises(StoreError, match="Send the bytes between"):
        store.apply([server.receipt(2)])
    assert tables_of(store) == before


def test_a_failed_commit_leaves_neither_rows_nor_memory(store, journal, tables_of, monkeypatch):
    server = journal().append(ClientUpdate(ts=1.0, client_id="a", round=0), RoundEnd(ts=2.0, round=0))
    store.apply([server.receipt(0, 1)])
    with monkeypatch.context() as patch:
        patch.setattr("fedsight.store.rows.write_cursors", None)
        with pytest.raises(TypeError):
            store.apply([server.receipt(1)])
    assert store.commit == 1
    store.apply([server.receipt(1)])
    with Store.open(None) as other:
        other.apply([server.receipt()])
        assert tables_of(store) == tables_of(other)


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from fedsight.events import decode_block, JournalHeader, decode
    from fedsight.store import Receipt, Store

    lines = Path(sys.argv[1]).read_bytes().splitlines(keepends=True)
    header = decode(lines[0])
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    with Store.open(Path(sys.argv[2])) as store:
        at = starts.index(store.cursors().get(header.journal, 0))
        print("open", flush=True)
        while at < len(lines):
            to = min(at + 7, len(lines))
            store.apply([Receipt(header, decode_block(b"".join(lines[at:to]), starts[at]), 100.0)])
            at = to
    print("done", flush=True)
""")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_writer_killed_at_any_instant_leaves_neither_gaps_nor_doubles(journal, tables_of, store_path, tmp_path):
    rng = random.Random(7)
    server = journal().append(RunStart(ts=1.0, run_id="run"))
    for number in range(150):
        server.append(RoundStart(ts=1.0, round=number))
        for client_id in "abcdefgh":
            server.append(ClientUpdate(ts=2.0, client_id=client_id, round=number, local_loss=rng.random()))
        server.append(ClientEvent(ts=2.0, client_id="a", event="dropout", round=number))
        server.append(RoundEnd(ts=3.0, round=number, global_loss=rng.random()))
        server.append(ClientUpdate(ts=2.0, client_id="h", round=max(0, number - 2), bytes_sent=1.0))
    file, script = tmp_path / "run.jsonl", tmp_path / "writer.py"
    file.write_bytes(b"".join(server.lines))
    script.write_text(WRITER)
    kills = 0
    for _ in range(60):
        child = subprocess.Popen([sys.executable, script, file, store_path], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout.readline() == "open\n"
            if kills < 20:
                time.sleep(rng.uniform(0.0, 0.25))  # the instant of the kill, not a wait for anything
                os.kill(child.pid, signal.SIGKILL)
            finished = child.stdout.read() == "done\n"
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        if finished:
            break
        kills += 1
    assert finished
    assert kills >= 15
    with Store.open(None) as unharmed, Store.open(store_path) as survivor:
        unharmed.apply([server.receipt()])
        assert tables_of(survivor) == tables_of(unharmed)
