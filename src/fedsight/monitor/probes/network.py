"""Bytes through the network interfaces: of the machine, or of the network namespace (container) the process is in.

Linux keeps no count per process, so these are never called the process's. Source: `/proc/<pid>/net/dev` (proc(5));
elsewhere psutil.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import ClassVar

from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_SURELY_ALL_BYTES = 2048
"""The kernel gives lines of some 130 bytes until a page is full: less than half a page is all there is."""

_ALIVE_SEC = 1.0
"""Whether the process is still there is asked no more often."""

_MAX_INTERFACES = 256
"""Beyond this, interfaces that went (those of containers, say) are forgotten."""

_KERNEL_BITS = 64 if os.name != "posix" or os.uname().machine.endswith(("64", "64le", "s390x")) else 32


def is_loopback(interface: str) -> bool:
    """Whether an interface leads back to the machine itself."""
    return interface in ("lo", "lo0") or interface.startswith("Loopback")


class Growth:
    """How much a kernel's counter has grown, whatever happens to it: begun anew, wrapped at its width."""

    __slots__ = ("_bits", "_last", "total")

    def __init__(self, first: int, bits: int = 64) -> None:
        self._last = first
        self._bits = bits
        self.total = 0

    def update(self, now: int) -> None:
        """The counter stands at `now`."""
        if now >= self._last:
            self.total += now - self._last
        elif self._bits == 32 and self._last < 1 << 32 and now + (1 << 32) - self._last < 1 << 31:
            self.total += now + (1 << 32) - self._last
        else:
            self.total += now
        self._last = now


class _Interface:
    __slots__ = ("num_received", "num_sent", "receive_key", "transmit_key")

    def __init__(self, name: str, received: int, sent: int, bits: int) -> None:
        self.receive_key = key("system.network.io", network_interface_name=name, network_io_direction="receive")
        self.transmit_key = key("system.network.io", network_interface_name=name, network_io_direction="transmit")
        self.num_received, self.num_sent = Growth(received, bits), Growth(sent, bits)


class NetworkProbe:
    """Bytes since the start, of every interface that has ever carried any; loopback is `lo`, by itself."""

    name: ClassVar[str] = "network"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("system.network.io", "By", "counter", "Bytes through an interface, whoever's they are"),
    )

    def __init__(
        self, target: Target, *, is_procfs: bool = sys.platform == "linux", counter_bits: int = _KERNEL_BITS
    ) -> None:
        self._bits = counter_bits
        self._interfaces: dict[str, _Interface] = {}
        self._file = self._process_file = -1
        self._alive_due_sec = -1.0
        self._told: dict[str, float] = {}
        self._data = b""
        if is_procfs:
            try:
                self._process_file = os.open(f"/proc/{target.pid}/statm", os.O_RDONLY)
                self._file = os.open(f"/proc/{target.pid}/net/dev", os.O_RDONLY)
            except FileNotFoundError as error:
                self.close()
                if not Path(f"/proc/{target.pid}").exists():
                    raise ProcessLookupError(errno.ESRCH, f"There is no process {target.pid}") from error
                raise Unavailable(f"This kernel has no {error.filename}.") from error
        if self._file >= 0:
            self._data = _read_all(self._file)
        for name, (received, sent) in self._counters().items():
            self._interfaces[name] = _Interface(name, received, sent, self._bits)

    def read(self, values: dict[str, float]) -> None:
        """Bytes since the start; an interface that went keeps its last, one that came starts at 0."""
        if self._file >= 0:
            self._check_alive()
            data = _read_all(self._file)
            if data == self._data and self._told:  # no byte has come or gone
                values.update(self._told)
                return
            self._data = data
        now = self._counters()
        for name, (received, sent) in now.items():
            interface = self._interfaces.get(name)
            if interface is None:
                interface = self._interfaces[name] = _Interface(name, 0, 0, self._bits)
            interface.num_received.update(received)
            interface.num_sent.update(sent)
        if len(self._interfaces) > _MAX_INTERFACES:
            self._interfaces = {name: each for name, each in self._interfaces.items() if name in now}
        self._told = {}
        for interface in self._interfaces.values():
            self._told[interface.receive_key] = interface.num_received.total
            self._told[interface.transmit_key] = interface.num_sent.total
        values.update(self._told)

    def _check_alive(self) -> None:
        """The namespace outlives the process: reading another of its files raises `ProcessLookupError` when it is gone."""
        now_sec = time.monotonic()
        if now_sec >= self._alive_due_sec:
            os.pread(self._process_file, 1, 0)
            self._alive_due_sec = now_sec + _ALIVE_SEC

    def close(self) -> None:
        """Let go of the files."""
        for file in (self._file, self._process_file):
            if file >= 0:
                os.close(file)
        self._file = self._process_file = -1

    def _counters(self) -> dict[str, tuple[int, int]]:
        """Received and sent bytes as the kernel has them, of interfaces that have ever carried any."""
        if self._file < 0:
            from fedsight.monitor import portable

            return {name: both for name, both in portable.interface_bytes().items() if any(both)}
        counters = {}
        for line in self._data.decode().splitlines()[2:]:
            name, _, numbers = line.rpartition(":")
            fields = numbers.split(None, 9)
            received, sent = int(fields[0]), int(fields[8])
            if received or sent:
                counters[name.strip()] = (received, sent)
        return counters


def _read_all(file: int) -> bytes:
    size = 16384
    while True:
        data = os.pread(file, size, 0)
        if len(data) < _SURELY_ALL_BYTES:
            return data
        # The kernel gives a few pages at most at a time: read on where one read didn't reach the end.
        while block := os.pread(file, size, len(data)):
            data += block
        return data
