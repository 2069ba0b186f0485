"""The journal keeps every event whose call returned, whatever happens to process and disk."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedsight.errors import JournalError
from fedsight.events import Metric, RunEnd, RunStart, decode_block, encode
from fedsight.journal import JournalReader, JournalWriter, list_journals, read_header, writer_alive

is_root = hasattr(os, "geteuid") and os.geteuid() == 0


def point(step: int, text: str = "") -> bytes:
    return encode(Metric(ts=0.0, key="k", value=float(step), step=step, extra={"t": text} if text else None))


def steps(path: Path) -> list[int]:
    """The steps of all points in a journal, in order; fails on any line that is no event."""
    found = []
    with JournalReader(path) as reader:
        while data := reader.read()[1]:
            block = decode_block(data, 0)
            assert block.bad == []
            found += [event.step for event in block.events if isinstance(event, Metric)]
    return found


def write_journal(path: Path, count: int, **options: object) -> JournalWriter:
    writer = JournalWriter(path, role="server", run_id="r", **options)  # type: ignore[arg-type]
    for step in range(count):
        assert writer.append(point(step))
    return writer


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    writer = write_journal(tmp_path / "r.jsonl", 3)
    assert steps(tmp_path / "r.jsonl") == [0, 1, 2]
    assert writer.end == (tmp_path / "r.jsonl").stat().st_size
    header = read_header(tmp_path / "r.jsonl")
    assert (header.role, header.run_id, header.base, header.version) == ("server", "r", 0, 1)
    writer.close()


KILL_TRIALS = """
import mmap, os, random, signal, sys, time
from pathlib import Path
from fedsight.events import Metric, encode
from fedsight.journal import JournalWriter

folder, trials = Path(sys.argv[1]), int(sys.argv[2])
random.seed(7)
for trial in range(trials):
    acknowledged = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        writer = JournalWriter(folder / f"{trial}.jsonl", role="server", run_id=str(trial))
        step = 0
        while True:
            padding = "x" * (step * 37 % 3000)
            writer.append(encode(Metric(ts=0.0, key="k", value=1.0, step=step, extra={"p": padding})))
            step += 1
            acknowledged[:] = step.to_bytes(8, "little")
    while not any(acknowledged[:]):
        pass
    time.sleep(random.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(int.from_bytes(acknowledged[:], "little"), flush=True)
"""


@pytest.mark.slow
def test_200_kills_at_random_instants_lose_nothing_and_leave_nothing_torn(tmp_path: Path) -> None:
    trials = 200
    out = subprocess.run(
        [sys.executable, "-c", KILL_TRIALS, str(tmp_path), str(trials)], capture_output=True, text=True, check=True
    )
    acknowledged = [int(line) for line in out.stdout.split()]
    assert len(acknowledged) == trials
    assert min(acknowledged) > 0
    for trial, count in enumerate(acknowledged):
        path = tmp_path / f"{trial}.jsonl"
        JournalWriter(path, role="server", run_id=str(trial)).close()  # opening recovers
        found = steps(path)
        assert found == list(range(len(found)))
        assert len(found) in (count, count + 1)  # one more: written, but not yet counted


def test_a_torn_last_line_is_cut_off_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_journal(path, 2).close()
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"kind":"metric","ts":1.0,"key":"k","val')
    found = []
    writer = JournalWriter(path, role="server", run_id="r", on_open=lambda _, recovery: found.append(recovery) or [])
    assert found[0].torn_bytes == 40
    assert found[0].end == whole
    assert writer.append(point(2))
    assert steps(path) == [0, 1, 2]
    writer.close()


def test_a_journal_whose_very_header_is_torn_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"kind":"journal","vers')
    write_journal(path, 1).close()
    assert steps(path) == [0]


def test_recovery_says_whether_the_last_run_ended(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    seen: list[bool] = []

    def open_and_close(*lines: bytes) -> None:
        writer = JournalWriter(
            path, role="server", run_id="r", on_open=lambda _, found: seen.append(bool(found and found.open_run)) or []
        )
        for line in lines:
            writer.append(line)
        writer.close()

    start, end = encode(RunStart(ts=0, run_id="r")), encode(RunEnd(ts=0, status="finished"))
    many = b"".join(point(step, "x" * 1000) for step in range(2000))  # over a chunk of the search
    open_and_close(start, many)
    open_and_close(end)
    open_and_close(start)
    open_and_close()
    assert seen == [False, True, False, True]


def test_eight_threads_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    writer = JournalWriter(path, role="server", run_id="r")

    def log(first: int) -> None:
        for step in range(first, first + 500):
            writer.append(point(step, "y" * (step % 900)))

    threads = [threading.Thread(target=log, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    found = steps(path)
    assert len(found) == 4000
    for n in range(8):
        assert [step for step in found if step // 1000 == n] == list(range(1000 * n, 1000 * n + 500))


def test_a_second_process_that_writes_gets_a_journal_beside_the_first(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first = write_journal(path, 1)
    second = write_journal(path, 2)
    assert second.path != path
    assert second.is_copy
    assert first.append(point(1))
    assert len(list_journals(tmp_path)) == 2
    assert steps(path) == [0, 1]
    assert steps(second.path) == [0, 1]
    first.close()
    second.close()


FORK = """
import os, sys
from pathlib import Path
from fedsight.events import Metric, encode
from fedsight.journal import JournalWriter
writer = JournalWriter(Path(sys.argv[1]) / "r.jsonl", role="server", run_id="r")
point = lambda step: encode(Metric(ts=0.0, key="k", value=1.0, step=step))
writer.append(point(0))
child = os.fork()
for step in range(1, 200):
    writer.append(point(step + (1000 if child == 0 else 0)))
writer.close()
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_writes_a_journal_of_its_own(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], check=True)
    assert steps(tmp_path / "r.jsonl") == list(range(200))
    (other,) = set(list_journals(tmp_path)) - {tmp_path / "r.jsonl"}
    assert other.name.startswith("r~")
    assert steps(other) == list(range(1001, 1200))


def test_a_journal_of_another_run_is_not_written_to(tmp_path: Path) -> None:
    write_journal(tmp_path / "r.jsonl", 1).close()
    with pytest.raises(JournalError, match="belongs to run 'r'"):
        JournalWriter(tmp_path / "r.jsonl", role="server", run_id="other")


def test_a_live_writer_is_seen_and_a_dead_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    assert not writer_alive(path)
    writer = write_journal(path, 1)
    assert writer_alive(path)
    writer.close()
    assert not writer_alive(path)


def test_a_journal_rolls_to_new_files_that_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    writer = write_journal(path, 200, roll_bytes=4000)
    assert writer_alive(path)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 3
    assert list_journals(tmp_path) == [path]
    assert {read_header(part).journal for part in parts} == {writer.journal}
    assert steps(path) == list(range(200))
    assert writer.end == sum(part.stat().st_size for part in parts)
    writer.close()
    again = JournalWriter(path, role="server", run_id="r", roll_bytes=4000)
    again.append(point(200))
    again.close()
    assert steps(path) == list(range(201))


def test_disk_durability_keeps_the_same_lines(tmp_path: Path) -> None:
    write_journal(tmp_path / "r.jsonl", 20, durability="disk").close()
    assert steps(tmp_path / "r.jsonl") == list(range(20))


@pytest.mark.skipif(not is_root or sys.platform != "linux", reason="mounting a small tmpfs needs root on Linux")
def test_a_full_disk_costs_events_and_is_said_but_tears_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 100_000)
        writer = JournalWriter(disk / "r.jsonl", role="server", run_id="r")
        written = [step for step in range(400) if writer.append(point(step, "z" * 1000))]
        assert 50 < len(written) < 400
        assert writer.num_lost == 400 - len(written)
        assert caplog.text.count("cannot record") == 1
        ballast.unlink()
        assert writer.append(point(400))
        assert "recording to" in caplog.text
        assert f"{writer.num_lost} events were not recorded" in caplog.text
        assert steps(disk / "r.jsonl") == [*written, 400]
        writer.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_costs_events_and_recording_begins_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = tmp_path / "runs"
    in_the_way.write_text("a file where the folder should be")
    opened: list[int] = []
    writer = JournalWriter(
        in_the_way / "r.jsonl", role="server", run_id="r", on_open=lambda *_: opened.append(1) or [point(-1)]
    )
    assert not writer.append(point(0))
    assert not writer.append(point(1))
    assert (writer.num_lost, opened) == (2, [])
    assert caplog.text.count("cannot record") == 1
    in_the_way.unlink()
    monkeypatch.setattr(writer, "_retry_at", 0.0)
    assert writer.append(point(2))
    assert opened == [1]
    assert steps(in_the_way / "r.jsonl") == [-1, 2]
    writer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signal")
def test_killing_in_the_midst_of_a_roll_leaves_one_readable_stream(tmp_path: Path) -> None:
    script = KILL_TRIALS.replace("run_id=str(trial))", "run_id=str(trial), roll_bytes=5000)")
    subprocess.run([sys.executable, "-c", script, str(tmp_path), "20"], check=True, capture_output=True)
    for trial in range(20):
        JournalWriter(tmp_path / f"{trial}.jsonl", role="server", run_id=str(trial)).close()
        found = steps(tmp_path / f"{trial}.jsonl")
        assert found == list(range(len(found)))


def test_a_writer_that_rolls_all_the_time_is_never_taken_for_dead(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    writer = JournalWriter(path, role="server", run_id="r", roll_bytes=1)
    done = threading.Event()

    def roll() -> None:
        for step in range(400):
            writer.append(point(step))
        done.set()

    rolling = threading.Thread(target=roll)
    rolling.start()
    looks = 0
    while not done.is_set():
        assert writer_alive(path)
        looks += 1
    rolling.join()
    assert looks > 0
    assert steps(path) == list(range(400))
    writer.close()
    assert not writer_alive(path)
