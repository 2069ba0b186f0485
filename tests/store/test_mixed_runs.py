from fedsight import events
from fedsight.store import queries


def start(journal, name, ts, **fields):
    made = journal(role="server")
    made.header.journal = name
    made.lines = []
    return made.append(made.header, events.RunStart(ts=ts, run_id="run", **fields))


def test_two_trainings_of_one_name_are_said_to_be_mixed(journal, store):
    store.apply([start(journal, "a", 1.0, project="ward").receipt()])
    store.apply([start(journal, "b", 2.0, project="other", host="elsewhere").receipt()])
    detail = queries.run(store, "run")
    assert detail.run["project"] == "ward"
    assert {each.journal: each.num_bad for each in detail.journals} == {"a": 0, "b": 1}
    (reason,) = queries.dead_letters(store).columns["reason"]
    assert "elsewhere" in reason
    assert "resume=True" in reason


def test_a_resumed_run_and_a_journal_sent_anew_are_no_other_training(journal, store):
    store.apply([start(journal, "a", 1.0).receipt()])
    store.apply([start(journal, "b", 2.0, resumed=True).receipt(), start(journal, "c", 1.0).receipt()])
    assert queries.dead_letters(store).columns["reason"] == []
