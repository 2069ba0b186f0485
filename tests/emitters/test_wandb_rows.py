from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from journal_batches import batches_of

import fedsight
from fedsight.emitters.wandb_rows import OFFSET, rows_of, without_doubles


def recorded(folder: Path) -> fedsight.Run:
    return fedsight.init(run_id="run", runs_dir=folder, verbose=False)


def rows(path: Path, lines_each: int = 1_000_000) -> list[dict[str, Any]]:
    return [
        row.record(batch.journal)
        for batch in batches_of(path, lines_each)
        for row in rows_of(batch, per_client=True, system=True)
    ]


def points(records: list[dict[str, Any]]) -> list[tuple[Any, str, Any]]:
    """All (round, name, value) in order, whatever row they stand in. Counters may be overwritten within a row."""
    return sorted(
        (record.get("round", -1), name, value)
        for record in records
        for name, value in record.items()
        if not name.startswith(("_", "fedsight/", "event/")) and name != "round"
    )


def test_a_round_of_a_thousand_clients_is_one_row(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        for number in range(2):
            for client in range(1000):
                run.log_client_update(f"site-{client}", round=number, local_accuracy=0.5, cpu_pct=10, auc=0.5)
            run.log_round(number, global_accuracy=0.5)
    first, second = rows(run.path)
    assert len([name for name in first if name.startswith(("client/", "sys/"))]) == 3000
    assert (first["round"], first["round/accuracy"], second["round"]) == (0, 0.5, 1)


def test_a_second_update_of_a_client_in_a_round_is_a_further_row(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_client_update("a", round=0, local_loss=2.0)
        run.log_client_update("b", round=0, local_loss=3.0)
        run.log_client_update("a", round=0, local_loss=1.0)
    first, second = rows(run.path)
    assert (first["client/a/loss"], first["client/b/loss"]) == (2.0, 3.0)
    assert second["client/a/loss"] == 1.0
    assert "client/b/loss" not in second


def test_the_newest_count_comes_last_also_where_rounds_overlap(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_dropout(3, "a")
        run.log_dropout(4, "b")
        run.log_dropout(3, "c")
        run.log_dropout(3, "d")
    counts = [(row["round"], row["event/client_dropout"]) for row in rows(run.path)]
    assert counts == [(3, 1), (4, 2), (3, 4)]


def test_an_update_without_a_round_has_a_row_without_one(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_client_update("a", local_loss=2.0)
    (row,) = rows(run.path)
    assert "round" not in row
    assert row["client/a/loss"] == 2.0


def test_step_level_points_of_a_step_share_a_row(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_metric("loss", 2.0, step=10)
        run.log_metric("lr", 0.1, step=10)
        run.log_metric("loss", 1.0, step=11)
    first, second = rows(run.path)
    assert (first["step"], first["loss"], first["lr"]) == (10, 2.0, 0.1)
    assert (second["step"], second["loss"]) == (11, 1.0)


def test_keys_that_are_wandbs_own_are_set_apart(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_metric("round", 7.0, step=1)
        run.log_metric("_step", 9.0, step=1)
    (row,) = rows(run.path)
    assert (row["metric/round"], row["metric/_step"]) == (7.0, 9.0)
    assert "round" not in row


def test_the_time_of_a_row_is_the_events_own(tmp_path: Path) -> None:
    with recorded(tmp_path) as run:
        run.log_round(0, global_loss=1.0)
    (batch,) = batches_of(run.path)
    (row,) = rows(run.path)
    assert row["_timestamp"] == next(line.event.ts for line in batch.lines if line.report is not None)


def test_offsets_grow_from_row_to_row(tmp_path: Path) -> None:
    path = busy_journal(tmp_path)
    for lines_each in (1, 3, 1000):
        offsets = [row[OFFSET] for row in rows(path, lines_each)]
        assert offsets == sorted(set(offsets))


def test_what_was_delivered_twice_is_found(tmp_path: Path) -> None:
    path = busy_journal(tmp_path)
    all_batches = list(batches_of(path, 7))

    @given(st.lists(st.integers(0, len(all_batches) - 1), max_size=4), st.integers(1, 20))
    def check(killed_after: list[int], lines_each: int) -> None:
        """A process is killed after delivering a batch whose offset wasn't saved, and its lines come again."""
        told: list[dict[str, Any]] = []
        at = 0
        for killed in sorted(killed_after):
            told += records(all_batches[at : killed + 1])
            at = killed
        # The last delivery is cut into batches differently.
        rest = [batch for batch in batches_of(path, lines_each) if batch.lines[0].offset >= start_of(all_batches, at)]
        if rest and rest[0].lines[0].offset == start_of(all_batches, at):
            told += records(rest)
        else:
            told += records(all_batches[at:])
        assert values(without_doubles(told)) == values(records(all_batches))

    check()


def test_rows_of_two_journals_and_rows_of_others_do_not_disturb_each_other() -> None:
    told = [
        {"fedsight/journal": "one", "fedsight/offset": 10, "x": 1},
        {"fedsight/journal": "two", "fedsight/offset": 5, "x": 2},
        {"mine": 3},
        {"fedsight/journal": "one", "fedsight/offset": 20, "x": 4},
        {"fedsight/journal": "one", "fedsight/offset": 20, "x": 4},
    ]
    assert without_doubles(told) == [told[0], told[1], told[2], told[4]]


def records(batches: list[Any]) -> list[dict[str, Any]]:
    return [row.record(batch.journal) for batch in batches for row in rows_of(batch, per_client=True, system=True)]


def values(told: list[dict[str, Any]]) -> list[tuple[Any, str, Any]]:
    """What updates brought; reports of revisions depend on where batches end."""
    return [point for point in points(told) if point[1].startswith("client/")]


def start_of(batches: list[Any], number: int) -> int:
    offset: int = batches[number].lines[0].offset
    return offset


def busy_journal(folder: Path) -> Path:
    with recorded(folder) as run:
        for number in range(6):
            run.round_start(number, selected=["a", "b", "c"])
            for client in ("a", "b", "c"):
                run.log_client_update(client, local_loss=number + 0.5)
            run.log_client_update("a", round=max(0, number - 2), local_loss=100.0 + number)
            run.log_dropout(number, "c")
            run.log_metric("lr", 0.1, step=number)
            run.log_round(number, global_loss=float(number))
    return run.path
