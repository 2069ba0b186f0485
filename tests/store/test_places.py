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
