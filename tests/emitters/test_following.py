"""Whatever a destination does, training and other destinations don't notice, and nothing is lost or doubled."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from following_fixtures import Notebook, wait_until

from fedsight import Run, UsageError
from fedsight.emitters import EmitterState
from fedsight.emitters.destination import Batch
from fedsight.emitters.following import Following
from fedsight.errors import MissingExtra
from fedsight.events import ClientUpdate, Log, RoundEnd, RunEnd, RunStart
from fedsight.journal import read_header
from recorded import events, of_type


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the test's end, so that no thread hangs for ever."""
    opened = threading.Event()
    yield opened
    opened.set()


def a_run(folder: Path, *emitters: object, **options: Any) -> Run:
    return Run(options.pop("run_id", "exp"), runs_dir=folder, verbose=False, emitters=list(emitters), **options)


def record(run: Run, rounds: int = 3, clients: int = 4, first: int = 0) -> None:
    for number in range(first, first + rounds):
        run.round_start(number)
        for client in range(clients):
            run.log_client_update(f"{number}.{client}", number, local_loss=client / 10)
        run.log_round(number, global_loss=float(number))


def updates(path: Path) -> list[str]:
    return [update.client_id for update in of_type(path, ClientUpdate)]


def notes(path: Path, name: str = "notebook") -> list[Log]:
    return [log for log in of_type(path, Log) if log.component == f"emitter {name}"]


# ── delivery ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_delivered_while_it_goes_on_whole_and_in_order(tmp_path: Path) -> None:
    notebook = Notebook()
    run = a_run(tmp_path, notebook, project="ward", algorithm="FedProx", config={"lr": 0.1})
    record(run)
    wait_until(lambda: len(notebook.clients) == 12)
    record(run, first=3)
    run.finish()

    assert notebook.clients == updates(run.path)
    offsets = [line.offset for line in notebook.lines]
    assert offsets == sorted(set(offsets))
    ((info, saved),) = notebook.opened
    assert (info.run_id, info.project, info.algorithm, info.config) == ("exp", "ward", "FedProx", {"lr": 0.1})
    assert saved is None
    assert notebook.closed == ["finished"]
    assert {batch.journal for batch in notebook.batches} == {read_header(run.path).journal}


def test_a_round_is_reported_at_its_end_and_again_when_late_updates_change_it(tmp_path: Path) -> None:
    notebook = Notebook()
    run = a_run(tmp_path, notebook)
    run.round_start(0, selected=["a", "b", "c"])
    run.log_client_update("a", 0, local_loss=1.0)
    run.log_client_update("b", 0, local_loss=2.0)
    run.log_round(0, global_loss=1.5)
    wait_until(lambda: any(line.report for line in notebook.lines))
    run.log_client_update("c", 0, local_loss=3.0)
    run.finish()

    first, second = (line for line in notebook.lines if line.report is not None)
    assert isinstance(first.event, RoundEnd)
    assert first.report is not None
    assert (first.report.is_revision, first.report.summary.num_completed) == (False, 2)
    assert [client.client_id for client in first.report.clients] == ["a", "b"]
    assert isinstance(second.event, ClientUpdate)
    assert second.report is not None
    assert (second.report.is_revision, second.report.summary.num_completed) == (True, 3)
    assert (second.report.summary.num_late, second.report.summary.global_loss) == (1, 1.5)


def test_a_batchs_totals_are_those_before_its_first_line(tmp_path: Path) -> None:
    notebook = Notebook()
    run = a_run(tmp_path, notebook)
    record(run, rounds=2)
    wait_until(lambda: len(notebook.clients) == 8)
    run.log_dropout(1, "x")
    run.log_client_update("y", 2, bytes_sent=5, bytes_received=float("nan"))
    wait_until(lambda: len(notebook.clients) == 9)
    run.log_text("the end")
    run.finish()
    assert notebook.batches[0].totals.num_updates == 0
    last = notebook.batches[-1].totals
    assert (last.num_rounds, last.num_updates, last.num_dropouts) == (2, 9, 1)
    assert (last.bytes_up, last.bytes_down) == (5.0, 0.0)


def test_what_a_restart_goes_on_with_is_neither_doubled_nor_lost(tmp_path: Path) -> None:
    before, after = Notebook(), Notebook()
    with a_run(tmp_path, before) as run:
        record(run)
    with a_run(tmp_path, after, resume=True) as run:
        record(run, first=3)
        run.log_client_update("late", 2)  # of a round that the new object never saw
    assert before.clients + after.clients == updates(run.path)
    assert after.opened[0][1] == {"num_lines": len(before.lines)}
    assert after.batches[0].totals.num_updates == 12
    revised = [line.report for line in after.lines if line.report is not None and line.report.is_revision]
    assert [report.summary.num_completed for report in revised] == [5]


def test_nobody_but_one_thread_calls_a_destination(tmp_path: Path) -> None:
    notebook = Notebook()
    with a_run(tmp_path, notebook) as run:
        record(run)
    assert len(notebook.threads) == 1
    assert threading.get_ident() not in notebook.threads


def test_an_object_that_serves_two_runs_gets_them_one_after_the_other(tmp_path: Path) -> None:
    notebook = Notebook()
    first = a_run(tmp_path, notebook, run_id="first")
    record(first, rounds=1)
    wait_until(lambda: len(notebook.clients) == 4)
    second = a_run(tmp_path, notebook, run_id="second")
    record(second, rounds=1)
    first.finish()
    second.finish()
    assert [info.run_id for info, _ in notebook.opened] == ["first", "second"]
    assert notebook.clients == updates(first.path) + updates(second.path)
    assert notebook.closed == ["finished", "finished"]


# ── trouble ───────────────────────────────────────────────────────────────────────────────────


def test_one_failure_is_said_once_and_the_same_lines_come_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [ConnectionError("the server is down"), ConnectionError("still")]
    offered: list[list[int]] = []

    def fail_at_first(batch: Batch) -> None:
        offered.append([line.offset for line in batch.lines])
        if failures:
            raise failures.pop(0)

    notebook = Notebook(before_delivery=fail_at_first)
    with a_run(tmp_path, notebook) as run:
        record(run)
    assert offered[0] == offered[1] == offered[2]
    assert notebook.clients == updates(run.path)
    assert caplog.text.count("the server is down") == 1
    assert "still" not in caplog.text
    assert "takes events again" in caplog.text
    assert [log.event for log in notes(run.path)] == ["failing", "working", "delivered"]


def test_a_destination_that_never_works_costs_the_time_limit_and_the_rest_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def never(_: Batch) -> None:
        raise ConnectionError("no route")

    broken, good = Notebook("broken", never), Notebook("good")
    run = a_run(tmp_path, broken, good)
    record(run)
    run.finish(timeout_sec=2.0)
    assert good.clients == updates(run.path)
    assert good.closed == ["finished"]
    assert broken.batches == []
    assert f"fedsight sync {run.path} --to notebook --set place=broken" in caplog.text
    failing, working = (emitter.state() for emitter in run.emitters)
    assert failing.pending_bytes > 0
    assert failing.failing_since is not None
    assert failing.last_error == "ConnectionError: no route"
    assert (working.pending_bytes, working.failing_since, working.last_error) == (0, None, None)
    assert working.num_events == len(good.lines)
    assert "no route" in repr(run.emitters[0])


def test_a_destination_that_hangs_harms_neither_training_nor_the_others(
    tmp_path: Path, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, good = Notebook("stuck", lambda _: void(gate.wait(60))), Notebook("good")
    run = a_run(tmp_path, stuck, good)
    record(run)
    run.finish(timeout_sec=2.0)
    assert good.clients == updates(run.path)
    assert stuck.batches == []
    assert "its last call has not returned for" in caplog.text
    assert [log.event for log in notes(run.path)] == ["pending", "delivered"]


def void(_: object) -> None:
    """For lambdas."""


def test_a_missing_package_is_said_in_a_line_with_the_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Uninstalled(Notebook):
        def open(self, run: object, saved: object) -> None:
            raise MissingExtra("mlflow", "mlflow")

    run = a_run(tmp_path, Uninstalled())
    record(run)
    run.finish(timeout_sec=1.0)
    (line,) = [r.message for r in caplog.records if "can't take events now" in r.message]
    assert "pip install 'fedsight[mlflow]'" in line
    assert "\n" not in line


def test_the_end_of_a_run_does_not_wait_for_a_package_that_is_missing(tmp_path: Path) -> None:
    def missing(_: Batch) -> None:
        raise MissingExtra("notebooks", "notebook")

    destination = Notebook(before_delivery=missing)
    emitter = Following(destination)
    with a_run(tmp_path, emitter) as run:
        record(run)
    assert not emitter.drain([run.path], timeout_sec=0)
    # By the clock of its own state: it gave up, and did not run out of time.
    ended = of_type(run.path, RunEnd)[0].ts
    assert emitter.state().failing_since is not None
    assert time.time() - ended < 25


def test_a_line_that_a_destination_fails_on_is_left_out_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def choke(batch: Batch) -> None:
        for line in batch.lines:
            if isinstance(line.event, ClientUpdate) and line.event.client_id in ("1.2", "2.0"):
                raise KeyError(line.event.client_id)

    notebook = Notebook(before_delivery=choke)
    with a_run(tmp_path, notebook) as run:
        record(run)
    assert [client for client in updates(run.path) if client not in notebook.clients] == ["1.2", "2.0"]
    assert len(notebook.clients) == 10
    assert [type(e) for e in (line.event for line in notebook.lines)][-1] is RunEnd
    assert run.emitters[0].state().num_failed == 2
    assert caplog.text.count("which is left out") == 1
    assert "test_following.py:" in caplog.text
    (last,) = [log for log in notes(run.path) if log.event == "delivered"]
    assert (last.level, (last.extra or {})["num_failed"]) == ("warning", 2)
    assert "; 2 values were left out (last: KeyError: '2.0'" in (last.message or "")


def test_an_emitter_that_comes_and_goes_does_not_fill_the_journal(tmp_path: Path) -> None:
    calls = 0

    def every_other(_: Batch) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise ConnectionError("again")

    notebook = Notebook(before_delivery=every_other)
    run = a_run(tmp_path, notebook)
    for number in range(4):
        record(run, rounds=1, first=number)
        wait_until(lambda number=number: len(notebook.clients) == 4 * (number + 1))  # type: ignore[misc]
    run.finish()
    assert calls > 6
    assert [log.event for log in notes(run.path)] == ["failing", "working", "delivered"]
    assert notebook.clients == updates(run.path)


def test_what_emitters_say_of_themselves_is_not_delivered(tmp_path: Path) -> None:
    failures = [ConnectionError("x")]

    def once(_: Batch) -> None:
        if failures:
            raise failures.pop()

    notebook = Notebook(before_delivery=once)
    with a_run(tmp_path, notebook) as run:
        record(run)
        wait_until(lambda: len(notes(run.path)) == 2)
    assert [line for line in notebook.lines if isinstance(line.event, Log)] == []
    assert len(notebook.lines) == len(events(run.path)) - 1 - len(notes(run.path))  # the header, too


def test_a_close_that_fails_is_made_again_by_the_next_process(tmp_path: Path) -> None:
    class Unclosed(Notebook):
        def close(self, status: object) -> None:
            raise ConnectionError("no")

    first, second = Unclosed(), Notebook()
    run = a_run(tmp_path, first)
    record(run)
    run.finish(timeout_sec=1.0)
    following = Following(second)
    following.attach(run.path)
    assert following.drain([run.path], 20)
    following.detach([run.path])
    assert second.clients == []
    assert second.closed == ["finished"]


def test_a_journal_that_was_cut_is_delivered_anew(tmp_path: Path) -> None:
    with a_run(tmp_path, Notebook()) as run:
        record(run)
    data = run.path.read_bytes()
    run.path.write_bytes(data[: data.index(b"\n", len(data) // 2) + 1])
    again = Notebook()
    with a_run(tmp_path, again, resume=True) as run:
        record(run, first=3)
    assert again.clients == updates(run.path)


def test_another_process_that_delivers_to_the_same_place_is_waited_for(tmp_path: Path) -> None:
    first, second = Notebook(), Notebook()
    run = a_run(tmp_path, first)
    record(run)
    wait_until(lambda: len(first.clients) == 12)
    following = Following(second)
    following.attach(run.path)
    wait_until(lambda: "already" in (following.state().last_error or ""))
    record(run, first=3)
    run.finish()
    assert following.drain([run.path], 20)
    following.detach([run.path])
    assert second.lines == []
    assert first.clients == updates(run.path)


# ── forks ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.alone
def test_what_forked_children_record_is_delivered_by_the_parent(tmp_path: Path) -> None:
    notebook = Notebook()
    run = a_run(tmp_path, notebook, project="ward")
    record(run, rounds=1)
    context = multiprocessing.get_context("fork")

    def child(number: int) -> None:
        run.log_client_update(f"child{number}", 0, local_loss=9.0)

    children = [context.Process(target=child, args=(number,)) for number in range(2)]
    for each in children:
        each.start()
    for each in children:
        each.join(20)
        assert each.exitcode == 0
    run.finish()
    assert sorted(notebook.clients) == ["0.0", "0.1", "0.2", "0.3", "child0", "child1"]
    assert len({batch.journal for batch in notebook.batches}) == 3
    assert {batch.run.project for batch in notebook.batches} == {"ward"}
    assert len(notebook.opened) == 1
    assert notebook.closed == ["finished"]
    last = [line.report for line in notebook.lines if line.report is not None][-1]
    assert last.summary.num_completed == 6


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.alone
def test_figures_that_a_childs_journal_revises_are_newer_although_it_was_written_before(tmp_path: Path) -> None:
    notebook = Notebook()
    run = a_run(tmp_path, notebook)
    run.round_start(0)
    for number in range(2):
        child = multiprocessing.get_context("fork").Process(target=run.log_client_update, args=(f"child{number}", 0))
        child.start()
        child.join(20)
        assert child.exitcode == 0
    run.log_round(0)
    run.finish()
    lines = [line for line in notebook.lines if line.report is not None]
    told = [(line.report.ts, line.report.summary.num_completed) for line in lines if line.report is not None]
    assert [number for _, number in told] == [0, 1, 2]
    assert told == sorted(set(told)), "the newest figures have the newest time"
    assert lines[-1].event.ts < lines[0].event.ts, "though the line that brought them is older"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_has_nothing_to_wait_for(tmp_path: Path) -> None:
    run = a_run(tmp_path, Notebook())
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run.emitters[0].drain([run.path], 0.0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    run.finish()


# ── what may be given ─────────────────────────────────────────────────────────────────────────


def test_two_emitters_for_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same place"):
        a_run(tmp_path, Notebook("x"), Notebook("x"))
    assert list(tmp_path.iterdir()) == []


def test_what_lacks_something_to_be_a_destination_is_told_what(tmp_path: Path) -> None:
    class Incomplete(Notebook):
        where = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name == "where":
                raise AttributeError(name)
            return super().__getattribute__(name)

    with pytest.raises(UsageError, match="lacks where"):
        a_run(tmp_path, Incomplete())
    with pytest.raises(UsageError, match=r"write Notebook\(…\)"):
        a_run(tmp_path, Notebook)


def test_what_an_emitter_says_of_its_state_is_a_sentence() -> None:
    now = time.time()
    said = {
        "x has been given everything, but is not done yet": EmitterState("x", "y"),
        "1,234 bytes are not at x yet": EmitterState("x", "y", pending_bytes=1234, last_error="OSError: mended"),
        "5 bytes are not at x yet (OSError: no)": EmitterState(
            "x", "y", pending_bytes=5, last_error="OSError: no", failing_since=now
        ),
        "5 bytes are not at x yet (its last call has not returned for 90 s)": EmitterState(
            "x", "y", pending_bytes=5, busy_since=now - 90
        ),
    }
    assert [state.what_is_pending() for state in said.values()] == list(said)
    assert EmitterState("x", "y").what_was_left_out() == ""
    assert EmitterState("x", "y", num_failed=1).what_was_left_out() == "; 1 value was left out"


def test_the_state_is_there_from_the_beginning(tmp_path: Path) -> None:
    state = Following(Notebook()).state()
    assert state == EmitterState(name="notebook", destination="notebook:here")


def test_a_run_that_starts_is_its_first_line(tmp_path: Path) -> None:
    notebook = Notebook()
    with a_run(tmp_path, notebook):
        pass
    assert [type(line.event) for line in notebook.lines] == [RunStart, RunEnd]


# ── the interpreter's end ─────────────────────────────────────────────────────────────────────

POOLED = """
from concurrent.futures import ThreadPoolExecutor
from filed import FiledDestination

class Pooled(FiledDestination):
    '''As many products' clients do, it works by a pool of threads, which an interpreter that ends refuses.'''
    name = "pooled"

    def deliver(self, batch):
        with ThreadPoolExecutor() as pool:
            return pool.submit(super().deliver, batch).result()
"""

FORGETFUL = """
import sys, fedsight
from pooled import Pooled
fedsight.init(run_id="exp", runs_dir="runs", emitters=[Pooled(sys.argv[1])])
for number in range(5):
    fedsight.log_client_update("a", number, local_loss=1.0)
    fedsight.log_round(number)
"""


def test_a_script_that_forgets_to_finish_loses_nothing_at_a_product_that_an_ending_interpreter_refuses(
    tmp_path: Path,
) -> None:
    (tmp_path / "pooled.py").write_text(POOLED)
    info = tmp_path / "pooled-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pooled\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fedsight.emitters]\npooled = pooled:Pooled\n")
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(out)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parent}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(len(line.get("offsets", [])) for line in told) == 12
    assert told[-1] == {"close": "finished"}
    assert [log.event for log in notes(tmp_path / "runs" / "exp.jsonl", "pooled")][-1] == "delivered"
