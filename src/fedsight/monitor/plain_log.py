"""heflwr's plain log: the time of the start, then one line a sample.

    2026-11-22 12:46:07
    CPU Usage: 12.5%, Memory Usage: 0.24%, Bytes Sent: 447, Bytes Recv: 975,

A line of samples ends in a comma and a blank. What is switched off, or isn't known, is not in the
line. Format: heflwr 0.1.91.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

logger = logging.getLogger("fedsight")

_PARTS = (
    ("cpu_pct", "CPU Usage: {}%, "),
    ("memory_pct", "Memory Usage: {}%, "),
    ("bytes_sent", "Bytes Sent: {:.0f}, "),
    ("bytes_received", "Bytes Recv: {:.0f}, "),
    ("power_vdd_in_mw", "VDD In: {:.0f}, "),
    ("power_vdd_cpu_gpu_cv_mw", "VDD Cpu_Gpu_Cv: {:.0f}, "),
    ("power_vdd_soc_mw", "VDD Soc: {:.0f}, "),
)


class PlainLog:
    """Appends to the file at `path`. Raises `OSError` where it can't be opened; later trouble is said once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._has_failed = False

    def start(self, ts: float) -> None:
        """A window begins."""
        self._write(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts)))

    def sample(self, figures: Mapping[str, float]) -> None:
        """The figures of one interval."""
        self._write("".join(part.format(figures[name]) for name, part in _PARTS if name in figures))

    def _write(self, line: str) -> None:
        try:
            os.write(self._fd, line.encode() + b"\n")
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                logger.warning("fedsight: cannot write to %s: %s. The monitor goes on.", self._path, error)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)
