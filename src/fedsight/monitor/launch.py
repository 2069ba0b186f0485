"""Starting a program that is to be measured from its first instruction on, and relaying signals to it (POSIX).

The new process waits at a gate until the monitor has taken its first reading; only then it becomes the program. It
stays in this process group, so the terminal and pipelines treat it as if it had been started without a monitor.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fedsight.monitor.program import NOT_FOUND, not_started

_RELAYED = {
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTSTP", "SIGCONT")
    if hasattr(signal, name)
}
_FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGWINCH}
_TO_THE_PROGRAM_BYTES = 256 << 10
"""What a process may still touch between the gate and becoming the program."""

_AWAITED = _RELAYED | {signal.SIGCHLD}


class Usage(msgspec.Struct):
    """What the kernel says of a program that has ended, and of its children that were waited for (getrusage(2)).

    max_rss_bytes: of the largest single process; None where it says nothing of the program.
    """

    user_cpu_sec: float
    system_cpu_sec: float
    max_rss_bytes: int | None
    num_minor_faults: int
    num_major_faults: int
    num_voluntary_switches: int
    num_involuntary_switches: int
    exit_code: int | None
    signal: str | None


class Launched:
    """A process that waits to become a program; until `finish()`, signals are relayed and not obeyed.

    program: its path. arguments: with its name as the first. gate_rss_bytes: the most that the
    process had resident while it waited.
    """

    def __init__(self, program: str, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._waited: tuple[int, resource.struct_rusage] | None = None
        self._old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        # Were it ignored, as whoever started this may have wanted, nobody could wait for a child.
        self._old_sigchld = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gate_out, self._gate = os.pipe()
        self._told, tell = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # it was started with it closed
                stream.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(program, gate_out, tell)
        os.close(gate_out)
        os.close(tell)
        os.read(self._told, 1)  # it stands at the gate
        self.gate_rss_bytes = _high_water_bytes(self.pid) + _TO_THE_PROGRAM_BYTES

    def _become(self, program: str, gate_out: int, tell: int) -> None:
        """In the new process: wait, then become the program, with signals as this process found them."""
        try:
            os.close(self._gate)
            for each in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", None)):  # Python ignores these
                if each is not None:
                    signal.signal(each, signal.SIG_DFL)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, self._old_sigchld)
            os.write(tell, b"!")
            if os.read(gate_out, 1):
                signal.pthread_sigmask(signal.SIG_SETMASK, self._old_mask)
                os.execv(program, self._arguments)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(NOT_FOUND)

    def begin(self) -> None:
        """Let it become the program. Raises `NotStarted` where it can't."""
        os.write(self._gate, b"!")
        os.close(self._gate)
        told = os.read(self._told, 16)  # nothing, when it has become the program
        os.close(self._told)
        if told:
            os.waitpid(self.pid, 0)
            self.restore_signals()
            raise not_started(self._arguments[0], int(told))

    def give_up(self) -> None:
        """End it instead of letting it begin."""
        os.close(self._gate)
        os.close(self._told)
        os.waitpid(self.pid, 0)
        self.restore_signals()

    def wait(self) -> None:
        """Relay signals until the program has ended. Where it can be, it is left for `finish()` to be waited for."""
        while not self._has_ended():
            number, is_from_terminal = _next_signal()
            if number == signal.SIGCHLD:
                continue
            if not is_from_terminal:  # from there the program has got it, too
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)
            if number == signal.SIGTSTP:
                os.kill(os.getpid(), signal.SIGSTOP)  # so that a shell sees its job stopped

    def _has_ended(self) -> bool:
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        pid, status, used = os.wait4(self.pid, os.WNOHANG)  # macOS, before Python 3.13
        self._waited = (status, used) if pid else None
        return self._waited is not None

    def finish(self) -> Usage:
        """What it has used, and how it ended. Signals are this process's own again."""
        status, used = self._waited or os.wait4(self.pid, 0)[1:]
        self.restore_signals()
        unit_bytes = 1 if sys.platform == "darwin" else 1024
        max_rss_bytes = used.ru_maxrss * unit_bytes
        return Usage(
            user_cpu_sec=used.ru_utime,
            system_cpu_sec=used.ru_stime,
            max_rss_bytes=max_rss_bytes if max_rss_bytes > self.gate_rss_bytes else None,
            num_minor_faults=used.ru_minflt,
            num_major_faults=used.ru_majflt,
            num_voluntary_switches=used.ru_nvcsw,
            num_involuntary_switches=used.ru_nivcsw,
            exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            signal=_signal_name(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None,
        )

    def restore_signals(self) -> None:
        """Obey signals again. Those that came meanwhile were the program's."""
        while signal.sigpending() & _AWAITED:
            signal.sigwait(_AWAITED)
        signal.signal(signal.SIGCHLD, self._old_sigchld)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._old_mask)


def shell_status(usage: Usage) -> int:
    """The exit status that a shell would show: 128 and the signal's number after a signal."""
    if usage.signal is not None:
        return 128 + (signal.Signals[usage.signal] if usage.signal.startswith("SIG") else int(usage.signal))
    assert usage.exit_code is not None
    return usage.exit_code


def _next_signal() -> tuple[int, bool]:
    """The next signal, and whether it came from the terminal, which sends it to the whole process group."""
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(_AWAITED)
        # A sender that is a process has a code of 0 or below (sigaction(2)); the kernel's own have none of these.
        return info.si_signo, info.si_code > 0
    number = signal.sigwait(_AWAITED)  # macOS doesn't tell who sent it
    return number, number in _FROM_TERMINAL and _is_in_foreground()


def _is_in_foreground() -> bool:
    with contextlib.suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDONLY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def _high_water_bytes(pid: int) -> int:
    """The most that a process has had resident; where the system doesn't tell, what this one has."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
