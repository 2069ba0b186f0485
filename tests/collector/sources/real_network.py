"""A real network on this machine: Open vSwitch with its userspace datapath, hosts in namespaces, controllers of their own.

Everything has names made of the process's id, runs on loopback or in a folder of its own, starts no system service, and
is gone afterwards. Needs root on Debian with openvswitch-switch, iperf3, iproute2 and ethtool.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from collector.harness import until

T = TypeVar("T")

PROGRAMS = {
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "iperf3": "iperf3",
    "ip": "iproute2",
    "ethtool": "ethtool",
}
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")

OSKEN = ("os-ken==1.4.1", "eventlet==0.41.3", "setuptools<81")
FAUCET = ("faucet==1.10.12", "eventlet==0.41.3", "setuptools<81")

# os-ken 1.4.1 asks for a name that eventlet dropped in 0.30.3.
OSKEN_MANAGER = """
import sys, eventlet.wsgi
eventlet.wsgi.ALREADY_HANDLED = object()
from os_ken.cmd.manager import main
sys.argv[0] = "osken-manager"
main()
"""


def skip(what: str) -> None:
    """Leave a test out and name what is missing; where CI runs as root nothing may be missing."""
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")


def need_network() -> None:
    if os.geteuid() != 0:
        pytest.skip("missing: root")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            skip(f"{program} (package {package})")
    if not SCHEMA.exists():
        skip(f"{SCHEMA} (package openvswitch-switch)")
    probe = f"fsx{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=10)
    if made.returncode != 0:
        skip(f"network namespaces ({made.stderr.strip()})")
    subprocess.run(["ip", "netns", "del", probe], check=True, timeout=10)


def venv(name: str, pins: tuple[str, ...]) -> Path:
    """The bin folder of a virtual environment with these packages, made once and kept in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fedsight-tests" / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            # What these controllers were written for; they don't run on much later versions.
            python = shutil.which("python3.11") or sys.executable
            subprocess.run([python, "-m", "venv", home], check=True, timeout=120)
            command = [home / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *pins]
            installed = subprocess.run(command, capture_output=True, text=True, timeout=170)
            if installed.returncode != 0:
                skip(f"{' '.join(pins)} ({installed.stderr.strip()[-200:]})")
            (home / "ready").touch()
    return home / "bin"


def free_port() -> int:
    """Below the range from which this machine takes the ports of its own connections: nobody gets it in the meantime."""
    for port in random.sample(range(15000, 32000), 50):
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


DATAPATH = "ovs-netdev"
"""The device of the userspace datapath: a machine has one, so one test process at a time has the network."""


@contextmanager
def real_network() -> Iterator[RealNetwork]:
    """A switch that is gone afterwards; what its programs had to say is printed where something fails."""
    need_network()
    with Path("/run/fedsight-tests-network.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(f"/sys/class/net/{DATAPATH}").exists():
            skip(f"a machine whose {DATAPATH} is not in use by another Open vSwitch")
        network = RealNetwork()
        try:
            network.start_switch()
            yield network
        except BaseException:
            for log in sorted(network.folder.glob("*.log")):
                print(f"── {log.name}\n{log.read_text(errors='replace')[-3000:]}")
            raise
        finally:
            network.stop()


class RealNetwork:
    """Open vSwitch, its bridges, hosts, and whatever else was started with it."""

    def __init__(self) -> None:
        # Short: the path of a Unix socket has room for 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="fsnet", dir="/tmp"))
        self.tag = f"{os.getpid() % 100000}"  # names of interfaces have 15 characters
        self.processes: list[subprocess.Popen[bytes]] = []
        self.namespaces: list[str] = []
        self.interfaces: list[str] = []
        self.bridges: list[str] = []
        self.environ = {**os.environ, **{f"OVS_{kind}DIR": str(self.folder) for kind in ("RUN", "LOG", "DB")}}
        self.db = f"unix:{self.folder}/db.sock"

    def start_switch(self) -> None:
        conf = self.folder / "conf.db"
        self.run("ovsdb-tool", "create", str(conf), str(SCHEMA))
        self.start("ovsdb-server", str(conf), f"--remote=p{self.db}", f"--unixctl={self.folder}/ovsdb.ctl")
        until((self.folder / "db.sock").exists, "the database's socket")
        self.vsctl("--no-wait", "init")
        self.start("ovs-vswitchd", self.db, f"--unixctl={self.folder}/vswitchd.ctl")

    def start(self, *command: str, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{Path(command[0]).name}-{len(self.processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def vsctl(self, *arguments: str) -> str:
        return self.run("ovs-vsctl", f"--db={self.db}", "--timeout=15", *arguments)

    def bridge(self, number: int) -> str:
        return f"fs{self.tag}b{number}"

    def add_bridge(self, number: int, *controllers: str) -> None:
        name = self.bridge(number)
        self.vsctl(
            "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "protocols=OpenFlow13",
            "fail-mode=secure", f"other-config:datapath-id={number:016x}", "other-config:disable-in-band=true",
            *(["--", "set-controller", name, *controllers] if controllers else []),
        )  # fmt: skip
        self.bridges.append(name)

    def add_host(self, number: int, bridge: int, port: int) -> None:
        """Host `number`, 10.77.0.<number>, on a port of a bridge."""
        space, inside, outside = self.host(number), f"fe{self.tag}h{number}", self.outside(number)
        self.run("ip", "netns", "add", space)
        self.namespaces.append(space)
        self.run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        self.interfaces.append(outside)
        self.run("ip", "link", "set", inside, "netns", space)
        self.run("ip", "-n", space, "link", "set", inside, "address", f"02:00:00:00:00:{number:02x}")
        self.run("ip", "-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", inside)
        for link in (inside, "lo"):
            self.run("ip", "-n", space, "link", "set", link, "up")
        self.run("ip", "link", "set", outside, "up")
        # Checksums that nobody fills in would be dropped by the userspace datapath.
        self.run("ethtool", "-K", outside, "tx", "off", "rx", "off")
        self.run("ip", "netns", "exec", space, "ethtool", "-K", inside, "tx", "off", "rx", "off")
        self.vsctl(
            "add-port", self.bridge(bridge), outside, "--", "set", "interface", outside, f"ofport_request={port}"
        )

    def host(self, number: int) -> str:
        return f"fh{self.tag}h{number}"

    def outside(self, number: int) -> str:
        """The end of a host's wire that is plugged into the switch."""
        return f"fv{self.tag}h{number}"

    def connect_bridges(self, one: int, other: int, ports: tuple[int, int]) -> None:
        for here, there, port in ((one, other, ports[0]), (other, one, ports[1])):
            name, peer = f"p{self.tag}{here}{there}", f"p{self.tag}{there}{here}"
            self.vsctl(
                "add-port", self.bridge(here), name, "--", "set", "interface", name, "type=patch",
                f"options:peer={peer}", f"ofport_request={port}",
            )  # fmt: skip

    def cut_bridges(self, one: int, other: int) -> None:
        self.vsctl("del-port", f"p{self.tag}{one}{other}", "--", "del-port", f"p{self.tag}{other}{one}")

    def in_host(self, number: int, *command: str) -> str:
        return self.run("ip", "netns", "exec", self.host(number), *command)

    def traffic(self, sender: int, receiver: int, mbps: int, seconds: int) -> Traffic:
        return Traffic(self, sender, receiver, mbps, seconds)

    def stop(self) -> None:
        for name in self.bridges:
            subprocess.run(["ovs-vsctl", f"--db={self.db}", "--timeout=5", "--if-exists", "del-br", name], env=self.environ, capture_output=True, timeout=10)  # fmt: skip
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        for name in self.interfaces:
            subprocess.run(["ip", "link", "del", name], capture_output=True, timeout=10)
        for space in self.namespaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Traffic:
    """UDP from one host to another at a steady rate, for some seconds; `mbps_on_wire` once it is over."""

    def __init__(self, network: RealNetwork, sender: int, receiver: int, mbps: int, seconds: int) -> None:
        inside = ("ip", "netns", "exec")
        self._server = network.start(*inside, network.host(receiver), "iperf3", "-s", "-1")
        listening = lambda: ":5201" in network.in_host(receiver, "ss", "-ltn")  # noqa: E731
        until(listening, "iperf3 to listen")
        self._client = network.start(
            *inside, network.host(sender), "iperf3", "-c", f"10.77.0.{receiver}", "-u", "-l", "1400",
            "-b", f"{mbps}M", "-t", str(seconds), "-J", "--logfile", str(network.folder / "iperf.json"),
        )  # fmt: skip
        self._report = network.folder / "iperf.json"

    @property
    def is_over(self) -> bool:
        return self._client.poll() is not None

    def mbps_on_wire(self) -> float:
        """What iperf3 says it sent, with Ethernet, IP and UDP headers (42 bytes a packet)."""
        self._client.wait(30)
        self._server.wait(10)
        told = json.loads(self._report.read_text())
        self._report.unlink()
        total = told["end"]["sum"]
        return float(8 * (total["bytes"] + 42 * total["packets"]) / total["seconds"] / 1e6)


def within_polls(poll: Callable[[], Any], seen: Callable[[Any], T], polls: int = 2, interval_sec: float = 3.0) -> T:
    """What `seen` finds in one of the next polls, an interval apart."""
    for _ in range(polls):
        time.sleep(interval_sec)  # a source's interval, not a wait for something
        if found := seen(poll()):
            return found
    raise AssertionError(f"not seen within {polls} polls")
