"""Readings on their way to a real collector."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collector_process import CollectorProcess, free_port, wait_until

from fedsight import UsageError
from fedsight.emitters.collector import sync
from fedsight.events import Sample
from fedsight.journal import read_header
from fedsight.monitor import process_monitor, thread_monitor
from recorded import of_type


@pytest.fixture(params=["process", "thread"])
def remote_monitor(request: pytest.FixtureRequest) -> Any:
    return (process_monitor if request.param == "process" else thread_monitor).RemoteMonitor


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    process = CollectorProcess(tmp_path / "data")
    process.start()
    yield process
    process.stop()


def host_of(collector: CollectorProcess) -> str:
    return f"127.0.0.1:{collector.port}"


def assert_all_is_there(collector: CollectorProcess, journal: Path) -> None:
    wait_until(lambda: journal.read_bytes() in collector.copies(), seconds=20)
    assert collector.get("/api/v1/status")["num_dead_letters"] == 0


def test_readings_are_at_the_collector_while_it_goes_on_and_all_of_them_after_the_stop(
    remote_monitor: Any, collector: CollectorProcess, tmp_path: Path
) -> None:
    monitor = remote_monitor(
        host_of(collector), interval=0.1, identifier="jetson 7", token=collector.token, runs_dir=tmp_path / "runs"
    )
    monitor.start()
    wait_until(lambda: any(copy.count(b'"kind":"sample"') >= 3 for copy in collector.copies()))
    monitor.stop()
    journal = tmp_path / "runs" / "jetson%207.monitor.jsonl"
    assert monitor.journal == journal
    assert_all_is_there(collector, journal)
    wait_until(lambda: monitor.pending() is None)
    assert {sample.node for sample in of_type(journal, Sample)} == {"jetson 7"}
    header = read_header(journal)
    assert (header.role, header.run_id) == ("monitor", None)


def test_nothing_is_lost_while_the_collector_is_away_and_stop_does_not_wait_for_it(
    remote_monitor: Any, tmp_path: Path
) -> None:
    collector = CollectorProcess(tmp_path / "data")
    monitor = remote_monitor(
        host_of(collector), interval=0.05, identifier="c1", token=collector.token, runs_dir=tmp_path / "runs"
    )
    monitor.start()
    wait_until(lambda: len(monitor.stats()["timestamps"]) >= 4)
    monitor.stop()
    pending = monitor.pending()
    assert pending is not None
    assert "bytes are not at the collector" in pending
    assert f"fedsight sync {monitor.journal}" in pending
    collector.start()
    try:
        assert_all_is_there(collector, monitor.journal)
        wait_until(lambda: monitor.pending() is None)
    finally:
        collector.stop()


def test_a_new_start_goes_on_in_the_same_journal_whether_or_not_the_last_was_delivered(
    remote_monitor: Any, tmp_path: Path
) -> None:
    collector = CollectorProcess(tmp_path / "data")
    monitor = remote_monitor(
        host_of(collector), interval=5, identifier="c1", token=collector.token, runs_dir=tmp_path / "runs"
    )
    with monitor:
        pass
    first = monitor.journal
    monitor.start()
    collector.start()
    try:
        monitor.stop()
        assert monitor.journal == first
        assert_all_is_there(collector, monitor.journal)
        assert len(of_type(monitor.journal, Sample)) == 4
    finally:
        collector.stop()


SHORT_TRAINING = """
import sys
from fedsight.monitor.{form}_monitor import RemoteMonitor
with RemoteMonitor("127.0.0.1:{port}", interval=0.1, identifier="short"):
    sum(range(1_000_000))
"""


@pytest.mark.parametrize("form", ["process", "thread"])
def test_a_program_that_ends_waits_for_what_it_has_just_sent(
    form: str, collector: CollectorProcess, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_TRAINING.format(form=form, port=collector.port)],
        cwd=tmp_path,
        env={**os.environ, "FEDSIGHT_TOKEN": collector.token},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert_all_is_there(collector, tmp_path / "runs" / "short.monitor.jsonl")


@pytest.mark.parametrize("form", ["process", "thread"])
def test_a_program_that_ends_while_the_collector_is_away_says_how_to_deliver_the_rest(
    form: str, tmp_path: Path
) -> None:
    collector = CollectorProcess(tmp_path / "data")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SHORT_TRAINING.format(form=form, port=collector.port)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    journal = tmp_path / "runs" / "short.monitor.jsonl"
    assert time.monotonic() - began < 30
    assert f"fedsight sync {journal} --url http://127.0.0.1:{collector.port}" in done.stderr
    collector.start()
    try:
        (result,) = sync([journal], collector.url, collector.token)
        assert result.error is None
        assert_all_is_there(collector, journal)
    finally:
        collector.stop()


def test_what_the_collector_refuses_is_said_and_the_figures_stay(
    remote_monitor: Any, collector: CollectorProcess, tmp_path: Path
) -> None:
    with remote_monitor(host_of(collector), token="fs_0_0", runs_dir=tmp_path / "runs") as monitor:
        pass
    wait_until(lambda: "no such token" in str(monitor.pending()))
    assert monitor.summary()["num_samples"] == 1


def test_simple_ships_the_derived_figures_and_the_rest_only_when_asked_for(tmp_path: Path) -> None:
    names = []
    for simple in (True, False):
        host = f"127.0.0.1:{free_port()}"
        monitor = thread_monitor.RemoteMonitor(host, identifier=f"s{simple}", simple=simple, runs_dir=tmp_path)
        with monitor:
            pass
        assert monitor.journal is not None
        names.append(set(of_type(monitor.journal, Sample)[1].metrics))
    assert {"cpu_pct", "memory_pct", "bytes_sent", "bytes_received"} <= names[0] < names[1]
    assert "process.memory.usage" in names[1] - names[0]


def test_an_identifier_is_made_where_none_is_given(tmp_path: Path) -> None:
    one, other = (thread_monitor.RemoteMonitor("127.0.0.1:1", runs_dir=tmp_path) for _ in range(2))
    assert one.identifier != other.identifier


@pytest.mark.parametrize("host", ["", None, 8003, "127.0.0.1:99999", "ftp://there"])
def test_a_host_that_is_none_is_refused(host: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"host|url"):
        process_monitor.RemoteMonitor(host, runs_dir=tmp_path).start()
