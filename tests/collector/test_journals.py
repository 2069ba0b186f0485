"""The collector's copies are the sender's bytes, whole lines, on disk."""

import hashlib
from pathlib import Path

import pytest

from fedsight.collector.journals import MAX_ROLLS, Journals
from fedsight.events import JournalHeader, Text, encode
from fedsight.journal import JournalReader


def header(journal: str = "j1", base: int = 0) -> JournalHeader:
    return JournalHeader(ts=1.0, version=1, journal=journal, role="server", run_id="r", base=base)


def lines(*texts: str) -> bytes:
    return b"".join(encode(Text(ts=2.0, text=text)) for text in texts)


def read_all(path: Path) -> bytes:
    parts = []
    with JournalReader(path) as reader:
        while (block := reader.read())[1]:
            parts.append(block[1])
    return b"".join(parts)


def test_what_is_appended_is_read_back_byte_for_byte_after_a_restart(tmp_path: Path) -> None:
    first, second = encode(header()) + lines("a", "b"), lines("c")
    copy = Journals(tmp_path).get_or_new("j1", header())
    copy.append(first)
    copy.append(second)

    again = Journals(tmp_path).get("j1")

    assert again is not None
    assert again.length == len(first + second)
    assert read_all(again.path) == first + second
    assert again.last_line_hash() == hashlib.sha256(lines("c")).hexdigest()


def test_a_journal_that_its_writer_rolled_goes_on_in_a_file_of_its_own(tmp_path: Path) -> None:
    stream = encode(header()) + lines("a")
    rolled = encode(header(base=len(stream))) + lines("b")
    copy = Journals(tmp_path).get_or_new("j1", header())
    copy.append(stream + rolled)  # the roll lies within one body

    assert sorted(p.name for p in tmp_path.iterdir()) == ["j1.jsonl", f"j1@{len(stream):015d}.jsonl"]
    assert (tmp_path / f"j1@{len(stream):015d}.jsonl").read_bytes() == rolled
    assert read_all(copy.path) == stream + rolled
    again = Journals(tmp_path).get("j1")
    assert again is not None
    assert again.length == len(stream + rolled)
    again.append(lines("c"))
    assert read_all(copy.path) == stream + rolled + lines("c")


def test_a_header_line_with_another_base_is_a_line_like_any_other(tmp_path: Path) -> None:
    stream = encode(header()) + encode(header(base=7)) + lines("a")
    Journals(tmp_path).get_or_new("j1", header()).append(stream)
    assert (tmp_path / "j1.jsonl").read_bytes() == stream


@pytest.mark.parametrize("torn", [b'{"kind":"text","ts":3', b"x" * 200_000])
def test_a_torn_tail_is_cut_at_the_start(tmp_path: Path, torn: bytes) -> None:
    whole = encode(header()) + lines("a")
    (tmp_path / "j1.jsonl").write_bytes(whole + torn)

    copy = Journals(tmp_path).get("j1")

    assert copy is not None
    assert copy.length == len(whole)
    assert (tmp_path / "j1.jsonl").read_bytes() == whole


def test_a_file_without_one_whole_line_is_as_if_nothing_had_come(tmp_path: Path) -> None:
    (tmp_path / "j1.jsonl").write_bytes(encode(header())[:-1])
    assert Journals(tmp_path).get("j1") is None
    assert list(tmp_path.iterdir()) == []


def test_a_rolled_file_without_one_whole_line_is_as_if_it_had_not_come(tmp_path: Path) -> None:
    stream = encode(header()) + lines("a")
    (tmp_path / "j1.jsonl").write_bytes(stream)
    (tmp_path / f"j1@{len(stream):015d}.jsonl").write_bytes(b'{"kind":"jour')

    copy = Journals(tmp_path).get("j1")

    assert copy is not None
    assert copy.length == len(stream)
    assert [p.name for p in tmp_path.iterdir()] == ["j1.jsonl"]


def test_a_failed_append_leaves_the_copy_as_it_was(tmp_path: Path) -> None:
    whole = encode(header()) + lines("a")
    copy = Journals(tmp_path).get_or_new("j1", header())
    copy.append(whole)
    rolled = encode(header(base=len(whole) + len(lines("b"))))
    # A folder stands where the rolled file should go: the second half of the append fails.
    (tmp_path / f"j1@{len(whole) + len(lines('b')):015d}.jsonl").mkdir()

    with pytest.raises(OSError, match="directory"):
        copy.append(lines("b") + rolled)

    assert copy.length == len(whole)
    assert (tmp_path / "j1.jsonl").read_bytes() == whole


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_bytes(b'{"some":"thing"}\n')
    journals = Journals(tmp_path)
    assert journals.all() == []
    with pytest.raises(FileExistsError):
        journals.get_or_new("other", header("other")).append(encode(header("other")))
    assert (tmp_path / "other.jsonl").read_bytes() == b'{"some":"thing"}\n'


def test_a_journal_whose_first_file_is_gone_is_left_alone(tmp_path: Path) -> None:
    stream = encode(header()) + lines("a")
    Journals(tmp_path).get_or_new("j1", header()).append(stream + encode(header(base=len(stream))))
    (tmp_path / "j1.jsonl").unlink()
    with pytest.raises(FileExistsError):
        Journals(tmp_path).get_or_new("j1", header())
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.timeout(20)
def test_a_body_of_nothing_but_headers_begins_no_more_than_so_many_files(tmp_path: Path) -> None:
    stream = encode(header())
    pieces, end = [stream], len(stream)
    for _ in range(100_000):
        pieces.append(encode(header(base=end)))
        end += len(pieces[-1])
    copy = Journals(tmp_path).get_or_new("j1", header())
    copy.append(b"".join(pieces))
    assert copy.length == end
    assert len(list(tmp_path.iterdir())) == MAX_ROLLS + 1
    assert read_all(copy.path) == b"".join(pieces)
