"""What a round adds up to: by example, and as the store works it out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsight.events import (
    ClientEvent,
    ClientUpdate,
    Event,
    JournalHeader,
    RoundEnd,
    RoundStart,
    RunStart,
    decode_block,
    encode,
)
from fedsight.store import Receipt, Store, queries
from fedsight.summary import summarize


def update(client: str, number: int = 0, **fields: float | str | None) -> ClientUpdate:
    return ClientUpdate(ts=1.0, client_id=client, round=number, **fields)  # type: ignore[arg-type]


def test_a_round_of_two_clients() -> None:
    summary = summarize(
        [
            RoundStart(ts=1.0, round=0, selected=["a", "b", "c"]),
            update("a", gradient_norm=1.0, bytes_sent=10.0, base_round=0),
            update("b", gradient_norm=3.0, bytes_sent=5.0, bytes_received=1.0),
            ClientEvent(ts=1.0, event="dropout", client_id="c", round=0),
            RoundEnd(ts=2.0, round=0, global_accuracy=0.5, metrics={"auc": 0.7}),
        ]
    )[0]
    assert (summary.num_selected, summary.num_completed, summary.num_dropouts) == (3, 2, 1)
    assert summary.participation_rate == pytest.approx(2 / 3)
    assert (summary.total_bytes_up, summary.total_bytes_down) == (15, 1)
    assert summary.gradient_norm_dispersion == pytest.approx(math.sqrt(2))
    assert (summary.global_accuracy, summary.metrics, summary.closed) == (0.5, {"auc": 0.7}, True)
    assert (summary.mean_staleness, summary.max_staleness) == (0, 0)


def test_a_client_counts_once_with_its_last_values() -> None:
    summary = summarize([update("a", bytes_sent=1.0), update("a", bytes_sent=7.0), update("a", bytes_sent=None)])[0]
    assert (summary.num_completed, summary.total_bytes_up, summary.participation_rate) == (1, 7, 1.0)


def test_what_nobody_reported_is_unknown_and_nan_poisons_nothing() -> None:
    summary = summarize([update("a", gradient_norm=math.nan), update("b", gradient_norm=2.0)])[0]
    assert summary.total_bytes_up is None
    assert summary.gradient_norm_dispersion is None
    assert summary.global_accuracy is None


def test_a_late_update_lands_in_its_own_round() -> None:
    rounds = summarize([RoundEnd(ts=1.0, round=0), update("a", 0), update("b", 1)])
    assert (rounds[0].num_late, rounds[0].num_completed, rounds[1].num_late) == (1, 1, 0)


numbers = st.none() | st.sampled_from([0.0, 1.0, 2.5, 1e6, math.nan, math.inf])
rounds = st.integers(0, 2)
clients = st.sampled_from(["a", "b", "c"])
events = st.one_of(
    st.builds(RoundStart, ts=st.just(1.0), round=rounds, selected=st.none() | st.lists(clients, unique=True)),
    st.builds(
        ClientUpdate,
        ts=st.just(1.0),
        client_id=clients,
        round=rounds,
        base_round=st.none() | rounds,
        status=st.sampled_from([None, "active", "idle", "dropped", "failed"]),
        gradient_norm=numbers,
        bytes_sent=numbers,
        bytes_received=numbers,
    ),
    st.builds(
        ClientEvent,
        ts=st.just(1.0),
        event=st.sampled_from(["dropout", "comm_failure"]),
        client_id=clients,
        round=rounds,
    ),
    st.builds(
        RoundEnd,
        ts=st.just(2.0),
        round=rounds,
        global_accuracy=st.none() | st.floats(0, 1),
        num_selected=st.none() | st.integers(1, 9).map(float),
        total_bytes_up=st.none() | st.just(5.0),
        metrics=st.none() | st.just({"auc": 0.5}),
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(events, min_size=1, max_size=25))
def test_the_store_comes_to_the_same_figures(happened: list[Event]) -> None:
    header = JournalHeader(ts=0.0, version=1, journal="j", role="server", run_id="r")
    lines = b"".join(encode(event) for event in [header, RunStart(ts=0.0, run_id="r"), *happened])
    store = Store.open(None)
    try:
        store.apply([Receipt(header=header, block=decode_block(lines, 0), received_at=1.0)])
        table = queries.rounds(store, "r")
    finally:
        store.close()
    summaries = summarize(happened)
    assert table.columns["round"] == sorted(summaries)
    for row, summary in enumerate(summaries.values()):
        for name in set(summary.__struct_fields__) & set(table.columns) - {"metrics"}:
            expected, found = getattr(summary, name), table.columns[name][row]
            assert (found is None) == (expected is None), name
            if expected is not None:
                assert found == pytest.approx(expected), name
        assert (table.columns["metrics"][row] or {}) == summary.metrics
        assert (table.columns["state"][row] == "closed") == summary.closed
