"""HiveWatch's files, as its own versions 0.2.0.dev0 and 0.3.1 wrote them, become journals."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fedsight.events import (
    AnyEvent,
    Checkpoint,
    ClientEvent,
    ClientUpdate,
    JournalHeader,
    RoundEnd,
    RunEnd,
    RunStart,
    ServerInfo,
)
from fedsight.imports.hivewatch import ImportFault, import_file
from fedsight.map.metadata import journal_events
from fedsight.summary import summarize

FILES = Path(__file__).parent / "hivewatch_files"
NEW = FILES / "run-v031.jsonl"
OLD = FILES / "run-v020.jsonl"


def events(journal: Path) -> list[AnyEvent]:
    return [event for event in journal_events(journal) if not isinstance(event, JournalHeader)]  # type: ignore[misc]


def of(journal: Path, kind: type) -> list[Any]:
    return [event for event in events(journal) if isinstance(event, kind)]


def raw_lines(source: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in source.read_text().splitlines()]


@pytest.mark.parametrize("source", [NEW, OLD], ids=["0.3.1", "0.2.0.dev0"])
def test_each_event_is_there_once_in_its_order_and_at_its_time(source: Path, tmp_path: Path) -> None:
    told = import_file(source, tmp_path)
    assert told.journal == tmp_path / source.name
    found = events(told.journal)
    raw = raw_lines(source)
    times = [datetime.fromisoformat(line.get("timestamp") or line["started_at"]).timestamp() for line in raw]
    assert [event.ts for event in found] == times
    assert Counter(type(event) for event in found) == {
        RunStart: 1, ServerInfo: 1, ClientUpdate: 9, RoundEnd: 3, ClientEvent: 2, Checkpoint: 1, RunEnd: 1,
    }  # fmt: skip
    assert (told.num_events, told.num_updates, told.num_rounds, told.num_repeats) == (18, 9, 3, 9)
    assert (told.num_recovered, told.skipped) == (0, [])


def test_what_0_3_1_wrote_of_a_client_is_all_there(tmp_path: Path) -> None:
    first, _, third = of(import_file(NEW, tmp_path).journal, ClientUpdate)[:3]
    assert (first.client_id, first.round, first.base_round, first.local_accuracy) == ("chicago", 0, 0, 0.4)
    assert (first.num_samples, first.bytes_received, first.city, first.country) == (500, 1_100_000, "Chicago", "US")
    assert first.metrics == {"battery_pct": 80}
    assert first.extra == {"note": "ünï"}
    assert third.client_id == "no.geo/1"
    assert math.isnan(third.local_loss)  # the file says a bare NaN
    assert third.lat is None


def test_the_rounds_figures_are_hivewatchs_in_both_versions(tmp_path: Path) -> None:
    for source, key in ((NEW, "gradient_norm_dispersion"), (OLD, "gradient_divergence")):
        raw = [line for line in raw_lines(source) if line["event_type"] == "round_end"]
        for end, line in zip(of(import_file(source, tmp_path).journal, RoundEnd), raw, strict=True):
            wanted = line["round_metrics"]
            assert end.gradient_norm_dispersion == wanted[key]
            assert (end.global_accuracy, end.global_loss) == (wanted["global_accuracy"], wanted["global_loss"])
            assert (end.num_selected, end.round_duration_sec) == (4, wanted["round_duration_sec"])


def test_a_straggler_count_of_0_which_hivewatch_writes_unasked_is_taken_as_unknown(tmp_path: Path) -> None:
    ends = of(import_file(NEW, tmp_path).journal, RoundEnd)
    assert [end.num_stragglers for end in ends] == [None, 1, None]


def test_dropouts_failures_and_checkpoints_keep_their_reasons(tmp_path: Path) -> None:
    journal = import_file(NEW, tmp_path).journal
    told = [(e.event, e.client_id, e.round, e.reason) for e in of(journal, ClientEvent)]
    assert told == [("dropout", "tokyo", 1, "battery"), ("comm_failure", "chicago", 2, "timeout")]
    assert [(e.path, e.round) for e in of(journal, Checkpoint)] == [("ck.bin", 2)]


def test_the_rounds_add_up(tmp_path: Path) -> None:
    summary = summarize(events(import_file(NEW, tmp_path).journal))[1]
    assert (summary.num_completed, summary.num_dropouts, summary.participation_rate) == (3, 1, 0.75)


def test_torn_and_invalid_lines_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    lines = NEW.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:100] + b"\n"  # chicago's update in round 0
    lines.insert(5, b'{"event_type": "surprise", "run_id": "run-v031"}\n')
    lines.insert(6, b'{"event_type": "client_dropout", "round": -1, "timestamp": "2026-01-01T00:00:00+00:00", '
                    b'"clients": [{"client_id": "x"}]}\n')  # fmt: skip
    lines.insert(7, b'{"event_type": "finished", "timestamp": "yesterday"}\n')
    lines[-1] = lines[-1][:-5]
    source = tmp_path / "run-v031.jsonl"
    source.write_bytes(b"".join(lines))
    told = import_file(source, tmp_path / "journals")
    assert [(line.number, line.reason.split(",")[0]) for line in told.skipped] == [
        (3, "no JSON"),
        (6, "event_type 'surprise' is none of HiveWatch's"),
        (7, "round must be a whole number of at least 0 (and below 2^53)"),
        (8, "its time 'yesterday' is no ISO time"),
        (21, "no JSON: the line was torn (no newline at its end)"),
    ]
    assert told.num_recovered == 1  # round 0's end says what chicago had told
    assert Counter(e.client_id for e in of(told.journal, ClientUpdate))["chicago"] == 3
    assert of(told.journal, RunEnd) == []


def test_a_run_that_was_started_again_is_one_journal(tmp_path: Path) -> None:
    source = tmp_path / "run-v031.jsonl"
    source.write_bytes(NEW.read_bytes() * 2)
    starts = of(import_file(source, tmp_path / "journals").journal, RunStart)
    assert [start.resumed for start in starts] == [False, True]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    before = import_file(NEW, tmp_path).journal.read_bytes()
    with pytest.raises(ImportFault, match=r"exists already and is not overwritten\. Name another folder with --into"):
        import_file(NEW, tmp_path)
    assert (tmp_path / NEW.name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [NEW.name]


def test_what_is_none_of_hivewatchs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFault, match="is a journal already"):
        import_file(import_file(NEW, tmp_path).journal, tmp_path / "again")
    (tmp_path / "other.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(ImportFault, match="none of HiveWatch's files"):
        import_file(tmp_path / "other.jsonl", tmp_path / "again")
    assert not (tmp_path / "again").exists()
