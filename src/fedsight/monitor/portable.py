"""What probes read through psutil, on macOS and Windows; psutil's errors come as the operating system's own.

Loaded where it is used: on Linux the probes read `/proc` themselves, and never need it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def os_errors(pid: int) -> Iterator[None]:
    """`ProcessLookupError` and `PermissionError` for psutil's errors about a process."""
    try:
        yield
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(errno.ESRCH, f"There is no process {pid}") from error
    except psutil.AccessDenied as error:
        raise PermissionError(errno.EACCES, f"Process {pid} is another user's") from error


def machine_cpu_sec() -> dict[str, float]:
    """CPU time of the whole machine by mode, in psutil's names of them."""
    times = psutil.cpu_times()
    return {mode: getattr(times, mode) for mode in times._fields}


def num_allowed_cpus(pid: int) -> int | None:
    """How many CPUs the process's affinity allows it; None where the platform has no affinity (macOS)."""
    with os_errors(pid):
        affinity = getattr(psutil.Process(pid), "cpu_affinity", None)
        return len(affinity()) if affinity else None


def memory_total_bytes() -> int:
    """The machine's memory."""
    return int(psutil.virtual_memory().total)


def memory_used_bytes() -> int:
    """What of it could not be had without swapping."""
    memory = psutil.virtual_memory()
    return int(memory.total - memory.available)


def peak_bytes(pid: int) -> int:
    """The most the process ever had resident, which Windows keeps; 0 elsewhere."""
    with os_errors(pid):
        return int(getattr(psutil.Process(pid).memory_info(), "peak_wset", 0))


def memory_shares(pid: int) -> dict[str, float]:
    """USS of a process in bytes."""
    with os_errors(pid):
        return {"uss": psutil.Process(pid).memory_full_info().uss}


def io_bytes(pid: int) -> tuple[float, float]:
    """Bytes that a process has read and written. Raises `NotImplementedError` where nobody counts them (macOS)."""
    with os_errors(pid):
        process = psutil.Process(pid)
        if not hasattr(process, "io_counters"):
            raise NotImplementedError("this platform counts no I/O per process")
        io = process.io_counters()
        return io.read_bytes, io.write_bytes


def num_open_files(pid: int) -> int:
    """Descriptors, on Windows handles, that a process holds."""
    with os_errors(pid):
        process = psutil.Process(pid)
        return int(process.num_handles() if psutil.WINDOWS else process.num_fds())


def context_switches(pid: int) -> tuple[int, int]:
    """Voluntary and involuntary switches; Windows tells their sum only, as voluntary."""
    with os_errors(pid):
        switches = psutil.Process(pid).num_ctx_switches()
        return switches.voluntary, switches.involuntary


def interface_bytes() -> dict[str, tuple[int, int]]:
    """Bytes received and sent by each interface."""
    return {name: (nic.bytes_recv, nic.bytes_sent) for name, nic in psutil.net_io_counters(pernic=True).items()}
