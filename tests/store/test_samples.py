"""Samples of resource monitors: which nodes there are, series over time, and updates that they complete."""

from __future__ import annotations

import math

import pytest

from fedsight.errors import BadQuery, RunNotFound
from fedsight.events import ClientUpdate, Log, RoundEnd, RunStart, Sample
from fedsight.store import Store, queries

USER = "process.cpu.time{cpu.mode=user,host=a}"


def sample(ts, node="edge", **metrics):
    return Sample(ts=ts, node=node, metrics=metrics)


def reading(ts, sec=5.0, node="edge", **metrics):
    """A monitor's reading, of the `sec` before `ts`."""
    return sample(ts, node, elapsed_sec=ts - 1000.0, interval_sec=sec, **metrics)


def monitored_run(store, journal, updates, readings, told_by="client"):
    """A run with the client "a", its monitor, and a server that says little."""
    server = journal().append(RunStart(ts=1.0, run_id="run"))
    site = journal(role="client", client_id="a")
    (server if told_by == "server" else site).append(*updates)
    monitor = journal(role="monitor", client_id="a").append(*readings)
    store.apply([server.receipt(), site.receipt(), monitor.receipt()])
    return store


def updated(ts, round=0, **fields):
    return ClientUpdate(ts=ts, client_id="a", round=round, **fields)


def first(table):
    return {name: values[0] for name, values in table.columns.items()}


def test_every_node_with_its_last_known_values(store, journal):
    server = journal().append(RunStart(ts=1.0, run_id="run"))
    monitor = journal(role="monitor", client_id="a").append(
        sample(10.0, ram_mb=100.0, elapsed_sec=0.0), sample(15.0, cpu_pct=50.0, ram_mb=120.0), sample(20.0, ram_mb=90.0)
    )
    store.apply([server.receipt(), monitor.receipt(0, 3)])
    store.apply([monitor.receipt(3)])
    found = queries.nodes(store)
    node = first(found)
    assert (node["node"], node["run_id"], node["client_id"], node["role"]) == ("edge", "run", "a", "monitor")
    assert (node["first_ts"], node["last_ts"], node["num_samples"]) == (10.0, 20.0, 3)
    assert (node["cpu_pct"], node["ram_mb"], node["power_w"]) == (50.0, 90.0, None)
    assert node["metrics"] == {"ram_mb": 90.0, "elapsed_sec": 0.0, "cpu_pct": 50.0}


def test_a_node_outside_of_runs(store, journal):
    monitor = journal(run_id=None, role="monitor").append(sample(10.0, "jetson-1", cpu_cores=0.5))
    store.apply([monitor.receipt()])
    node = first(queries.nodes(store))
    assert (node["node"], node["run_id"], node["client_id"]) == ("jetson-1", None, None)
    found = queries.samples(store, None, node="jetson-1", metrics=["cpu_cores"])
    assert found.columns == {"ts": [10.0], "cpu_cores": [0.5]}


def test_nodes_come_in_pages_and_by_what_they_belong_to(store, journal):
    server = journal().append(RunStart(ts=1.0, run_id="run"))
    receipts = [server.receipt()]
    for i in range(5):
        monitor = journal(role="monitor", client_id=f"c{i}").append(sample(float(i), f"n{i}", ram_mb=1.0))
        receipts.append(monitor.receipt())
    store.apply(receipts)
    page = queries.nodes(store, limit=3)
    assert page.columns["node"] == ["n4", "n3", "n2"]
    assert queries.nodes(store, limit=3, cursor=page.next).columns["node"] == ["n1", "n0"]
    assert queries.nodes(store, run_id="run", client_id="c1", fields=["ram_mb"]).columns == {
        "node": ["n1"],
        "ram_mb": [1.0],
    }
    assert queries.nodes(store, run_id="another").columns["node"] == []
    assert queries.nodes(store, role="source").columns["node"] == []
    with pytest.raises(BadQuery, match="fields"):
        queries.nodes(store, fields=["journals"])


def test_a_series_over_time_missing_where_nothing_was_measured(store, journal):
    readings = [sample(10.0, ram_mb=1.0), sample(15.0, ram_mb=2.0, cpu_pct=math.nan), sample(20.0, **{USER: 3.0})]
    monitored_run(store, journal, [], readings)
    found = queries.samples(store, "run", client_id="a", metrics=["ram_mb", USER]).columns
    assert found == {"ts": [10.0, 15.0, 20.0], "ram_mb": [1.0, 2.0, None], USER: [None, None, 3.0]}
    found = queries.samples(store, "run", client_id="a", metrics=["ram_mb"], from_=10.5, to=15.0)
    assert found.columns == {"ts": [15.0], "ram_mb": [2.0]}
    (value,) = queries.samples(store, "run", client_id="a", metrics=["cpu_pct"]).columns["cpu_pct"]
    assert math.isnan(value)


def test_a_long_series_keeps_its_spikes(store, journal):
    readings = [sample(float(i), cpu_pct=99.0 if i == 777 else 1.0) for i in range(2000)]
    monitored_run(store, journal, [], readings)
    found = queries.samples(store, "run", client_id="a", metrics=["cpu_pct"], max_points=100).columns
    assert len(found["ts"]) <= 100
    assert (found["ts"][0], found["ts"][-1], max(found["cpu_pct"])) == (0.0, 1999.0, 99.0)


def test_the_server_has_a_series_of_its_own(store, journal):
    server = journal().append(RunStart(ts=1.0, run_id="run"))
    own = journal(role="monitor").append(sample(10.0, "srv", ram_mb=7.0))
    site = journal(role="monitor", client_id="a").append(sample(10.0, ram_mb=1.0))
    ports = journal(role="source").append(sample(10.0, "s1-eth1", rx=1.0), sample(10.0, "s1-eth2", rx=2.0))
    store.apply([each.receipt() for each in (server, own, site, ports)])
    assert queries.samples(store, "run", metrics=["ram_mb"]).columns["ram_mb"] == [7.0]
    assert queries.samples(store, "run", node="s1-eth2", metrics=["rx"]).columns["rx"] == [2.0]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"metrics": []}, "metric"),
        ({"client_id": "a", "metrics": ["cpu_pct"]}, "metric"),
        ({"client_id": "b", "metrics": ["ram_mb"]}, "node"),
        ({"client_id": "nobody", "metrics": ["ram_mb"]}, "client_id"),
        ({"client_id": "a", "node": "x", "metrics": ["ram_mb"]}, "node"),
        ({"client_id": "a", "metrics": ["ram_mb"], "max_points": 0}, "max_points"),
        ({"client_id": "a", "metrics": ["ram_mb"], "from_": math.nan}, "from"),
    ],
)
def test_a_question_that_cannot_be_meant(store, journal, asked, field):
    two = journal(role="monitor", client_id="b").append(sample(1.0, "x", ram_mb=1.0), sample(1.0, "y", ram_mb=1.0))
    store.apply([two.receipt()])
    monitored_run(store, journal, [], [sample(10.0, ram_mb=1.0)])
    with pytest.raises(BadQuery) as caught:
        queries.samples(store, "run", **asked)
    assert caught.value.field == field


def test_no_such_run(store):
    with pytest.raises(RunNotFound):
        queries.samples(store, "nothing", metrics=["ram_mb"])


def test_an_update_is_completed_by_what_the_clients_monitor_measured(store, journal):
    readings = [
        reading(1005.0, cpu_pct=10.0, ram_mb=500.0),
        reading(1010.0, cpu_pct=40.0, ram_mb=300.0, gpu_util_pct=50.0, gpu_vram_mb=800.0),
        reading(1015.0, cpu_pct=80.0, ram_mb=200.0, gpu_util_pct=90.0, gpu_vram_mb=900.0),
    ]
    # Trained from 1007.5 to 1015: 2.5 s at 40 %, 5 s at 80 %.
    monitored_run(store, journal, [updated(1015.0, train_time_sec=7.5)], readings)
    row = first(queries.updates(store, "run", measured=True))
    assert row["cpu_pct"] == pytest.approx((2.5 * 40 + 5 * 80) / 7.5)
    assert row["ram_mb"] == 300.0
    assert row["gpu_util_pct"] == pytest.approx((2.5 * 50 + 5 * 70) / 7.5)
    assert row["gpu_vram_mb"] == 900.0
    assert row["measured"] == ["cpu_pct", "ram_mb", "gpu_util_pct", "gpu_vram_mb"]
    assert (row["bytes_sent"], row["bytes_received"], row["energy_j"]) == (None, None, None)
    client = first(queries.clients(store, "run", measured=True))
    assert {name: client[name] for name in row["measured"]} == {name: row[name] for name in row["measured"]}
    assert client["measured"] == row["measured"]


def test_what_the_client_said_stands(store, journal):
    readings = [reading(1005.0, cpu_pct=10.0, ram_mb=500.0)]
    monitored_run(store, journal, [updated(1005.0, train_time_sec=5.0, cpu_pct=0.0)], readings)
    for row in (
        first(queries.updates(store, "run", measured=True)),
        first(queries.clients(store, "run", measured=True)),
    ):
        assert (row["cpu_pct"], row["ram_mb"], row["measured"]) == (0.0, 500.0, ["ram_mb"])


def test_without_being_asked_nothing_is_filled(store, journal):
    monitored_run(store, journal, [updated(1005.0, train_time_sec=5.0)], [reading(1005.0, cpu_pct=10.0)])
    assert first(queries.updates(store, "run"))["cpu_pct"] is None
    assert "measured" not in queries.clients(store, "run").columns


def test_without_a_training_time_the_interval_begins_at_the_update_before(store, journal):
    readings = [reading(1000.0 + 5 * i, cpu_pct=10.0 * i) for i in range(1, 5)]
    monitored_run(store, journal, [updated(1010.0, 0), updated(1020.0, 1)], readings)
    found = queries.updates(store, "run", measured=True).columns
    assert found["cpu_pct"] == [None, pytest.approx(35.0)]  # nothing is known of when the first one began
    assert found["measured"] == [[], ["cpu_pct"]]


def test_the_sites_clock_counts_where_the_servers_differs(store, journal):
    server = journal().append(RunStart(ts=1.0, run_id="run"), updated(5000.0, num_samples=7.0))
    site = journal(role="client", client_id="a").append(updated(1010.0, train_time_sec=5.0))
    monitor = journal(role="monitor", client_id="a").append(
        *(reading(1000.0 + 5 * i, cpu_pct=10.0 * i) for i in range(1, 4))
    )
    store.apply([each.receipt() for each in (server, site, monitor)])
    row = first(queries.updates(store, "run", measured=True))
    assert (row["ts"], row["num_samples"], row["cpu_pct"]) == (5000.0, 7.0, 20.0)
    assert first(queries.clients(store, "run", measured=True))["cpu_pct"] == 20.0


def test_an_interval_that_was_hardly_measured_has_no_mean(store, journal):
    readings = [reading(1005.0, cpu_pct=10.0, ram_mb=1.0, energy_j=100.0)]
    updates = [updated(1011.0, 0, train_time_sec=11.0), updated(1009.0, 1, train_time_sec=9.0)]
    monitored_run(store, journal, updates, readings)
    found = queries.updates(store, "run", measured=True).columns
    assert found["cpu_pct"] == [None, 10.0]
    assert found["ram_mb"] == [1.0, 1.0]
    assert found["energy_j"] == [None, None]


def test_the_energy_of_a_training(store, journal):
    readings = [reading(1000.0 + 5 * i, energy_j=50.0 * i) for i in range(1, 4)]
    monitored_run(store, journal, [updated(1014.0, train_time_sec=8.0)], readings)
    row = first(queries.updates(store, "run", measured=True, fields=["energy_j"]))
    assert row == {"round": 0, "client_id": "a", "energy_j": pytest.approx(80.0 + 120.0), "measured": ["energy_j"]}


def test_a_new_window_of_the_monitor_says_nothing_of_the_time_before_it(store, journal):
    readings = [
        sample(1000.0, elapsed_sec=0.0, ram_mb=1.0),
        sample(1002.0, elapsed_sec=2.0, cpu_pct=90.0, gpu_util_pct=90.0),
        sample(1050.0, elapsed_sec=0.0, gpu_util_pct=10.0),
        sample(1052.0, elapsed_sec=2.0, cpu_pct=10.0, gpu_util_pct=10.0),
    ]
    monitored_run(
        store, journal, [updated(1052.0, 0, train_time_sec=2.0), updated(1052.0, 1, train_time_sec=52.0)], readings
    )
    assert queries.updates(store, "run", measured=True).columns["cpu_pct"] == [10.0, None]


def test_a_training_between_two_readings_takes_the_figures_around_it(store, journal):
    monitored_run(store, journal, [updated(1003.0, train_time_sec=1.0)], [reading(1005.0, cpu_pct=30.0, ram_mb=7.0)])
    row = first(queries.updates(store, "run", measured=True))
    assert (row["cpu_pct"], row["ram_mb"]) == (30.0, 7.0)


def test_updates_without_a_round_are_completed_too(store, journal):
    readings = [reading(1000.0 + 5 * i, cpu_pct=10.0 * i) for i in range(1, 4)]
    updates = [updated(1005.0, None, train_time_sec=5.0), updated(1015.0, None, train_time_sec=5.0)]
    monitored_run(store, journal, updates, readings, told_by="server")
    assert queries.updates(store, "run", measured=True).columns["cpu_pct"] == [10.0, 30.0]
    assert first(queries.clients(store, "run", measured=True))["cpu_pct"] == 30.0


def test_another_clients_monitor_does_not_count(store, journal):
    monitored_run(
        store,
        journal,
        [updated(1005.0, train_time_sec=5.0)],
        [Log(ts=1.0, component="monitor", event="x", message="y")],
    )
    other = journal(role="monitor", client_id="b").append(reading(1005.0, cpu_pct=30.0))
    own = journal(role="monitor").append(reading(1005.0, "server", cpu_pct=60.0))
    store.apply([other.receipt(), own.receipt()])
    assert first(queries.updates(store, "run", measured=True))["cpu_pct"] is None


def test_a_client_is_news_again_when_the_reading_after_its_training_arrives(store, journal):
    monitor = journal(role="monitor", client_id="a").append(
        *(reading(1000.0 + 5 * i, cpu_pct=10.0 * i) for i in range(1, 5))
    )
    monitored_run(store, journal, [updated(1012.0, train_time_sec=4.0)], [])
    before = store.commit
    store.apply([monitor.receipt(0, 3)])  # the readings of 1005 and 1010
    assert queries.changes(store, before, "run").clients is None
    before = store.commit
    store.apply([monitor.receipt(3, 4)])
    news = queries.changes(store, before, "run").clients
    assert first(news)["cpu_pct"] == pytest.approx(25.0)
    assert first(news)["measured"] == ["cpu_pct"]
    before = store.commit
    store.apply([monitor.receipt(4)])
    assert queries.changes(store, before, "run").clients is None


def test_a_store_built_in_other_steps_is_the_same(store, journal, tables_of):
    monitor = journal(role="monitor", client_id="a").append(*(reading(1000.0 + i, ram_mb=float(i)) for i in range(6)))
    server = journal().append(RunStart(ts=1.0, run_id="run"), updated(1003.0), RoundEnd(ts=1004.0, round=0))
    with Store.open(None) as other:
        other.apply([server.receipt(), monitor.receipt()])
        for line in range(len(monitor.lines)):
            store.apply([monitor.receipt(line, line + 1)])
        store.apply([server.receipt()])
        assert tables_of(other) == tables_of(store)
