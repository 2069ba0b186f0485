"""The Flower bridge where it is deployed: `flwr run`, a SuperLink, three SuperNodes, one of which is killed while it trains."""

from pathlib import Path

import pytest
from flower_federation import Federation

from fedsight.events import ClientEvent, ClientUpdate, Log, RoundEnd, RunEnd
from fedsight.testing import read_events

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]

APP = Path(__file__).parent / "flower" / "deployed"
NAMES = ("hospital-a", "hospital-b", "hospital-c")


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    journal = folder / "deployed.jsonl"
    with Federation(folder) as federation:
        federation.superlink()
        for number, name in enumerate(NAMES):
            federation.supernode(name, f'name="{name}" partition-id={number} num-partitions={len(NAMES)}')
        federation.run(APP, f'folder="{folder}"')
        federation.until((folder / "held").exists, "hospital-b is in round 2")
        federation.kill("hospital-b")
        federation.until(lambda: of(read_events(journal), RunEnd), "the run ends")
    return read_events(journal)


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_node_that_is_killed_is_named_with_flowers_reason(events):
    (failure,) = of(events, ClientEvent)
    assert (failure.client_id, failure.event, failure.round) == ("hospital-b", "comm_failure", 2)
    assert failure.reason.startswith("train: NODE_UNAVAILABLE (code 5): ")


def test_the_others_are_recorded_under_the_names_of_their_node_config(events):
    trained = {(u.round, u.client_id) for u in of(events, ClientUpdate) if u.status == "active"}
    assert trained == {(1, name) for name in NAMES} | {(2, "hospital-a"), (2, "hospital-c")}
    for update in of(events, ClientUpdate):
        if update.status == "active":
            assert update.train_time_sec > 0
            assert update.ram_mb > 0


def test_while_the_dead_node_is_waited_for_the_run_says_so(events):
    assert any(
        event.event == "waiting"
        and event.message.startswith("Round 2, train: 2 of 3 clients have answered; not yet: hospital-b")
        for event in of(events, Log)
    )
    assert of(events, Log)[-1].event == "going_on"


def test_the_training_goes_on_to_its_end(events):
    assert [event.round for event in of(events, RoundEnd)] == [1, 2]
    (end,) = of(events, RunEnd)
    assert end.status == "finished"
