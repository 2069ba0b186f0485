"""What the tables hold after journals were applied, rule by rule."""

from __future__ import annotations

import math

import pytest

from fedsight.errors import RunNotFound
from fedsight.events import (
    ClientEvent,
    ClientUpdate,
    Metric,
    RoundEnd,
    RoundStart,
    RunEnd,
    RunStart,
    Sample,
    ServerInfo,
    Text,
)
from fedsight.store import queries


def row(table, i=0):
    return {name: values[i] for name, values in table.columns.items()}


def update(client_id, round=0, **fields):
    return ClientUpdate(ts=2.0, client_id=client_id, round=round, **fields)


def test_a_run_is_what_its_server_says(store, journal):
    server = journal().append(
        RunStart(ts=1.0, run_id="run", project="p", algorithm="FedAvg", config={"lr": math.nan}, tags={"a": "b"}),
        ServerInfo(ts=1.0, lat=1.0, city="Oslo"),
        RoundStart(ts=2.0, round=0),
        update("a"),
        RoundEnd(ts=3.0, round=0, global_accuracy=0.5, global_loss=2.0),
        RoundEnd(ts=4.0, round=1, global_accuracy=0.4, metrics={"fairness": 0.1}),
        RunEnd(ts=9.0, status="finished", duration_sec=8.0),
    )
    store.apply([server.receipt()])
    detail = queries.run(store, "run")
    assert detail.run["state"] == "finished"
    assert detail.run["project"] == "p"
    assert (detail.run["started_at"], detail.run["ended_at"], detail.run["last_event_at"]) == (1.0, 9.0, 9.0)
    assert (detail.run["current_round"], detail.run["num_rounds"], detail.run["num_clients"]) == (1, 2, 1)
    assert (detail.run["global_accuracy"], detail.run["best_accuracy"], detail.run["global_loss"]) == (0.4, 0.5, 2.0)
    assert math.isnan(detail.config["lr"])
    assert detail.tags == {"a": "b"}
    assert detail.server["city"] == "Oslo"
    assert detail.journals[0].offset == len(b"".join(server.lines))
    assert "fairness" in detail.metrics.global_


def test_missing_stays_missing_and_nan_is_data(store, journal):
    store.apply([journal().append(update("a", local_loss=math.nan, bytes_sent=math.inf)).receipt()])
    found = row(queries.updates(store, "run"))
    assert math.isnan(found["local_loss"])
    assert found["bytes_sent"] == math.inf
    assert found["local_accuracy"] is None
    band = row(queries.series(store, "run", scope="clients", metrics=["local_loss"]))
    assert (band["n"], band["num_nonfinite"], band["mean"]) == (0, 1, None)


def test_a_repeat_fills_and_overwrites_field_by_field(store, journal):
    server = journal().append(
        update("a", local_loss=1.0, local_accuracy=0.1, metrics={"x": 1.0, "y": 1.0}, extra={"note": "first"}),
        update("a", local_loss=2.0, metrics={"x": 2.0}, extra={"more": [1]}, status="failed"),
    )
    store.apply([server.receipt(0, 2)])
    store.apply([server.receipt(2)])
    assert queries.updates(store, "run").columns["client_id"] == ["a"]
    found = row(queries.updates(store, "run"))
    assert (found["local_loss"], found["local_accuracy"]) == (2.0, 0.1)
    assert found["metrics"] == {"x": 2.0, "y": 1.0}
    assert found["extra"] == {"note": "first", "more": [1]}
    store.refresh()
    counted = row(queries.rounds(store, "run"))
    assert (counted["num_completed"], counted["num_failures"]) == (0, 1)
    assert row(queries.clients(store, "run"))["num_updates"] == 1


@pytest.mark.parametrize("server_first", [True, False])
def test_the_servers_word_wins_over_the_sites(store, journal, server_first):
    server = journal().append(update("a", local_loss=1.0, metrics={"x": 1.0}), update("b"))
    site = journal(role="client", client_id="a").append(
        update("a", local_loss=5.0, local_accuracy=0.5, metrics={"x": 5.0, "y": 5.0}), update("a", round=1)
    )
    for one in [server, site] if server_first else [site, server]:
        store.apply([one.receipt()])
    found = queries.updates(store, "run")
    assert list(zip(found.columns["round"], found.columns["client_id"], strict=True)) == [(0, "a"), (0, "b"), (1, "a")]
    assert row(found)["local_loss"] == 1.0
    assert row(found)["local_accuracy"] == 0.5
    assert row(found)["metrics"] == {"x": 1.0, "y": 5.0}
    client = row(queries.clients(store, "run"))
    assert (client["num_updates"], client["local_loss"], client["local_accuracy"]) == (2, 1.0, 0.5)
    assert client["metrics"] == {"x": 1.0, "y": 5.0}
    assert queries.run(store, "run").run["num_updates"] == 3
    store.refresh()
    assert row(queries.series(store, "run", scope="clients", metrics=["local_loss"]))["mean"] == 1.0
    series = queries.series(store, "run", scope="client", client_id="a", metrics=["local_accuracy", "y"])
    assert series.columns == {"round": [0, 1], "local_accuracy": [0.5, None], "y": [5.0, None]}


def test_updates_without_a_round_are_kept_each(store, journal):
    store.apply([journal().append(update("a", None, local_loss=1.0), update("a", None, local_loss=2.0)).receipt()])
    assert queries.updates(store, "run").columns["local_loss"] == [1.0, 2.0]
    client = row(queries.clients(store, "run"))
    assert (client["num_updates"], client["local_loss"], client["last_round"]) == (2, 2.0, None)
    assert queries.rounds(store, "run").columns["round"] == []


def test_a_round_adds_up(store, journal):
    server = journal().append(
        RoundStart(ts=1.0, round=3, selected=["a", "b", "c", "d", "e", "f"]),
        update("a", 3, gradient_norm=1.0, bytes_sent=10.0, base_round=3),
        update("b", 3, gradient_norm=3.0, bytes_sent=20.0, base_round=1, status="active"),
        update("c", 3, gradient_norm=math.inf, status="failed"),
        ClientEvent(ts=2.0, client_id="d", event="dropout", round=3),
        ClientEvent(ts=2.0, client_id="d", event="dropout", round=3),
        ClientEvent(ts=2.0, client_id="e", event="comm_failure", round=3, reason="timeout"),
        RoundEnd(ts=3.0, round=3, total_bytes_down=77.0),
        update("f", 3),
    )
    store.apply([server.receipt()])
    store.refresh()
    found = row(queries.rounds(store, "run"))
    assert found["state"] == "closed"
    assert (found["num_selected"], found["num_completed"], found["num_dropouts"], found["num_failures"]) == (6, 3, 1, 2)
    assert (found["num_late"], found["participation_rate"], found["num_stragglers"]) == (1, 0.5, 0)
    assert (found["total_bytes_up"], found["total_bytes_down"]) == (30.0, 77.0)
    assert found["gradient_norm_dispersion"] == pytest.approx(math.sqrt(2))
    assert (found["mean_staleness"], found["max_staleness"]) == (1.0, 2)
    clients = queries.clients(store, "run").columns
    assert dict(zip(clients["client_id"], clients["status"], strict=True)) == {
        "a": "active", "b": "active", "c": "failed", "d": "dropped", "e": "failed", "f": "active",
    }  # fmt: skip
    assert clients["num_dropouts"] == [0, 0, 0, 1, 0, 0]
    assert clients["num_failures"] == [0, 0, 1, 0, 1, 0]


def test_what_nobody_reported_is_unknown(store, journal):
    store.apply([journal().append(RoundStart(ts=1.0, round=0), update("a"), update("b", status="failed")).receipt()])
    store.refresh()
    found = row(queries.rounds(store, "run"))
    assert found["num_selected"] is None
    assert found["total_bytes_up"] is None
    assert found["mean_staleness"] is None
    assert found["participation_rate"] == 0.5  # of those heard of


def test_of_two_ends_of_a_round_the_later_ones_values_win(store, journal):
    store.apply(
        [
            journal()
            .append(
                RoundEnd(ts=1.0, round=0, global_accuracy=0.1, global_loss=3.0, num_failures=7, metrics={"x": 1.0}),
                RoundEnd(ts=2.0, round=0, global_accuracy=0.2, metrics={"y": 2.0}),
            )
            .receipt()
        ]
    )
    found = row(queries.rounds(store, "run"))
    assert (found["global_accuracy"], found["global_loss"], found["num_failures"]) == (0.2, 3.0, 7)
    assert found["metrics"] == {"x": 1.0, "y": 2.0}
    assert found["ended_at"] == 2.0


def test_the_quantile_band_spans_the_clients_of_a_round(store, journal):
    server = journal().append(
        *(update(f"c{i}", local_loss=float(i), metrics={"mine": -float(i)}) for i in range(101)),
        update("nan", local_loss=math.nan),
        RoundEnd(ts=3.0, round=0),
    )
    store.apply([server.receipt()])
    assert row(queries.series(store, "run", scope="clients", metrics=["local_loss"])) == {
        "round": 0, "n": 101, "num_nonfinite": 1, "mean": 50.0, "min": 0.0, "p5": 5.0, "p25": 25.0, "p50": 50.0,
        "p75": 75.0, "p95": 95.0, "max": 100.0,
    }  # fmt: skip
    assert row(queries.series(store, "run", scope="clients", metrics=["mine"]))["p5"] == -95.0


def test_a_late_update_comes_into_its_rounds_roll_ups(store, journal):
    server = journal().append(update("a", bytes_sent=1.0), RoundEnd(ts=3.0, round=0), update("b", bytes_sent=2.0))
    store.apply([server.receipt(0, 3)])
    store.apply([server.receipt(3)])
    store.refresh()
    found = row(queries.rounds(store, "run"))
    assert (found["num_late"], found["total_bytes_up"], found["num_completed"]) == (1, 3.0, 2)
    assert queries.updates(store, "run").columns["late"] == [False, True]
    assert queries.run(store, "run").run["total_bytes_up"] == 3.0


def test_a_sites_own_journal_is_never_late(store, journal):
    store.apply([journal().append(RoundEnd(ts=3.0, round=0)).receipt()])
    store.apply([journal(role="client", client_id="a").append(update("a")).receipt()])
    store.refresh()
    assert row(queries.rounds(store, "run"))["num_late"] == 0


def test_a_client_is_known_by_its_newest_value_of_each_field(store, journal):
    server = journal().append(
        update("a", 5, local_loss=5.0, base_round=4),
        update("a", 3, local_loss=3.0, gradient_norm=3.0, status="dropped"),
        update("a", 4, gradient_norm=4.0),
    )
    for i in range(len(server.lines)):
        store.apply([server.receipt(i, i + 1)])
    client = row(queries.clients(store, "run"))
    assert (client["local_loss"], client["gradient_norm"], client["last_round"]) == (5.0, 4.0, 5)
    assert (client["status"], client["num_updates"], client["num_dropouts"]) == ("active", 3, 1)
    assert (client["base_round"], client["staleness"]) == (4, 1)


def test_a_site_neither_ends_nor_starts_the_run(store, journal):
    site = journal(role="client", client_id="a").append(
        RunStart(ts=1.0, run_id="run"), update("a"), RunEnd(ts=2.0, status="failed", error="boom")
    )
    store.apply([site.receipt()])
    found = queries.run(store, "run").run
    assert (found["state"], found["error"], found["num_clients"]) == ("running", None, 1)
    assert queries.events(store, "run", client_id="a").columns["kind"] == ["run_end", "run_start"]


def test_a_site_speaks_for_itself_alone(store, journal):
    site = journal(role="client", client_id="a").append(
        update("a"), update("b"), RoundEnd(ts=1.0, round=0), Metric(ts=1.0, key="loss", value=1.0, client_id="b")
    )
    site.append_line(b"no json")
    store.apply([site.receipt()])
    assert queries.clients(store, "run").columns["client_id"] == ["a"]
    reasons = queries.dead_letters(store, run_id="run").columns["reason"]
    assert len(reasons) == 4
    assert "'b'" in reasons[0]
    assert "round_end" in reasons[1]
    assert queries.run(store, "run").journals[0].num_bad == 4
    assert row(queries.rounds(store, "run"))["state"] == "open"


def test_a_resumed_run_is_running_again(store, journal):
    server = journal().append(
        RunStart(ts=1.0, run_id="run"),
        RunEnd(ts=2.0, status="killed"),
        RunStart(ts=3.0, run_id="run", resumed=True),
        RunEnd(ts=9.0, status="finished"),
    )
    store.apply([server.receipt(0, 3)])
    assert queries.run(store, "run").run["state"] == "killed"
    store.apply([server.receipt(3, 4)])
    found = queries.run(store, "run").run
    assert (found["state"], found["ended_at"], found["started_at"]) == ("running", None, 1.0)
    store.apply([server.receipt(4)])
    assert queries.run(store, "run").run["state"] == "finished"


def test_step_curves_belong_to_the_server_or_to_a_client(store, journal):
    server = journal().append(
        Metric(ts=2.0, key="loss", value=1.0, step=2),
        Metric(ts=1.0, key="loss", value=math.nan, step=1),
        Metric(ts=1.0, key="loss", value=7.0, step=1, client_id="a"),
        Sample(ts=1.0, node="gpu0", metrics={"loss": 3.0, "watts": 200.0}),
    )
    site = journal(role="client", client_id="a").append(Metric(ts=3.0, key="loss", value=8.0, step=2))
    store.apply([server.receipt(), site.receipt()])
    own = queries.series(store, "run", scope="step", metrics=["loss"]).columns
    assert own["step"] == [1, 2]
    assert math.isnan(own["value"][0])
    of_client = queries.series(store, "run", scope="step", metrics=["loss"], client_id="a").columns
    assert sorted(of_client["value"]) == [7.0, 8.0]
    assert [(key.key, key.client_id) for key in queries.metric_names(store, "run").step] == [
        ("loss", None),
        ("loss", "a"),
    ]


def test_unknown_kinds_and_strange_numbers_do_not_stop_the_index(store, journal):
    server = journal().append(Text(ts=1.0, text="ünï \x00 \n code"), update("a", 1 << 60), update("ok"))
    server.append_line(b'{"kind":"gossip","ts":5,"round":99999999999999999999999,"nodes":[1]}')
    server.append_line(b'{"kind":"gossip","ts":1' + b"0" * 400 + b"}")
    server.append_line(b'{"kind":"text","ts":"NaN","text":"\\ud83d\\ude00"}')
    store.apply([server.receipt()])
    assert queries.events(store, "run", kind="gossip").columns["data"][0]["nodes"] == [1]
    assert queries.events(store, "run", kind="text").columns["message"] == ["ünï \x00 \n code", "😀"]
    reasons = queries.dead_letters(store).columns["reason"]
    assert [reason.split(":")[0] for reason in reasons] == ["round", "ts"]
    assert all("2^53" in reason for reason in reasons)
    assert queries.clients(store, "run").columns["client_id"] == ["ok"]


def test_a_journal_of_no_run_keeps_its_samples(store, journal):
    source = journal(run_id=None, role="source").append(Sample(ts=1.0, node="s1", metrics={"bytes": 1.0}), update("a"))
    store.apply([source.receipt()])
    assert store.cursor().execute("SELECT node, value FROM samples").fetchall() == [("s1", 1.0)]
    assert "names no run" in queries.dead_letters(store).columns["reason"][0]
    with pytest.raises(RunNotFound):
        queries.rounds(store, "run")


@pytest.mark.parametrize("role", ["client", "monitor", "source", "people"])
def test_only_a_servers_journal_speaks_of_the_run_its_rounds_and_the_server(store, journal, role):
    store.apply([journal().append(RunStart(ts=1.0, run_id="run", project="p"), RoundStart(ts=2.0, round=0)).receipt()])
    forged = journal(role=role, client_id="a").append(
        RunStart(ts=5.0, run_id="run", project="forged"),
        RoundStart(ts=5.0, round=7),
        RoundEnd(ts=5.0, round=0, global_accuracy=0.99),
        ServerInfo(ts=5.0, city="Oslo"),
        RunEnd(ts=5.0, status="failed", error="forged"),
    )
    store.apply([forged.receipt()])
    detail = queries.run(store, "run")
    assert (detail.run["project"], detail.run["state"], detail.run["error"]) == ("p", "running", None)
    assert (detail.run["num_rounds"], detail.run["global_accuracy"], detail.server) == (1, None, None)
    assert queries.rounds(store, "run").columns["state"] == ["open"]
    assert len(queries.dead_letters(store).columns["offset"]) == 3


def test_a_cut_list_of_selected_clients_comes_with_their_number(store, journal):
    store.apply([journal().append(RoundStart(ts=1.0, round=0, selected=["a", "b"], num_selected=5_000)).receipt()])
    assert queries.rounds(store, "run").columns["num_selected"] == [5_000]
