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
from fedsight.summary import RoundFold, summarize


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


def test_a_sum_beyond_the_largest_float_is_infinite() -> None:
    summary = summarize(
        [update(name, bytes_sent=1.7e308, bytes_received=-1.7e308, gradient_norm=norm)
         for name, norm in (("a", 1.7e308), ("b", -1.7e308), ("c", 1.7e308))]
    )[0]  # fmt: skip
    assert (summary.total_bytes_up, summary.total_bytes_down) == (math.inf, -math.inf)
    assert summary.gradient_norm_dispersion == math.inf


def test_a_late_update_lands_in_its_own_round() -> None:
    rounds = summarize([RoundEnd(ts=1.0, round=0), update("a", 0), update("b", 1)])
    assert (rounds[0].num_late, rounds[0].num_completed, rounds[1].num_late) == (1, 1, 0)


def test_bytes_per_client_are_those_that_went_up() -> None:
    told = [update("a", bytes_sent=10.0, bytes_received=99.0), update("b", bytes_sent=20.0)]
    assert summarize(told)[0].bytes_per_client == 15
    assert summarize([*told, RoundEnd(ts=2.0, round=0, total_bytes_up=40.0)])[0].bytes_per_client == 20
    assert summarize([update("a")])[0].bytes_per_client is None


def test_staleness_has_a_distribution() -> None:
    told = [update(str(i), 5, base_round=base) for i, base in enumerate([5, 3, 5, 4, 5, None])]
    assert list(summarize(told)[5].staleness.items()) == [(0, 3), (1, 1), (2, 1)]


def test_who_trains_twice_as_long_as_the_median_is_a_straggler() -> None:
    times = {"a": 1.0, "b": 1.0, "c": 1.5, "d": 2.5, "e": 9.0}
    told = [update(client, train_time_sec=time) for client, time in times.items()]
    assert summarize(told)[0].num_stragglers == 1  # the median is 1.5 s: only e is beyond 3 s


def test_without_training_times_stragglers_are_those_whose_update_came_late() -> None:
    told = [ClientUpdate(ts=100.0 + after, client_id=str(after), round=0) for after in (10, 11, 12, 25)]
    assert summarize([RoundStart(ts=100.0, round=0), *told])[0].num_stragglers == 1
    assert summarize(told)[0].num_stragglers is None, "nobody knows when the round began"


def test_training_times_and_arrivals_are_not_compared() -> None:
    """An arrival includes the way there and back: against training times it would always look slow."""
    trained = [update(client, train_time_sec=1.0) for client in "abc"]
    arrived = ClientUpdate(ts=60.0, client_id="d", round=0)
    assert summarize([RoundStart(ts=0.0, round=0), *trained, arrived])[0].num_stragglers == 0


def test_stragglers_are_known_once_three_and_half_of_the_selected_are_in() -> None:
    times = (1.0, 1.0, 9.0, 1.0)
    told = [update(str(i), train_time_sec=time) for i, time in enumerate(times)]
    assert summarize(told[:2])[0].num_stragglers is None
    assert summarize(told[:3])[0].num_stragglers == 1
    eight = RoundStart(ts=0.0, round=0, selected=[str(i) for i in range(8)])
    assert summarize([eight, *told[:3]])[0].num_stragglers is None
    assert summarize([eight, *told])[0].num_stragglers == 1


def test_who_dropped_out_or_told_no_time_is_no_straggler() -> None:
    times: list[tuple[float, str | None]] = [
        (1.0, None),
        (1.0, "active"),
        (1.0, None),
        (99.0, "dropped"),
        (math.nan, None),
    ]
    told = [update(str(i), train_time_sec=time, status=status) for i, (time, status) in enumerate(times)]
    assert summarize(told)[0].num_stragglers == 0


def test_what_the_application_counted_as_stragglers_wins() -> None:
    told = [update(client, train_time_sec=1.0) for client in "abc"]
    assert summarize([*told, RoundEnd(ts=2.0, round=0, num_stragglers=2.0)])[0].num_stragglers == 2


def test_a_summary_as_a_dict_holds_the_applications_own_numbers() -> None:
    end = RoundEnd(ts=2.0, round=0, global_loss=0.5, metrics={"auc": 0.7}, algorithm_metadata={"mu": 0.01})
    summary = summarize([update("a", gradient_norm=1.0), update("b", gradient_norm=3.0), end])[0]
    told = summary.to_dict()
    assert (told["global_loss"], told["auc"], told["algorithm_metadata"]) == (0.5, 0.7, {"mu": 0.01})
    assert told["gradient_norm_dispersion"] == summary.gradient_divergence == pytest.approx(math.sqrt(2))
    assert told["total_bytes_up"] is None
    assert "metrics" not in told


def test_a_clients_own_numbers_are_merged_name_by_name() -> None:
    fold = RoundFold()
    first = ClientUpdate(ts=1.0, client_id="a", round=0, metrics={"x": 1.0, "y": 1.0}, extra={"note": "n"})
    for event in (first, ClientUpdate(ts=1.0, client_id="a", round=0, metrics={"x": 2.0})):
        fold.take(event)
    (merged,) = fold.updates(0)
    assert (merged.metrics, merged.extra) == ({"x": 2.0, "y": 1.0}, {"note": "n"})
    assert first.metrics == {"x": 1.0, "y": 1.0}


def test_old_closed_rounds_are_let_go_and_what_comes_for_them_is_not_taken() -> None:
    fold = RoundFold(keep_updates=20)
    for number in range(100):
        for client in "abcd":
            fold.take(update(client, number))
        fold.take(RoundEnd(ts=1.0, round=number))
        assert sum(len(fold.updates(held)) for held in fold.numbers()) <= 20
    assert {98, 99} <= set(fold.numbers())
    assert fold.take(update("late", 3)) is None
    assert fold.take(update("late", 99)) == 99
    assert fold.take(RoundStart(ts=1.0, round=3)) == 3, "a round that begins again is taken up"
    assert fold.take(update("a", 3)) == 3


def test_two_large_rounds_are_held_whatever_the_bound() -> None:
    fold = RoundFold(keep_updates=5)
    for number in range(4):
        for i in range(50):
            fold.take(update(str(i), number))
        fold.take(RoundEnd(ts=1.0, round=number))
    assert fold.numbers() == [2, 3]
    assert fold.summary(3).num_completed == 50


numbers = st.none() | st.sampled_from([0.0, 1.0, 2.5, 1e6, math.nan, math.inf])
rounds = st.integers(0, 2)
clients = st.sampled_from(["a", "b", "c", "d"])
times = st.sampled_from([0.5, 1.0, 1.0, 2.0, 2.5, 9.0])
events = st.one_of(
    st.builds(RoundStart, ts=times, round=rounds, selected=st.none() | st.lists(clients, unique=True)),
    st.builds(
        ClientUpdate,
        ts=times,
        client_id=clients,
        round=rounds,
        base_round=st.none() | rounds,
        status=st.sampled_from([None, "active", "idle", "dropped", "failed"]),
        gradient_norm=numbers,
        bytes_sent=numbers,
        bytes_received=numbers,
        train_time_sec=st.none() | st.sampled_from([-1.0, 0.0, 1.0, 2.5, 9.0, math.nan, math.inf]),
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
        num_selected=st.none() | st.integers(0, 9).map(float),
        num_stragglers=st.none() | st.just(1.0),
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
