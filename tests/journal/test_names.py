from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fedsight.journal.names import is_first_segment, journal_path, quote_id, segment_path, sibling_path

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(ids)
def test_any_id_makes_a_safe_short_file_name(any_id: str) -> None:
    name = quote_id(any_id)
    assert name.isascii()
    assert not set(name) & set("/.~@\\ \0")
    assert 0 < len(name.encode()) <= 120


@given(ids, ids)
def test_different_ids_have_different_names(one: str, other: str) -> None:
    assert (quote_id(one) == quote_id(other)) == (one == other)


def test_a_run_and_its_clients_lie_side_by_side() -> None:
    folder = Path("runs")
    assert journal_path(folder, "run-1").name == "run-1.jsonl"
    assert journal_path(folder, "run-1", "st. mary").name == "run-1.st%2E%20mary.jsonl"
    assert journal_path(folder, "run-1", "a", "monitor").name == "run-1.a.monitor.jsonl"


def test_no_id_leaves_the_folder() -> None:
    assert journal_path(Path("runs"), "../../etc/passwd").parent == Path("runs")


def test_only_the_first_file_of_a_journal_stands_for_it() -> None:
    path = Path("runs/run-1.jsonl")
    assert is_first_segment(path)
    assert is_first_segment(sibling_path(path, "0a1b2c3d"))
    assert not is_first_segment(segment_path(path, 4096))
