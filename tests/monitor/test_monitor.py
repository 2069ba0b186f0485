"""A monitor around some work, in both forms."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collector_process import wait_until

from fedsight import UsageError
from fedsight.events import Log, Sample
from fedsight.monitor import Monitor, process_monitor, thread_monitor
from fedsight.monitor.forms import FormName
from probe_package import install
from recorded import of_type

FORMS: tuple[FormName, ...] = ("process", "thread")
TEXT_STATS = [
    "cpu_usage", "memory_usage", "network_bytes_sent", "network_bytes_recv",
    "power_vdd_in", "power_vdd_cpu_gpu_cv", "power_vdd_soc",
]  # fmt: skip
TEXT_SUMMARY = [
    "avg_cpu_usage", "avg_memory_usage", "total_network_bytes_sent", "total_network_bytes_recv",
    "total_power_vdd_in", "total_power_vdd_cpu_gpu_cv", "total_power_vdd_soc",
]  # fmt: skip


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> FormName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def monitors(form: FormName) -> Any:
    """The module whose monitors have this form."""
    return process_monitor if form == "process" else thread_monitor


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(120)"]) as process:
        yield process
        process.kill()


def burn(sec: float) -> None:
    end = time.process_time() + sec
    while time.process_time() < end:
        sum(range(1000))


def cpu_sec() -> float:
    """What the kernel has counted for this process and the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def num_samples(monitor: Monitor) -> int:
    return len(monitor.stats()["timestamps"])


# ── same use ──────────────────────────────────────────────────────────────────────────────────

QUICK_START = """
from fedsight.monitor.{form}_monitor import FileMonitor

def your_main_logic():
    import time
    time.sleep(0.3)

# Initialize a monitor instance
monitor = FileMonitor(file='./log.txt', interval=5)

# Start - main - stop
monitor.start()  # Monitor begins continuous monitoring and writes logs to log.txt.
your_main_logic()  # Your deep learning code / federated learning code / any Python code
monitor.stop()  # Monitor stops monitoring and ceases log writing.

# Post-processing
detail = monitor.stats()
summary = monitor.summary()
print(list(detail))
print(list(summary))
"""


def test_the_quick_start_runs_as_it_stands(form: FormName, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(QUICK_START.format(form=form))
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    stats, summary = done.stdout.splitlines()
    assert stats.startswith(str(TEXT_STATS).rstrip("]"))
    assert summary.startswith(str(TEXT_SUMMARY).rstrip("]"))
    assert done.stderr == ""
    assert (tmp_path / "log.txt").exists()


def test_a_short_run_has_one_sample_whatever_the_interval(monitors: Any, tmp_path: Path) -> None:
    monitor = monitors.FileMonitor(tmp_path / "log.txt")
    monitor.start()
    burn(0.2)
    monitor.stop()
    stats, summary = monitor.stats(), monitor.summary()
    assert len(stats["cpu_usage"]) == len(stats["timestamps"]) == 1
    assert stats["cpu_usage"][0] == pytest.approx(summary["avg_cpu_usage"])
    assert summary["total_cpu_sec"] >= 0.2
    assert stats["power_vdd_in"] == []
    assert summary["total_power_vdd_in"] == 0, "it is switched off, and that is the text's word for it"


def test_the_average_is_the_kernels_cpu_time_over_the_exact_window(form: FormName) -> None:
    monitor = Monitor(0.3, form=form)
    monitor.start()
    began, cpu_began = time.perf_counter(), cpu_sec()
    burn(0.5)
    time.sleep(0.5)
    burn(0.25)
    wall, cpu = time.perf_counter() - began, cpu_sec() - cpu_began
    monitor.stop()
    summary = monitor.summary()
    assert summary["avg_cpu_usage"] == pytest.approx(100 * cpu / wall / (os.cpu_count() or 1), rel=0.03)
    assert summary["duration_sec"] == pytest.approx(wall, rel=0.05)
    assert summary["num_samples"] >= 3


def test_what_was_asked_for_and_can_not_be_measured_is_none(form: FormName) -> None:
    if Path("/sys/bus/i2c/drivers/ina3221").exists():
        pytest.skip("this machine measures its power")
    monitor = Monitor(5, form=form)
    monitor.set_metrics(cpu=False, power=True)
    with monitor:
        pass
    summary = monitor.summary()
    assert summary["total_power_vdd_in"] is None
    assert "jetson" in summary["problems"]
    assert summary["avg_cpu_usage"] == 0
    assert monitor.stats()["cpu_usage"] == []


def test_the_file_is_heflwrs_log_and_the_journal_lies_beside_it(monitors: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    monitor = monitors.FileMonitor(file=file, interval=0.1)
    with monitor:
        wait_until(lambda: file.read_text().count("\n") >= 3)
    when, *lines = file.read_text().splitlines()
    time.strptime(when, "%Y-%m-%d %H:%M:%S")
    stats = monitor.stats()
    assert lines == [
        f"CPU Usage: {cpu}%, Memory Usage: {memory}%, Bytes Sent: {sent}, Bytes Recv: {received}, "
        for cpu, memory, sent, received in zip(*(stats[name] for name in TEXT_STATS[:4]), strict=True)
    ]
    assert monitor.journal == tmp_path / "log.txt.jsonl"
    assert len(of_type(monitor.journal, Sample)) == len(lines) + 1


def test_a_file_that_is_named_as_a_journal_is_one(monitors: Any, tmp_path: Path) -> None:
    with monitors.FileMonitor(tmp_path / "monitor.jsonl") as monitor:
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["monitor.jsonl"]
    assert len(of_type(monitor.journal, Sample)) == 2


def test_a_later_run_appends_to_the_same_files(monitors: Any, tmp_path: Path) -> None:
    for _ in range(2):
        monitor = monitors.FileMonitor(tmp_path / "log.txt")
        with monitor:
            pass
        assert num_samples(monitor) == 1, "the figures are this monitor's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "log.txt.jsonl"]
    assert len(of_type(tmp_path / "log.txt.jsonl", Sample)) == 4


def test_metrics_can_be_switched_while_it_runs(form: FormName) -> None:
    monitor = Monitor(5, form=form)
    monitor.set_metrics(memory=False)
    with monitor:
        monitor.set_metrics(memory=True, cpu=False)
        monitor.set_metrics(cpu=True)
    stats = monitor.stats()
    assert [value is not None for value in stats["cpu_usage"]] == [True, False, True]
    assert [value is not None for value in stats["memory_usage"]] == [True, True, True]


@pytest.mark.parametrize(("switches", "error"), [({"gpu": True}, ValueError), ({"cpu": 1}, TypeError)])
def test_a_switch_that_is_none_is_refused(switches: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(switches))):
        Monitor().set_metrics(**switches)


# ── before the start, after the stop, and again ───────────────────────────────────────────────


def test_before_the_start_there_is_nothing_yet(form: FormName) -> None:
    monitor = Monitor(form=form)
    assert monitor.stats()["cpu_usage"] == []
    assert monitor.summary()["avg_cpu_usage"] is None
    assert (monitor.summary()["num_samples"], monitor.status, monitor.phases()) == (0, "new", [])
    monitor.stop()
    assert monitor.status == "new"


def test_figures_can_be_asked_for_before_the_first_interval_is_over(form: FormName) -> None:
    with Monitor(60, form=form) as monitor:
        burn(0.05)
        assert monitor.summary()["avg_cpu_usage"] > 0
        assert monitor.status == "running"


def test_each_start_begins_a_new_window(form: FormName) -> None:
    monitor = Monitor(60, form=form)
    monitor.start()
    burn(0.3)
    monitor.stop()
    busy = monitor.summary()
    monitor.start()
    monitor.stop()
    idle = monitor.summary()
    assert busy["total_cpu_sec"] >= 0.3 > 0.2 > idle["total_cpu_sec"]
    assert idle["num_samples"] == 1


def test_a_second_stop_does_nothing_and_a_second_start_is_refused(form: FormName) -> None:
    monitor = Monitor(form=form)
    monitor.start()
    with pytest.raises(UsageError, match="runs already"):
        monitor.start()
    monitor.stop()
    monitor.stop()
    assert monitor.status == "stopped"


def test_as_a_decorator_each_call_is_a_window(form: FormName) -> None:
    monitor = Monitor(form=form)

    @monitor
    def train(sec: float) -> str:
        """Burn."""
        burn(sec)
        return "done"

    @monitor
    async def train_async(sec: float) -> str:
        await asyncio.sleep(sec)
        return "done, too"

    assert train(0.1) == "done"
    assert train.__doc__ == "Burn."
    assert monitor.summary()["total_cpu_sec"] >= 0.1
    assert asyncio.run(train_async(0.1)) == "done, too"
    assert monitor.summary()["duration_sec"] >= 0.1
    assert monitor.status == "stopped"


def test_an_error_in_the_work_passes_and_the_monitor_is_stopped(form: FormName) -> None:
    monitor = Monitor(form=form)
    with pytest.raises(ZeroDivisionError), monitor, monitor.phase("round 0"):
        print(1 / 0)
    assert monitor.status == "stopped"
    assert [phase["is_open"] for phase in monitor.phases()] == [False]


# ── phases ────────────────────────────────────────────────────────────────────────────────────


def test_a_phase_has_the_figures_of_what_lies_between_its_edges(form: FormName) -> None:
    with Monitor(60, form=form) as monitor:
        time.sleep(0.2)
        for number in range(2):
            with monitor.phase(f"round {number}"):
                burn(0.1 * (number + 1))
        time.sleep(0.2)
    first, second = monitor.phases()
    assert (first["phase"], second["phase"]) == ("round 0", "round 1")
    assert first["total_cpu_sec"] == pytest.approx(0.1, abs=0.03)
    assert second["total_cpu_sec"] == pytest.approx(0.2, abs=0.03)
    assert second["avg_cpu_usage"] > monitor.summary()["avg_cpu_usage"]
    assert set(first["figures"]["cpu_pct"]) == {"mean", "min", "max", "p95"}


def test_phases_may_be_nested_and_come_again_and_be_open(form: FormName) -> None:
    with Monitor(0.05, form=form) as monitor:
        with monitor.phase("round"):
            with monitor.phase("local training"):
                time.sleep(0.12)
            with monitor.phase("local training"):
                pass
        number = monitor.begin_phase("evaluation")
        phases = monitor.phases()
        monitor.end_phase(number)
    names = [(phase["phase"], phase["is_open"]) for phase in phases]
    assert names == [("round", False), ("local training", False), ("local training", False), ("evaluation", True)]
    assert phases[0]["duration_sec"] >= phases[1]["duration_sec"] + phases[2]["duration_sec"]
    assert phases[1]["num_samples"] >= 2


def test_a_phase_of_a_monitor_that_does_not_run_is_refused() -> None:
    with pytest.raises(UsageError, match="not running"), Monitor().phase("round 1"):
        pass


# ── bad input ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf, "5", None, True, 1e-9])
def test_an_interval_that_is_none_is_refused(interval: Any) -> None:
    with pytest.raises(UsageError, match="interval must be") as refusal:
        Monitor(interval)
    assert refusal.value.field == "interval"


@pytest.mark.parametrize("pid", [0, -5, "1", 1.5, True])
def test_a_pid_that_can_be_none_is_refused(pid: Any) -> None:
    with pytest.raises(UsageError, match="pid must be"):
        Monitor(pid=pid)


def test_a_file_that_can_not_be_written_is_said_at_the_start(monitors: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monitor = monitors.FileMonitor(tmp_path / "file" / "log.txt")
    with pytest.raises(UsageError, match=r"log\.txt.*can't be written") as refusal:
        monitor.start()
    assert refusal.value.field == "file"
    assert monitor.status == "new"
    monitor.stop()


def test_a_file_that_is_a_folder_is_said_at_the_start(monitors: Any, tmp_path: Path) -> None:
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(UsageError, match="can't be written"):
        monitors.FileMonitor(tmp_path / "log.txt").start()


def test_a_file_that_is_somebody_elses_journal_is_left_alone(monitors: Any, tmp_path: Path) -> None:
    other = Monitor(journal=tmp_path / "runs.jsonl", run_id="exp", client_id="c1", form="thread")
    with other:
        pass
    before = (tmp_path / "runs.jsonl").read_bytes()
    with pytest.raises(UsageError, match="belongs to run 'exp'"):
        monitors.FileMonitor(tmp_path / "runs.jsonl").start()
    assert (tmp_path / "runs.jsonl").read_bytes() == before


def test_a_pid_that_nobody_has_is_said_at_the_start(form: FormName) -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    with pytest.raises(UsageError, match=f"no process {gone.pid}"):
        Monitor(pid=gone.pid, form=form).start()


def test_a_probe_that_nobody_has_is_said_at_the_start(form: FormName) -> None:
    with pytest.raises(UsageError, match="no probe 'flux'"):
        Monitor(probes=["flux"], form=form).start()


def test_when_the_measured_process_ends_the_figures_go_up_to_there(
    form: FormName, sleeper: subprocess.Popen[bytes]
) -> None:
    with Monitor(0.05, pid=sleeper.pid, form=form) as monitor:
        wait_until(lambda: num_samples(monitor) >= 2)
        sleeper.kill()
        sleeper.wait()
        wait_until(lambda: monitor.status == "ended")
        count = num_samples(monitor)
        with monitor.phase("afterwards"):
            pass
        monitor.set_metrics(cpu=False)
    assert num_samples(monitor) == count >= 2
    assert monitor.summary()["status"] == "ended"
    assert monitor.journal is not None
    assert of_type(monitor.journal, Log)[-1].event == "ended"


def test_another_packages_probes_are_measured_and_a_broken_one_is_said_once(form: FormName, tmp_path: Path) -> None:
    script = f"""
from fedsight.monitor import Monitor
monitor = Monitor(0.05, form={form!r}, probes=["broken", "absent", "fan"], journal="monitor.jsonl")
with monitor:
    while len(monitor.stats()["timestamps"]) < 4:
        pass
for name, reason in monitor.summary()["problems"].items():
    print(name, reason)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(install(tmp_path / "site"))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    samples = of_type(tmp_path / "monitor.jsonl", Sample)
    assert {sample.metrics["hw.fan.speed"] for sample in samples} == {900.0}
    assert "absent this machine" not in done.stdout
    assert "open a window" in done.stdout
    assert "the sensor counted no turns" in done.stdout
    assert done.stderr.count("ZeroDivisionError") == 1


# ── many, forks, ends ─────────────────────────────────────────────────────────────────────────


def test_monitors_side_by_side_don_t_disturb_each_other(tmp_path: Path) -> None:
    several = [
        Monitor(0.1, form=form, journal=tmp_path / f"{form}{number}.jsonl") for form in FORMS for number in range(2)
    ]
    whole_sec = cpu_sec()
    for monitor in several:
        monitor.start()
    busy_sec = time.process_time()
    burn(0.5)
    busy_sec = time.process_time() - busy_sec
    for monitor in several:
        monitor.stop()
    whole_sec = cpu_sec() - whole_sec
    for monitor in several:
        summary = monitor.summary()
        # Starting and stopping the others is this process's work, and those that start later are its children.
        assert 0.95 * busy_sec < summary["total_cpu_sec"] < 1.05 * whole_sec
        assert summary["num_samples"] >= 5


def test_two_monitors_of_one_file_have_a_journal_each(monitors: Any, tmp_path: Path) -> None:
    first, second = (monitors.FileMonitor(tmp_path / "log.txt") for _ in range(2))
    with first, second:
        pass
    assert first.journal != second.journal
    assert (num_samples(first), num_samples(second)) == (1, 1)


def in_forked_child(work: Callable[[], None]) -> int:
    """Run `work` in a fork; its exit status, 0 where nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_does_not_have_the_parents_monitor(form: FormName, tmp_path: Path) -> None:
    monitor = Monitor(0.05, form=form, journal=tmp_path / "monitor.jsonl")

    def work() -> None:
        assert monitor.status == "stopped"
        monitor.stop()
        monitor.start()
        assert monitor.journal != tmp_path / "monitor.jsonl"
        monitor.stop()
        assert num_samples(monitor) >= 1

    with monitor:
        assert in_forked_child(work) == 0
        before = num_samples(monitor)
        wait_until(lambda: num_samples(monitor) > before)
    assert monitor.status == "stopped"


def test_a_monitor_that_nobody_stopped_is_stopped_at_the_interpreters_end(form: FormName, tmp_path: Path) -> None:
    script = f"""
from fedsight.monitor import Monitor
monitor = Monitor(60, form={form!r}, journal="monitor.jsonl")
monitor.start()
sum(range(1_000_000))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, timeout=60, check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert len(of_type(tmp_path / "monitor.jsonl", Sample)) == 2
    assert of_type(tmp_path / "monitor.jsonl", Log)[-1].event == "stopped"


def test_a_monitor_that_is_forgotten_ends(tmp_path: Path) -> None:
    monitor = Monitor(60, journal=tmp_path / "monitor.jsonl")
    monitor.start()
    pid = monitor.child_pid
    assert pid is not None
    del monitor
    wait_until(lambda: not is_running(pid))
    assert len(of_type(tmp_path / "monitor.jsonl", Sample)) == 2


def test_a_temporary_journal_goes_with_its_monitor(form: FormName) -> None:
    monitor = Monitor(form=form)
    with monitor:
        pass
    journal = monitor.journal
    assert journal is not None
    assert journal.exists()
    del monitor
    assert not journal.parent.exists()


def test_it_publishes_what_it_costs_itself(form: FormName) -> None:
    with Monitor(0.02, form=form) as monitor:
        wait_until(lambda: num_samples(monitor) >= 10)
    assert 0 < monitor.summary()["monitor_cpu_sec"] < monitor.summary()["duration_sec"]


def test_figures_that_are_asked_for_include_readings_that_are_still_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsight.monitor.worker.HELD_SEC", math.inf)
    with Monitor(0.02, form="thread") as monitor:
        wait_until(lambda: len(monitor.stats()["timestamps"]) >= 5)


def test_the_end_of_a_training_loses_no_reading_that_is_held_back(tmp_path: Path) -> None:
    journal = tmp_path / "monitor.jsonl"
    source = f"""
import os, time
from fedsight.monitor import Monitor
monitor = Monitor(0.1, journal={str(journal)!r})
monitor.start()
time.sleep(0.55)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", source], check=False)
    wait_until(lambda: any(log.event in ("stopped", "ended") for log in of_type(journal, Log)))
    assert len(of_type(journal, Sample)) >= 4
