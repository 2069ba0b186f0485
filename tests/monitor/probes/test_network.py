"""Bytes through interfaces, whatever interfaces and counters do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from fedsight.monitor.probes import network
from fedsight.monitor.probes.network import Growth, NetworkProbe, is_loopback
from fedsight.monitor.probes.probe import Target

HEADER = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
)


class Interfaces:
    """A probe over a table of interfaces that the test writes."""

    def __init__(self, monkeypatch, bits=64, **bytes_of):
        self.table = bytes_of
        monkeypatch.setattr(network, "_read_all", lambda file: self.text().encode())
        self.probe = NetworkProbe(Target(os.getpid()), counter_bits=bits)

    def text(self):
        row = "{name:>6}:{received:8} 1 0 0 0 0 0 0 {sent:8} 2 0 0 0 0 0 0\n"
        return HEADER + "".join(row.format(name=name, received=r, sent=s) for name, (r, s) in self.table.items())

    def read(self):
        values = {}
        self.probe.read(values)
        found = {}
        for full_key, value in values.items():
            name, _, direction = full_key.removeprefix("system.network.io{network.interface.name=").partition(",")
            found[name, direction.removeprefix("network.io.direction=").rstrip("}")] = value
        return found


@pytest.fixture
def interfaces(monkeypatch):
    opened = []

    def start(**bytes_of):
        opened.append(Interfaces(monkeypatch, **bytes_of))
        return opened[-1]

    yield start
    for each in opened:
        each.probe.close()


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_loopback_counts_by_itself_and_what_was_sent_is_there():
    probe = NetworkProbe(Target(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            sender.sendall(bytes(100_000))
            while received := receiver.recv(65536):
                probe_is_due = len(received) < 65536
                if probe_is_due:
                    break
    values: dict[str, float] = {}
    probe.read(values)
    for direction in ("transmit", "receive"):
        full_key = f"system.network.io{{network.interface.name=lo,network.io.direction={direction}}}"
        assert values[full_key] >= 65536
    assert is_loopback("lo")
    assert not is_loopback("eth0")
    probe.close()


@linux
def test_bytes_count_from_the_start(interfaces):
    machine = interfaces(eth0=(10**15, 500))
    assert machine.read() == {("eth0", "receive"): 0, ("eth0", "transmit"): 0}
    machine.table["eth0"] = (10**15 + 3_000_000_000, 750)
    assert machine.read() == {("eth0", "receive"): 3_000_000_000, ("eth0", "transmit"): 250}


@linux
def test_an_interface_that_comes_counts_all_it_carried(interfaces):
    machine = interfaces(eth0=(100, 100))
    machine.table["wlan0"] = (30, 40)
    assert machine.read()["wlan0", "receive"] == 30


@linux
def test_an_interface_that_goes_keeps_its_bytes_and_goes_on_when_it_is_back(interfaces):
    machine = interfaces(eth0=(100, 100))
    machine.table["eth0"] = (150, 100)
    machine.read()
    del machine.table["eth0"]
    assert machine.read()["eth0", "receive"] == 50
    machine.table["eth0"] = (20, 0)  # made anew: its counters begin at 0
    assert machine.read() == {("eth0", "receive"): 70, ("eth0", "transmit"): 0}


@linux
def test_interfaces_that_never_carried_anything_are_left_out(interfaces):
    machine = interfaces(eth0=(1, 1), ifb0=(0, 0))
    assert {name for name, _ in machine.read()} == {"eth0"}


@linux
def test_interfaces_that_went_are_forgotten_when_they_become_too_many(interfaces):
    machine = interfaces(eth0=(1, 1))
    for number in range(300):
        machine.table = {"eth0": (2, 1), f"veth{number}": (1, 1)}
        machine.read()
    names = {name for name, _ in machine.read()}
    assert "eth0" in names
    assert len(names) <= 257


def test_a_64_bit_counter_that_falls_began_anew():
    growth = Growth(4_000_000_000)
    growth.update(1000)
    assert growth.total == 1000
    growth.update(5_000_000_000)
    assert growth.total == 5_000_000_000


def test_a_32_bit_counter_wraps():
    growth = Growth(4_294_967_000, bits=32)
    growth.update(704)
    assert growth.total == 1000
    growth.update(2_000_000_704)
    assert growth.total == 2_000_001_000
    growth.update(100)  # too far for a wrap: it began anew
    assert growth.total == 2_000_001_100


@linux
def test_a_process_that_is_not_there_is_said_so():
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError):
        NetworkProbe(Target(process.pid))


@linux
def test_a_process_that_ends_is_said_so(start_program):
    program = start_program()
    probe = NetworkProbe(Target(program.pid))
    program.end()
    with pytest.raises(ProcessLookupError):
        probe.read({})
    probe.close()


def test_through_psutil():
    probe = NetworkProbe(Target(os.getpid()), is_procfs=False)
    values: dict[str, float] = {}
    probe.read(values)
    assert all(value >= 0 for value in values.values())
    assert any("network.io.direction=transmit" in full_key for full_key in values)
    probe.close()
