"""The Flower bridge where it is deployed: `flwr run`, a SuperLink, three SuperNodes, one of which is killed while it trains."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from environments import python_of

from fedsight.events import ClientEvent, ClientUpdate, Log, RoundEnd, RunEnd
from fedsight.testing import read_events

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(900)]

APP = Path(__file__).parent / "flower" / "deployed"
NAMES = ("hospital-a", "hospital-b", "hospital-c")
LIMIT_SEC = 240  # Flower itself takes a minute to notice that a node is gone


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition, what, logs):
    deadline = time.monotonic() + LIMIT_SEC
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {LIMIT_SEC} s\n" + "\n".join(
            f"── {log.name}\n{log.read_text()[-3000:]}" for log in logs
        )
        time.sleep(0.2)


class Federation:
    """A SuperLink and its SuperNodes, each in a session of its own, so that it ends with all that it started."""

    def __init__(self, folder, environment="flower"):
        self.folder = folder
        self.bin = python_of(environment).parent
        self.address = f"127.0.0.1:{free_port()}"
        self.processes = {}
        (folder / "home").mkdir()
        (folder / "home" / "config.toml").write_text(
            f'[superlink]\ndefault = "deployed"\n[superlink.deployed]\naddress = "{self.address}"\ninsecure = true\n'
        )
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_HOME": str(folder / "home")}
        path = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}
        self.environment = os.environ | quiet | path

    def start(self, name, *command):
        command = [str(self.bin / command[0]), *command[1:]]
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment, cwd=self.folder, start_new_session=True
            )

    def kill(self, name):
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def logs(self):
        return sorted(self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    federation = Federation(folder)
    journal = folder / "deployed.jsonl"

    def has(kind):
        return journal.exists() and any(isinstance(event, kind) for event in read_events(journal))

    try:
        host, port = federation.address.split(":")
        options = ("--insecure", "--disable-runtime-dependency-installation", "--host", host, "--port", port)
        federation.start("superlink", "flower-superlink", *options)
        for number, name in enumerate(NAMES):
            config = f'name="{name}" partition-id={number} num-partitions={len(NAMES)}'
            node = (
                "--insecure",
                "--superlink",
                federation.address,
                "--port",
                str(free_port()),
                "--node-config",
                config,
            )
            federation.start(name, "flower-supernode", *node)
        wait_for(lambda: answers(federation.address), "the SuperLink", federation.logs())
        federation.start("run", "flwr", "run", str(APP), "deployed", "--run-config", f'folder="{folder}"')
        wait_for((folder / "held").exists, "round 2 at hospital-b", federation.logs())
        federation.kill("hospital-b")
        wait_for(lambda: has(RunEnd), "the end of the run", federation.logs())
        return read_events(journal)
    finally:
        for name in list(federation.processes):
            federation.kill(name)


def answers(address):
    host, port = address.split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_node_that_is_killed_is_named_with_flowers_reason(events):
    (failure,) = of(events, ClientEvent)
    assert (failure.client_id, failure.event, failure.round) == ("hospital-b", "comm_failure", 2)
    assert failure.reason.startswith("train: NODE_UNAVAILABLE (code 5): ")


def test_the_others_are_recorded_under_the_names_of_their_node_config(events):
    trained = {(u.round, u.client_id) for u in of(events, ClientUpdate) if u.status == "active"}
    assert trained == {(1, name) for name in NAMES} | {(2, "hospital-a"), (2, "hospital-c")}
    for update in of(events, ClientUpdate):
        if update.status == "active":
            assert update.train_time_sec > 0
            assert update.ram_mb > 0


def test_while_the_dead_node_is_waited_for_the_run_says_so(events):
    assert any(
        event.event == "waiting"
        and event.message.startswith("round 2, train: 2 of 3 clients have answered; not yet: hospital-b")
        for event in of(events, Log)
    )
    assert of(events, Log)[-1].event == "going_on"


def test_the_training_goes_on_to_its_end(events):
    assert [event.round for event in of(events, RoundEnd)] == [1, 2]
    (end,) = of(events, RunEnd)
    assert end.status == "finished"
