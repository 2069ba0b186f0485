import signal
import socket
import sys

import psutil
import pytest

from fedsight.demo.processes import Collector, Processes, free_port
from fedsight.errors import FedsightError

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path / "logs") as processes:
        yield processes


def wait_for_log(processes, name, text):
    while text not in processes.log_path(name).read_text():
        assert processes.children[-1].poll() is None


def test_what_a_child_says_goes_to_its_log(processes):
    child = processes.start("greeter", [sys.executable, "-c", "print('hello')"])
    assert child.wait(30) == 0
    assert processes.log_path("greeter").read_text() == "hello\n"


def test_stopping_kills_a_child_that_does_not_listen(processes, monkeypatch):
    child = processes.start("deaf", [sys.executable, "-c", DEAF])
    wait_for_log(processes, "deaf", "ready")
    monkeypatch.setattr("fedsight.demo.processes.GRACE_SEC", 0.2)
    processes.stop()
    assert child.returncode == -signal.SIGKILL
    assert processes.children == []


def test_stopping_spares_whom_it_is_told_to(processes):
    stays, goes = (processes.start(name, [sys.executable, "-c", "import time; time.sleep(600)"]) for name in "ab")
    processes.stop(but=[stays])
    assert goes.returncode is not None
    assert psutil.pid_exists(stays.pid)
    assert processes.children == [stays]


def test_a_collector_that_does_not_start_is_quoted(processes):
    child = processes.start("collector", [sys.executable, "-c", "raise SystemExit('the disk is full')"])
    collector = Collector(child, "http://127.0.0.1:9", processes.log_path("collector"))
    with pytest.raises(FedsightError, match=r"(?s)The collector did not start.*the disk is full"):
        collector.wait_until_ready()


def test_a_taken_port_is_not_fought_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port
