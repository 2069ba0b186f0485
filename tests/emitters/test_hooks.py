"""A custom emitter is any object with some of the hooks; each is called as often as its event happened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from following_fixtures import wait_until

from fedsight import Run, UsageError
from fedsight.emitters.destination import Batch, RunInfo
from fedsight.emitters.following import Following
from fedsight.emitters.hooks import Hooks
from fedsight.events import ClientUpdate
from fedsight.summary import RoundSummary


class Everything:
    """Has all the hooks, and keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_init(self, run_id: str, algorithm: str | None, config: dict[str, Any]) -> None:
        self.calls.append(("init", run_id, algorithm, config))

    def on_round(self, summary: RoundSummary, clients: list[ClientUpdate]) -> None:
        self.calls.append(("round", summary.round, summary.global_loss, [client.client_id for client in clients]))

    def on_client_update(self, client: ClientUpdate) -> None:
        self.calls.append(("update", client.client_id, client.round, client.local_loss))

    def on_dropout(self, round: int, client_id: str, reason: str | None) -> None:
        self.calls.append(("dropout", round, client_id, reason))

    def on_comm_failure(self, round: int, client_id: str, reason: str | None) -> None:
        self.calls.append(("comm_failure", round, client_id, reason))

    def on_checkpoint(self, round: int, path: str, metadata: dict[str, Any]) -> None:
        self.calls.append(("checkpoint", round, path, metadata))

    def on_server_metadata(self, metadata: dict[str, Any]) -> None:
        self.calls.append(("server", metadata))

    def finish(self) -> None:
        self.calls.append(("finish",))


def a_run(folder: Path, *emitters: object, **options: Any) -> Run:
    return Run("exp", runs_dir=folder, verbose=False, emitters=list(emitters), **options)


def deliver_all(target: object, run: Run) -> None:
    following = Following(Hooks(target))
    following.attach(run.path)
    assert following.drain([run.path], 20)
    following.detach([run.path])


def test_every_hook_is_called_with_what_happened_in_order(tmp_path: Path) -> None:
    everything = Everything()
    with a_run(tmp_path, everything, algorithm="FedProx", config={"lr": 0.1}) as run:
        run.set_server_metadata(city="Lemont", lat=41.7, org="Lab", rack=7)
        run.round_start(0)
        run.log_client_update("a", 0, local_loss=0.5)
        run.log_dropout(0, "b", "battery")
        run.log_comm_failure(0, "c", "timeout")
        run.log_round(0, global_loss=0.4)
    assert everything.calls == [
        ("init", "exp", "FedProx", {"lr": 0.1}),
        ("server", {"city": "Lemont", "lat": 41.7, "org": "Lab", "rack": 7.0}),
        ("update", "a", 0, 0.5),
        ("dropout", 0, "b", "battery"),
        ("comm_failure", 0, "c", "timeout"),
        ("round", 0, 0.4, ["a"]),
        ("finish",),
    ]


def test_one_hook_is_enough_and_none_is_refused(tmp_path: Path) -> None:
    class OnlyFinish:
        finished = 0

        def finish(self) -> None:
            self.finished += 1

    emitter = OnlyFinish()
    with a_run(tmp_path, emitter) as run:
        run.log_round(0)
    assert emitter.finished == 1
    with pytest.raises(UsageError, match="none of on_init, on_round"):
        a_run(tmp_path, object())


def test_a_checkpoint_comes_once_with_its_hash(tmp_path: Path) -> None:
    everything = Everything()
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    with a_run(tmp_path, everything) as run:
        run.log_checkpoint(3, model, best=True)
        run.log_checkpoint(4, tmp_path / "never-written.bin", best=False)
    first, second = (call for call in everything.calls if call[0] == "checkpoint")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert first == ("checkpoint", 3, str(model), {"best": True, "sha256": digest, "size_bytes": 7})
    assert second == ("checkpoint", 4, str(tmp_path / "never-written.bin"), {"best": False})
    assert everything.calls[-1] == ("finish",)


def test_a_checkpoint_whose_hash_comes_after_a_restart_comes_once(tmp_path: Path) -> None:
    first, second = Everything(), Everything()
    with Run("exp", runs_dir=tmp_path, verbose=False) as run:
        run.log_checkpoint(1, "gone.bin")
    whole = run.path.read_bytes()
    run.path.write_bytes(whole[: whole.index(b'{"kind":"run_end"')])
    deliver_all(first, run)
    run.path.write_bytes(whole)
    deliver_all(second, run)
    assert [call for call in first.calls + second.calls if call[0] == "checkpoint"] == [
        ("checkpoint", 1, "gone.bin", {})
    ]


def test_a_call_that_succeeded_is_not_made_again_when_its_batch_comes_again(tmp_path: Path) -> None:
    class Flaky(Everything):
        failures = 3

        def on_dropout(self, round: int, client_id: str, reason: str | None) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("not now")
            super().on_dropout(round, client_id, reason)

    flaky = Flaky()
    with a_run(tmp_path, flaky) as run:
        run.log_client_update("a", 0)
        run.log_dropout(0, "b")
        run.log_round(0)
    assert [call[0] for call in flaky.calls] == ["init", "update", "dropout", "round", "finish"]


def test_a_hook_with_a_fault_loses_only_its_own_calls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Everything):
        def on_client_update(self, client: ClientUpdate) -> None:
            if client.client_id == "bad":
                raise TypeError("unexpected")
            super().on_client_update(client)

    faulty = Faulty()
    with a_run(tmp_path, faulty) as run:
        for client in ("a", "bad", "b"):
            run.log_client_update(client, 0)
        run.log_round(0)
    assert [call[1] for call in faulty.calls if call[0] == "update"] == ["a", "b"]
    assert [call[0] for call in faulty.calls] == ["init", "update", "update", "round", "finish"]
    assert run.emitters[0].state().num_failed == 1
    assert "failed on a client_update event" in caplog.text


def test_a_faulty_on_init_does_not_keep_the_events_back(tmp_path: Path) -> None:
    class BadStart(Everything):
        def on_init(self, run_id: str, algorithm: str | None, config: dict[str, Any]) -> None:
            raise KeyError("no such experiment")

    emitter = BadStart()
    with a_run(tmp_path, emitter) as run:
        run.log_client_update("a", 0)
        run.log_round(0)
    assert [call[0] for call in emitter.calls] == ["update", "round", "finish"]


def test_a_new_object_that_goes_on_is_told_of_the_run_again_and_of_nothing_else_twice(tmp_path: Path) -> None:
    first, second = Everything(), Everything()
    with a_run(tmp_path, first, config={"lr": 0.1}) as run:
        run.log_client_update("a", 0)
    with a_run(tmp_path, second, resume=True) as run:
        run.log_client_update("b", 1)
    assert [call[0] for call in first.calls] == ["init", "update", "finish"]
    assert second.calls == [("init", "exp", "FedAvg", {"lr": 0.1}), ("update", "b", 1, None), ("finish",)]


def test_on_events_gets_whole_batches_with_offsets(tmp_path: Path) -> None:
    class Batches:
        def __init__(self) -> None:
            self.batches: list[Batch] = []
            self.failures = 2

        def on_events(self, batch: Batch) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("not now")
            self.batches.append(batch)

    emitter = Batches()
    run = a_run(tmp_path, emitter, project="ward")
    run.log_client_update("a", 0)
    wait_until(lambda: len(emitter.batches) == 1)
    run.log_round(0)
    run.finish()
    lines = [line for batch in emitter.batches for line in batch.lines]
    data = run.path.read_bytes()
    for line in lines:
        kind = line.event.__struct_config__.tag
        assert data[line.offset :].startswith(f'{{"kind":"{kind}"'.encode())
    assert len({line.offset for line in lines}) == len(lines)
    assert [type(line.event).__name__ for line in lines] == ["RunStart", "ClientUpdate", "RoundEnd", "RunEnd"]
    assert emitter.batches[0].run.project == "ward"


def test_an_object_may_name_the_place_that_it_delivers_to(tmp_path: Path) -> None:
    class Placed(Everything):
        def __init__(self, identity: str) -> None:
            super().__init__()
            self.identity = identity

    run = a_run(tmp_path, Placed("north"), Placed("south"))
    run.finish()
    assert [emitter.state().destination for emitter in run.emitters] == ["north", "south"]


def test_a_second_object_of_a_class_has_an_offset_of_its_own(tmp_path: Path) -> None:
    first, second = Everything(), Everything()
    with a_run(tmp_path, first, second) as run:
        run.log_round(0)
    names = [emitter.state().destination for emitter in run.emitters]
    assert names == [f"{__name__}.Everything", f"{__name__}.Everything#2"]
    assert [call[0] for call in first.calls] == [call[0] for call in second.calls] == ["init", "round", "finish"]


def test_one_object_given_twice_is_refused(tmp_path: Path) -> None:
    emitter = Everything()
    with pytest.raises(UsageError, match="twice: leave one out"):
        a_run(tmp_path, emitter, emitter)


def test_the_class_is_the_name_to_sync_to() -> None:
    hooks = Hooks(Everything())
    hooks.open(RunInfo("exp"), None)
    assert hooks.sync_name == f"{__name__}:Everything"
    assert Following(hooks).sync_command([Path("runs/exp.jsonl")]) == (
        f"fedsight sync runs/exp.jsonl --to {__name__}:Everything"
    )
