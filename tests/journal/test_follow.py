"""A follower sees every event once, in order, over kills of its own and the writer's rolling."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedsight.errors import JournalError
from fedsight.events import Metric, encode
from fedsight.journal import Cursor, JournalReader, JournalWriter, follow


def point(step: int) -> bytes:
    return encode(Metric(ts=0.0, key="k", value=1.0, step=step))


def delivered(path: Path, destination: str) -> list[int]:
    """What a follower of `destination` gets now, up to the end."""
    found: list[int] = []
    with Cursor(path, destination) as cursor:
        for block in follow(path, cursor):
            found += [event.step for event in block.events if isinstance(event, Metric) and event.step is not None]
    return found


def test_a_follower_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for first in (0, 5):
        writer = JournalWriter(path, role="server", run_id="r")
        for step in range(first, first + 5):
            writer.append(point(step))
        writer.close()
        assert delivered(path, "a") == list(range(first, first + 5))
    assert delivered(path, "a") == []
    assert delivered(path, "b") == list(range(10))


def test_a_follower_waits_for_more_while_the_writer_lives(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    writer = JournalWriter(path, role="server", run_id="r", roll_bytes=2000)
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.extend(delivered(path, "a")))
    reader.start()
    for step in range(100):
        writer.append(point(step))
    deadline = time.monotonic() + 20
    while len(found) == 0 and reader.is_alive() and time.monotonic() < deadline and writer.end == 0:
        time.sleep(0.01)
    assert reader.is_alive()
    writer.close()
    reader.join(20)
    assert found == list(range(100))


def test_a_follower_stops_when_asked_with_all_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    writer = JournalWriter(path, role="server", run_id="r")
    writer.append(point(0))
    stop = threading.Event()
    stop.set()
    with Cursor(path, "a") as cursor:
        blocks = list(follow(path, cursor, stop=stop))
    assert len(blocks) == 1
    writer.close()


FOLLOWER = """
import os, sys
from pathlib import Path
from fedsight.events import Metric
from fedsight.journal import Cursor, follow
path, out = Path(sys.argv[1]), open(sys.argv[2], "ab", buffering=0)
cursor = Cursor(path, "out")
# The destination keeps the offset with its data, as a store does with rows and cursor in one transaction.
for block in follow(path, cursor, max_bytes=2000):
    steps = [str(event.step) for event in block.events if isinstance(event, Metric)]
    os.write(out.fileno(), (f"{block.start} " + ",".join(steps) + "\\n").encode())
"""


def test_a_follower_in_another_process_killed_again_and_again_sees_every_event_once_in_order(tmp_path: Path) -> None:
    path, out = tmp_path / "r.jsonl", tmp_path / "out"
    out.touch()
    writer = JournalWriter(path, role="server", run_id="r")
    written = 0
    for _ in range(8):
        follower = subprocess.Popen([sys.executable, "-c", FOLLOWER, str(path), str(out)])
        before = out.stat().st_size
        deadline = time.monotonic() + 30
        while out.stat().st_size == before and time.monotonic() < deadline:
            writer.append(point(written))
            written += 1
            time.sleep(0.0005)
        os.kill(follower.pid, signal.SIGKILL)
        follower.wait()
    writer.close()
    subprocess.run([sys.executable, "-c", FOLLOWER, str(path), str(out)], check=True, timeout=60)

    # A kill between delivery and saving brings a batch again: the same offset, which the destination drops.
    seen: dict[int, str] = {}
    for line in out.read_text().splitlines():
        start, _, steps = line.partition(" ")
        assert seen.setdefault(int(start), steps)[: len(steps)] == steps[: len(seen[int(start)])]
        if len(steps) > len(seen[int(start)]):
            seen[int(start)] = steps
    found = [int(step) for _, steps in sorted(seen.items()) for step in steps.split(",") if step]
    assert sorted(set(found)) == list(range(written))
    firsts = list(dict.fromkeys(found))
    assert firsts == list(range(written))


def test_two_processes_never_deliver_to_the_same_destination_at_once(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    JournalWriter(path, role="server", run_id="r").close()
    with Cursor(path, "mlflow"):
        with pytest.raises(JournalError, match="Another process is delivering"):
            Cursor(path, "mlflow")
        Cursor(path, "wandb").close()
    Cursor(path, "mlflow").close()


def test_a_cursor_keeps_state_with_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    JournalWriter(path, role="server", run_id="r").close()
    with Cursor(path, "a") as cursor:
        cursor.state = {"open_rounds": [3]}
        cursor.save(17)
    with Cursor(path, "a") as cursor:
        assert (cursor.offset, cursor.state) == (17, {"open_rounds": [3]})


def test_a_journal_replaced_by_another_is_followed_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    JournalWriter(path, role="server", run_id="r").close()
    with Cursor(path, "a") as cursor:
        cursor.save(99)
    path.unlink()
    JournalWriter(path, role="server", run_id="r").close()
    with Cursor(path, "a") as cursor:
        assert cursor.offset == 0


def test_a_cursor_goes_to_the_state_folder_where_the_journals_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    JournalWriter(path, role="server", run_id="r").close()
    (tmp_path / ".fedsight").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Cursor(path, "a") as cursor:
        cursor.save(5)
    with Cursor(path, "a") as cursor:
        assert cursor.offset == 5
    assert any((tmp_path / "state" / "fedsight").rglob("*.json"))


def test_a_reader_says_when_the_journal_is_shorter_than_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    JournalWriter(path, role="server", run_id="r").close()
    with pytest.raises(JournalError, match="cut or replaced"):
        JournalReader(path, 10_000)
