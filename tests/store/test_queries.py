"""Pages, filters, thinning and changes."""

from __future__ import annotations

import math

import pytest

from fedsight.errors import BadQuery, RunNotFound
from fedsight.events import ClientUpdate, Metric, RoundEnd, RunStart, Text
from fedsight.store import queries
from fedsight.store.queries.series import thin


def update(client_id="a", round=0, **fields):
    return ClientUpdate(ts=2.0, client_id=client_id, round=round, **fields)


def all_pages(ask, limit):
    """The columns of all pages put together."""
    columns, cursor, pages = {}, None, 0
    while True:
        table = ask(limit=limit, cursor=cursor)
        for name, values in table.columns.items():
            columns.setdefault(name, []).extend(values)
        pages += 1
        cursor = table.next
        if cursor is None:
            return columns, pages


@pytest.fixture
def filled(store, journal):
    server = journal().append(RunStart(ts=1.0, run_id="run"))
    for number in range(6):
        server.append(*(update(f"c{i}", number, local_loss=float(i)) for i in range(4)))
        server.append(Text(ts=10.0 + number, text=str(number)), RoundEnd(ts=3.0, round=number, global_loss=1.0))
    server.append(update("c0", None, local_loss=1.0), update("c1", None), update("c0", None, local_loss=2.0))
    store.apply([server.receipt()])
    store.refresh()
    return store


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
def test_pages_hold_every_row_once(filled, limit):
    columns, pages = all_pages(lambda **page: queries.updates(filled, "run", **page), limit)
    rows = list(zip(columns["round"], columns["client_id"], strict=True))
    assert rows[:24] == [(number, f"c{i}") for number in range(6) for i in range(4)]
    assert sorted(rows[24:]) == [(None, "c0"), (None, "c0"), (None, "c1")]
    assert sorted(v for v in columns["local_loss"][24:] if v is not None) == [1.0, 2.0]
    assert pages == math.ceil(27 / limit)
    for ask, key, count in (
        (lambda **page: queries.rounds(filled, "run", **page), "round", 6),
        (lambda **page: queries.clients(filled, "run", **page), "client_id", 4),
        (lambda **page: queries.events(filled, "run", **page), "offset", 13),
        (lambda **page: queries.runs(filled, **page), "run_id", 1),
    ):
        columns, _ = all_pages(ask, limit)
        assert len(set(columns[key])) == len(columns[key]) == count


def test_ranges_and_filters(filled):
    assert queries.rounds(filled, "run", from_=2, to=3).columns["round"] == [2, 3]
    found = queries.updates(filled, "run", client_id="c2", from_=4, fields=["local_loss"])
    assert found.columns == {"round": [4, 5], "client_id": ["c2", "c2"], "local_loss": [2.0, 2.0]}
    assert queries.updates(filled, "run", client_id="nobody").columns["round"] == []
    assert queries.events(filled, "run", kind="text", from_=11.0, to=12.5).columns["message"] == ["2", "1"]
    assert queries.clients(filled, "run", client_ids=["c3", "c1"]).columns["client_id"] == ["c1", "c3"]
    assert queries.clients(filled, "run", status="failed").columns["client_id"] == []
    assert queries.clients(filled, "run", sort="local_loss", order="desc").columns["client_id"][0] == "c3"
    assert queries.runs(filled, state="finished").columns["run_id"] == []
    assert queries.runs(filled, project="default", sort="num_rounds").columns["run_id"] == ["run"]


def test_events_of_several_kinds_or_without_some(filled):
    assert set(queries.events(filled, "run", kind=["text", "run_start"]).columns["kind"]) == {"text", "run_start"}
    assert len(queries.events(filled, "run", exclude_kind=["text", "run_start"]).columns["kind"]) == 6
    assert set(queries.events(filled, "run", exclude_kind="text").columns["kind"]) == {"run_start", "round_end"}
    assert queries.events(filled, "run", kind=["text", "x"], exclude_kind=["text"]).columns["kind"] == []
    columns, pages = all_pages(lambda **page: queries.events(filled, "run", exclude_kind=["text"], **page), 2)
    assert (len(columns["kind"]), pages) == (7, 4)


def test_events_are_newest_first_and_carry_their_line(filled):
    found = queries.events(filled, "run")
    assert found.columns["ts"] == sorted(found.columns["ts"], reverse=True)
    assert found.columns["data"][0] == {"kind": "text", "ts": 15.0, "text": "5"}


def test_a_sparkline_has_the_last_rounds_with_gaps(store, journal):
    server = journal().append(*(RoundEnd(ts=1.0, round=number) for number in range(40)))
    server.append(update("a", 38, local_accuracy=0.5), update("b", 3, local_accuracy=0.1), update("a", 39))
    store.apply([server.receipt()])
    found = queries.clients(store, "run", sparkline="local_accuracy").columns["sparkline"]
    assert found == [[None] * 28 + [0.5, None], [None] * 30]


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda s: queries.runs(s, sort="nonsense"), "sort"),
        (lambda s: queries.runs(s, order="up"), "order"),
        (lambda s: queries.runs(s, limit=0), "limit"),
        (lambda s: queries.runs(s, limit=10_001), "limit"),
        (lambda s: queries.runs(s, cursor="%%%"), "cursor"),
        (lambda s: queries.rounds(s, "run", cursor="WyJ4Il0"), "cursor"),
        (lambda s: queries.rounds(s, "run", from_="0; DROP TABLE runs"), "from"),
        (lambda s: queries.clients(s, "run", sort="metrics"), "sort"),
        (lambda s: queries.clients(s, "run", sparkline="'; --"), "sparkline"),
        (lambda s: queries.updates(s, "run", fields=["version"]), "fields"),
        (lambda s: queries.series(s, "run", scope="planet", metrics=["x"]), "scope"),
        (lambda s: queries.series(s, "run", scope="global", metrics=[]), "metric"),
        (lambda s: queries.series(s, "run", scope="global", metrics=["nobody"]), "metric"),
        (lambda s: queries.series(s, "run", scope="clients", metrics=["nobody"]), "metric"),
        (lambda s: queries.series(s, "run", scope="clients", metrics=["local_loss", "ram_mb"]), "metric"),
        (lambda s: queries.series(s, "run", scope="client", metrics=["local_loss"]), "client_id"),
        (lambda s: queries.series(s, "run", scope="step", metrics=["local_loss"]), "metric"),
        (lambda s: queries.series(s, "run", scope="global", metrics=["global_loss"], max_points=0), "max_points"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_field(filled, ask, field):
    with pytest.raises(BadQuery) as refusal:
        ask(filled)
    assert refusal.value.field == field


def test_an_unknown_run_is_not_found(store):
    assert queries.run(store, "nobody") is None
    for ask in (queries.rounds, queries.clients, queries.updates, queries.events, queries.metric_names):
        with pytest.raises(RunNotFound):
            ask(store, "nobody")
    with pytest.raises(RunNotFound):
        queries.changes(store, 0, "nobody")


def test_names_with_quotes_are_names(store, journal):
    strange = 'it\'s "x"'
    store.apply(
        [journal().append(update(metrics={strange: 1.0}), RoundEnd(ts=1.0, round=0, metrics={strange: 2.0})).receipt()]
    )
    assert queries.series(store, "run", scope="global", metrics=[strange]).columns[strange] == [2.0]
    assert queries.series(store, "run", scope="client", client_id="a", metrics=[strange]).columns[strange] == [1.0]
    assert queries.clients(store, "run", sparkline=strange).columns["sparkline"] == [[1.0]]


def test_thinning_keeps_the_extremes_the_ends_and_what_is_not_finite():
    values = [math.sin(i / 50) for i in range(5000)]
    values[1234], values[2345], values[3456] = 99.0, -99.0, math.nan
    found = thin({"round": list(range(5000)), "x": values}, ["x"], 100)
    assert len(found["round"]) <= 100
    assert {0, 1234, 2345, 3456, 4999} <= set(found["round"])
    assert found["round"] == sorted(found["round"])
    assert thin({"round": [1, 2], "x": [1.0, None]}, ["x"], 2)["x"] == [1.0, None]


def test_changes_are_exactly_the_changed_rows(store, journal):
    server = journal().append(RunStart(ts=1.0, run_id="run"), update("a"), RoundEnd(ts=2.0, round=0))
    server.append(update("b", 1), RoundEnd(ts=3.0, round=1), Text(ts=4.0, text="new"))
    other = journal(run_id="other").append(update("z"))
    first = store.apply([server.receipt(0, 4), other.receipt()])
    everything = queries.changes(store, 0, "run")
    assert sorted(everything.runs.columns["run_id"]) == ["other", "run"]
    assert everything.clients.columns["client_id"] == ["a"]
    second = store.apply([server.receipt(4)])
    news = queries.changes(store, first, "run")
    assert (news.commit, news.as_of, news.more) == (second, store.as_of(), False)
    assert news.runs.columns["run_id"] == ["run"]
    assert news.rounds.columns["round"] == [1]
    assert news.clients.columns["client_id"] == ["b"]
    assert news.events.columns["kind"] == ["round_end", "text"]
    assert queries.changes(store, first, None).rounds is None
    nothing = queries.changes(store, second, "run")
    assert (nothing.runs, nothing.rounds, nothing.clients, nothing.events) == (None, None, None, None)


def test_many_changes_come_in_parts_that_end_at_a_commit(store, journal):
    server = journal()
    for number in range(5):
        server.append(*(update(f"c{number}-{i}", number) for i in range(900)))
    for number in range(5):
        store.apply([server.receipt(900 * number + (number > 0), 900 * (number + 1) + 1)])
    since, seen, asked = 0, [], 0
    while since < store.commit:
        part = queries.changes(store, since, "run")
        seen += part.clients.columns["client_id"] if part.clients else []
        since, asked = part.commit, asked + 1
    assert asked == 3
    assert len(seen) == len(set(seen)) == 4500


def test_curves_go_by_step_and_the_time_of_measuring_whatever_came_first(store, journal):
    points = [(2, 3.0, 0.3), (1, 2.0, 0.2), (None, 9.0, 0.9), (1, 1.0, 0.1), (None, 8.0, 0.8)]
    told = journal().append(*(Metric(ts=ts, key="loss", value=v, step=step, client_id="a") for step, ts, v in points))
    store.apply([told.receipt()])
    assert queries.series(store, "run", scope="step", metrics=["loss"], client_id="a").columns == {
        "step": [1, 1, 2, None, None],
        "ts": [1.0, 2.0, 3.0, 8.0, 9.0],
        "value": [0.1, 0.2, 0.3, 0.8, 0.9],
    }


def test_a_point_that_site_and_server_both_tell_of_is_one(store, journal):
    point = Metric(ts=1.0, key="loss", value=0.5, step=1, client_id="a")
    server, site = journal().append(point), journal(role="client", client_id="a").append(point)
    store.apply([server.receipt(), site.receipt()])
    assert queries.series(store, "run", scope="step", metrics=["loss"], client_id="a").columns["value"] == [0.5]
