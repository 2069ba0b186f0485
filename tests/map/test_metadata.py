"""map.json: from HiveWatch's events what HiveWatch makes of them, from a journal the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import fedsight
from fedsight.errors import JournalError
from fedsight.events import ClientUpdate
from fedsight.imports.hivewatch import import_file
from fedsight.map import (
    build_map_metadata_from_events,
    build_rounds_from_events,
    merge_client_state,
    metadata,
    write_map,
)
from fedsight.map.metadata import journal_events

FILES = Path(__file__).parents[1] / "imports" / "hivewatch_files"
VERSIONS = ["run-v031", "run-v020"]


def hivewatchs(run: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """HiveWatch's events of a run, and the map.json that it made of them itself."""
    lines = (FILES / f"{run}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], json.loads((FILES / f"{run}.map.json").read_text())


def comparable(value: Any) -> Any:
    """Without what differs on purpose: one key more, the status that a dropout leaves, NaN that equals itself."""
    if isinstance(value, dict):
        told = {k: comparable(v) for k, v in value.items() if k != "status"}
        if "globalAcc" in told:
            told["dispersion"] = told.pop("divergence", None) or told.get("dispersion")
        return told
    if isinstance(value, list):
        return [comparable(each) for each in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("run", VERSIONS)
def test_hivewatchs_events_give_hivewatchs_map(run: str) -> None:
    events, theirs = hivewatchs(run)
    ours = build_map_metadata_from_events(events)
    assert comparable(ours) == comparable(theirs)
    assert list(ours) == list(theirs)
    assert build_rounds_from_events(events) == ours["rounds"] or "NaN" in repr(comparable(ours))


@pytest.mark.parametrize("run", VERSIONS)
def test_an_imported_journal_gives_the_same_map(run: str, tmp_path: Path) -> None:
    events, _ = hivewatchs(run)
    journal = import_file(FILES / f"{run}.jsonl", tmp_path).journal
    written = json.loads(write_map(journal).read_bytes())
    assert comparable(written) == comparable(build_map_metadata_from_events(events))
    assert comparable(build_map_metadata_from_events(journal_events(journal))) == comparable(written)


def test_a_client_that_dropped_out_stays_so_in_its_round() -> None:
    rounds = build_rounds_from_events(hivewatchs("run-v031")[0])
    assert [client["status"] for client in rounds[1]["clients"]] == ["active", "dropped", "active"]
    assert [client["status"] for client in rounds[2]["clients"]] == ["failed", "active", "active"]


def test_no_events_are_an_empty_map() -> None:
    assert build_map_metadata_from_events([]) == {
        "schema_version": 1, "run_id": None, "algorithm": None, "config": {}, "started_at": None, "finished_at": None,
        "server": None, "rounds": [],
    }  # fmt: skip


def test_of_a_client_the_last_value_that_is_one_wins() -> None:
    assert merge_client_state({"client_id": "a", "x": 1}, {"x": None, "y": 2}) == {"client_id": "a", "x": 1, "y": 2}
    assert merge_client_state(None, {"x": None}) == {}


def test_it_is_valid_json_with_nan_in_it_and_custom_fields_beside_the_contracts(tmp_path: Path) -> None:
    with fedsight.Run("r", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update("a", 0, gradient_norm=float("nan"), temperature_c=61.5, note="hot")
        run.log_client_update("b", 0, gradient_norm=1.0, num_samples=5)
        run.log_client_update("c", 0, gradient_norm=3.0)
        run.log_round(0)
    told = json.loads(write_map(tmp_path / "r.jsonl").read_bytes(), parse_constant=pytest.fail)
    (round_,) = told["rounds"]
    assert round_["dispersion"] == round_["divergence"] == math.sqrt(2)
    first, second, _ = round_["clients"]
    assert first == {
        "client_id": "a", "round": 0, "gradient_norm": "NaN", "temperature_c": 61.5, "note": "hot", "status": "active",
    }  # fmt: skip
    assert second["num_samples"] == 5


def test_gradient_norms_of_any_size_have_a_dispersion() -> None:
    events = [ClientUpdate(ts=1.0, client_id=name, round=0, gradient_norm=norm)
              for name, norm in (("a", 1.7e308), ("b", -1.7e308), ("c", 1.7e308))]  # fmt: skip
    (round_,) = build_rounds_from_events(events)
    assert round_["dispersion"] == round_["divergence"] == math.inf


def test_sites_own_journals_are_taken_in_and_the_servers_word_counts_over_theirs(tmp_path: Path) -> None:
    with fedsight.Run("r", runs_dir=tmp_path, verbose=False) as server:
        with fedsight.join("r", "a", runs_dir=tmp_path) as site:
            site.log_client_update(round=0, local_accuracy=0.1, local_loss=2.0)
        server.log_client_update("a", 0, local_accuracy=0.9)
        server.log_round(0)
    fedsight.Run("r.x", runs_dir=tmp_path, verbose=False).finish()  # another run, whose name begins alike
    told = json.loads(write_map(tmp_path / "r.jsonl").read_bytes())
    assert told["run_id"] == "r"
    (client,) = told["rounds"][0]["clients"]
    assert (client["local_accuracy"], client["local_loss"]) == (0.9, 2.0)
    from_site = write_map(tmp_path / "r.a.jsonl", tmp_path / "other.json")
    assert json.loads(from_site.read_bytes()) == told


def test_rounds_beyond_what_memory_is_to_hold_come_out_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    with fedsight.Run("r", runs_dir=tmp_path, verbose=False) as run:
        for number in range(12):
            for client in "abcd":
                run.log_client_update(client, number, local_loss=float("nan"), local_accuracy=0.01 * number)
            run.log_round(number, global_accuracy=0.5)
        run.log_client_update("late", 2, local_accuracy=1.0)
    whole = write_map(tmp_path / "r.jsonl").read_bytes()
    monkeypatch.setattr(metadata, "MOST_RECORDS_UNPACKED", 6)
    packed = write_map(tmp_path / "r.jsonl").read_bytes()
    assert packed == whole
    assert len(json.loads(packed)["rounds"][2]["clients"]) == 5


def test_a_fault_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    fedsight.Run("r", runs_dir=tmp_path, verbose=False).finish()
    target = write_map(tmp_path / "r.jsonl")
    before = target.read_bytes()
    (tmp_path / "r~00000000.jsonl").mkdir()  # what can't be read amid the work
    with pytest.raises(OSError):
        write_map(tmp_path / "r.jsonl")
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".*.new"))
    with pytest.raises(JournalError):
        write_map(target)
