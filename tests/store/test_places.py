import math

from fedsight import events
from fedsight.store import queries


def test_where_a_client_is_is_no_metric_of_its_training(journal, store):
    made = journal().append(
        events.RunStart(ts=1.0, run_id="run"),
        events.ClientUpdate(ts=1.0, client_id="a", round=0, lat=43.6, lng=1.4, city="Toulouse", local_loss=0.5),
    )
    store.apply([made.receipt()])
    assert queries.metric_names(store, "run").client == ["local_loss"]
    assert queries.clients(store, "run").columns["city"] == ["Toulouse"]


def test_a_client_that_told_its_city_alone_is_put_there_and_marked(journal, store):
    told = [
        {"lat": 1.0, "lng": 2.0, "city": "Toulouse"},
        {"city": "Toulouse, FR"},
        {"city": "Toulouse", "country": "FR"},
        {"country": "FR"},
        {"city": "Nowhereville"},
        {"lat": math.nan, "lng": 2.0, "country": "FR"},
        {"lat": 3.0, "country": "FR"},
        {},
    ]
    made = journal().append(
        events.RunStart(ts=1.0, run_id="run"),
        *(events.ClientUpdate(ts=1.0, client_id=str(i), round=0, **fields) for i, fields in enumerate(told)),
    )
    store.apply([made.receipt()])
    clients = queries.clients(store, "run").columns
    assert clients["location_precision"] == ["given", "city", "city", "country", None, None, None, None]
    assert clients["lat"][:5] == [1.0, 43.60426, 43.60426, 48.85341, None]
    assert math.isnan(clients["lat"][5]), "what was told stays, though it is no place"
    assert (clients["lat"][6], clients["lng"][6]) == (3.0, None)
    assert queries.changes(store, 0, "run").clients.columns["location_precision"] == clients["location_precision"]


def test_the_updates_themselves_stay_as_they_were_told(journal, store):
    made = journal().append(events.ClientUpdate(ts=1.0, client_id="a", round=0, city="Toulouse"))
    store.apply([made.receipt()])
    assert queries.updates(store, "run").columns["lat"] == [None]


def test_a_server_that_told_its_city_alone_is_put_there_and_marked(journal, store):
    made = journal().append(events.RunStart(ts=1.0, run_id="run"), events.ServerInfo(ts=1.0, city="Toulouse"))
    store.apply([made.receipt()])
    server = queries.run(store, "run").server
    assert (server["lat"], server["lng"], server["location_precision"]) == (43.60426, 1.44367, "city")
