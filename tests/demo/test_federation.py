"""The whole federation, client processes included, without a collector."""

import math
from itertools import pairwise

import psutil
import pytest

import fedsight
from fedsight.demo.processes import Processes
from fedsight.demo.server import Federation, Settings
from fedsight.errors import FedsightError
from fedsight.events import Checkpoint, ClientEvent, ClientUpdate, Metric, RoundEnd, RoundStart, decode
from fedsight.journal import journal_path

ROUNDS = 15
SETTINGS = Settings(num_clients=8, num_rounds=ROUNDS, seed=42, speed=4)


class Silent:
    def __init__(self):
        self.reports = []

    def waiting(self, num_connected, num_clients):
        pass

    def round_done(self, report):
        self.reports.append(report)


class Played:
    """A federation that has been played, and what it left."""

    def __init__(self, runs_dir):
        self.display = Silent()
        with Processes(runs_dir / "logs") as processes:
            run = fedsight.Run(runs_dir=runs_dir, verbose=False)
            self.federation = Federation(SETTINGS, run=run, runs_dir=runs_dir, display=self.display)
            lobby = self.federation.lobby
            processes.start_clients(lobby.host, lobby.port, self.federation.parts)
            self.pids = [child.pid for child in processes.children]
            self.federation.wait_for_clients(60)
            self.federation.train()
            lobby.close()
            run.finish()
            processes.wait()
        self.events = read(run.path)
        self.parts = self.federation.parts
        self.client_events = {c: read(journal_path(runs_dir, run.run_id, c)) for c in self.parts}
        self.logs = {path.name: path.read_text() for path in (runs_dir / "logs").iterdir()}

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def client(self, story):
        return next(client for client, part in self.parts.items() if story in part.story)

    def updates_of(self, client):
        return [update for update in self.of(ClientUpdate) if update.client_id == client]


def read(path):
    return [decode(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return Played(tmp_path_factory.mktemp("runs"))


def test_every_round_is_recorded_and_the_model_learns(played):
    rounds = played.of(RoundEnd)
    assert [event.round for event in rounds] == list(range(1, ROUNDS + 1))
    assert [event.round for event in played.of(RoundStart)] == list(range(1, ROUNDS + 1))
    accuracies = [event.global_accuracy for event in rounds]
    assert max(accuracies) > accuracies[0] + 0.2
    assert all(event.metrics["macro_f1"] <= 1 for event in rounds)


def test_clients_leave_no_words_and_no_processes(played):
    assert {name: text for name, text in played.logs.items() if text} == {}
    assert not [pid for pid in played.pids if psutil.pid_exists(pid)]


def test_an_update_tells_what_was_measured(played):
    healthy = played.updates_of(played.client("healthy"))
    assert len(healthy) >= ROUNDS - 1
    for update in healthy:
        assert update.base_round <= update.round
        assert 0 <= update.local_accuracy <= 1
        assert update.num_samples >= 20
        assert update.bytes_sent > 2410 * 4  # the model's parameters, and their frame
        assert update.bytes_received > 2410 * 4
        assert update.train_time_sec > 0
        assert update.network_latency_ms > 0
        assert update.ram_mb > 10
        assert update.cpu_pct >= 0
        assert update.gradient_norm > 0
        assert update.city


def test_server_and_client_agree_on_what_they_both_measured(played):
    client = played.client("healthy")
    theirs = {e.round: e for e in played.client_events[client] if isinstance(e, ClientUpdate)}
    ours = {e.round: e for e in played.updates_of(client)}
    assert theirs.keys() <= ours.keys()
    assert len(theirs) >= len(ours) - 1  # the last one's receipt may cross the goodbye
    for round_, update in theirs.items():
        assert (update.bytes_sent, update.bytes_received) == (ours[round_].bytes_sent, ours[round_].bytes_received)
        assert math.isclose(update.gradient_norm, ours[round_].gradient_norm, rel_tol=1e-4)


def test_a_client_records_its_loss_step_by_step(played):
    client = played.client("healthy")
    steps = [event.step for event in played.client_events[client] if isinstance(event, Metric)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 3 * (ROUNDS - 1)


def test_one_drops_out_once_and_comes_back(played):
    client = played.client("drops out")
    (dropout,) = [e for e in played.of(ClientEvent) if e.event == "dropout"]
    assert (dropout.client_id, dropout.round) == (client, played.parts[client].away_from)
    assert dropout.reason == "maintenance window"
    selected = [client in event.selected for event in played.of(RoundStart)]
    changes = [after for before, after in pairwise(selected) if before != after]
    assert changes == [False, True]


def test_broken_links_are_recorded_with_their_true_error(played):
    client = played.client("link")
    failures = [e for e in played.of(ClientEvent) if e.event == "comm_failure"]
    assert {e.client_id for e in failures} == {client}
    assert {e.round for e in failures} >= set(played.parts[client].link_fails_in[:2])
    reasons = " ".join(e.reason for e in failures)
    assert "timed out: nothing for 0.5 s after" in reasons
    # On a busy machine the stalled answer is all that comes of it, and a new connection ends it.
    assert "reset" in reasons or "connection closed after" in reasons or "replaced by a new connection" in reasons


def test_one_lags_behind_and_its_staleness_shows(played):
    updates = played.updates_of(played.client("lags"))
    assert updates
    assert max(update.staleness for update in updates) >= 1


def test_one_is_slow_and_called_a_straggler(played):
    slow = played.client("slow")
    assert sum(slow in report.late for report in played.display.reports) >= ROUNDS // 2
    times = {c: played.updates_of(c)[0].train_time_sec for c in (slow, played.client("healthy"))}
    assert times[slow] > 2 * times[played.client("healthy")]


def test_the_poisoned_updates_stand_out(played):
    poisoner = played.client("poison")
    part = played.parts[poisoner]
    before = [u.gradient_norm for u in played.updates_of(poisoner) if u.base_round < part.poison_from]
    after = [u.gradient_norm for u in played.updates_of(poisoner) if u.base_round >= part.poison_from]
    assert min(after) > 2 * max(before[1:])


def test_checkpoints_hold_the_global_model(played):
    rounds = {event.round for event in played.of(Checkpoint)}
    assert rounds == {5, 10, 15}
    hashes = [event.sha256 for event in played.of(Checkpoint) if event.sha256]
    assert len(hashes) == 3


def test_a_client_that_never_comes_is_named(tmp_path):
    run = fedsight.Run(runs_dir=tmp_path, verbose=False)
    federation = Federation(SETTINGS, run=run, runs_dir=tmp_path, display=Silent())
    with pytest.raises(FedsightError, match=r"did not connect within 0\.1 s: .*nairobi"):
        federation.wait_for_clients(0.1)
    federation.lobby.close()
    run.finish()
