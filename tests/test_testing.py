"""What users' own tests get: a run, and what it recorded."""

import os
from pathlib import Path

import pytest

import fedsight
from fedsight import RunFinished
from fedsight.errors import JournalError
from fedsight.events import ClientUpdate, RoundEnd, RunEnd, RunStart
from fedsight.testing import read_events, recorded


def train() -> None:
    for number in range(3):
        fedsight.round_start(number)
        fedsight.log_client_update("a", number, local_loss=0.5)
        fedsight.log_round(number, global_loss=1.0 / (number + 1))


def test_what_training_code_logs_is_at_hand_during_the_block_and_after_it() -> None:
    with recorded(algorithm="FedProx", config={"lr": 0.1}) as run:
        assert run.events_of(RoundEnd) == []
        train()
        assert len(run.events_of(ClientUpdate)) == 3
        folder = run.path.parent
    assert not folder.exists()
    assert [event.round for event in run.events_of(RoundEnd)] == [0, 1, 2]
    assert isinstance(run.events[-1], RunEnd)
    (start,) = run.events_of(RunStart)
    assert (start.algorithm, start.config) == ("FedProx", {"lr": 0.1})


def test_the_run_that_was_open_before_is_open_again(tmp_path: Path) -> None:
    outer = fedsight.init(runs_dir=tmp_path, verbose=False)
    with recorded() as inner:
        fedsight.log_text("inside")
    fedsight.log_text("outside")
    fedsight.finish()
    assert "inside" in str(inner.events)
    assert "outside" not in str(inner.events)
    assert "outside" in outer.path.read_text()
    with pytest.raises(RunFinished):
        inner.log_text("too late")


def test_an_exception_ends_the_run_as_failed_and_goes_on() -> None:
    with pytest.raises(ZeroDivisionError), recorded() as run:
        _ = 1 / 0
    assert [end.status for end in run.events_of(RunEnd)] == ["failed"]


def test_emitters_are_given_as_to_init() -> None:
    class Counting:
        rounds = 0

        def on_round(self, summary: object, clients: object) -> None:
            self.rounds += 1

    counting = Counting()
    with recorded(emitters=[counting]):
        train()
    assert counting.rounds == 3


def test_a_collector_in_the_environment_gets_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIGHT_COLLECTOR", "http://127.0.0.1:1")
    with recorded() as run:
        assert run.emitters == []
    assert os.environ["FEDSIGHT_COLLECTOR"] == "http://127.0.0.1:1"


def test_a_line_that_is_no_event_is_an_error(tmp_path: Path) -> None:
    with fedsight.Run("exp", runs_dir=tmp_path, verbose=False) as run:
        run.log_text("x")
    assert len(read_events(run.path)) == 4
    with run.path.open("a") as file:
        file.write('{"kind":"round_end"}\n')
    with pytest.raises(JournalError, match="no event at offset"):
        read_events(run.path)
