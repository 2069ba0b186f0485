"""What a monitor is told: whom to measure, how often, and where the figures go."""

from __future__ import annotations

import math
import numbers

import msgspec

from fedsight.errors import UsageError

METRICS = {"cpu": True, "memory": True, "network": True, "power": False}
"""What `set_metrics` switches, and how it stands at first."""

SHORTEST_INTERVAL_SEC = 0.001
LONGEST_INTERVAL_SEC = 1e6

HELD_SEC = 1.0
"""Readings that come more often are recorded together, this often: what a death of the monitor itself may cost."""


class Settings(msgspec.Struct, kw_only=True):
    """One window of measuring, as the thread or the child process is told it.

    probes: further ones, beside those that `metrics` switches. concise: only the derived figures
    are recorded, without the probes' own. plain_log: a file for heflwr's format. port: of the
    Prometheus endpoint. collector: the URL to ship the journal to.
    """

    pid: int
    interval_sec: float
    journal: str
    node: str
    metrics: dict[str, bool]
    probes: list[str] = []
    run_id: str | None = None
    client_id: str | None = None
    concise: bool = False
    plain_log: str | None = None
    addr: str = "127.0.0.1"
    port: int | None = None
    collector: str | None = None
    token: str | None = None
    excluded_pids: list[int] = []


def checked_interval(interval: object) -> float:
    """`interval` in seconds. Raises `UsageError` where it is no number of seconds above 0."""
    if type(interval) is not bool and isinstance(interval, numbers.Real):
        seconds = float(interval)
        if math.isfinite(seconds) and SHORTEST_INTERVAL_SEC <= seconds <= LONGEST_INTERVAL_SEC:
            return seconds
    raise UsageError(
        "interval",
        f"interval must be a number of seconds from {SHORTEST_INTERVAL_SEC} to {LONGEST_INTERVAL_SEC:.0f}, "
        f"not {interval!r}.",
    )


def checked_pid(pid: object) -> int | None:
    """`pid`, None standing for this process. Raises `UsageError` where it can't be one."""
    if pid is None or (isinstance(pid, int) and not isinstance(pid, bool) and pid > 0):
        return pid
    raise UsageError("pid", f"pid must be a process id above 0, or None for this process, not {pid!r}.")


def checked_port(port: object) -> int:
    """`port`. Raises `UsageError` where it can't be one."""
    if isinstance(port, int) and not isinstance(port, bool) and 0 <= port <= 65535:
        return port
    raise UsageError("port", f"port must be a number from 0 (any free one) to 65535, not {port!r}.")


def checked_metrics(switches: dict[str, object]) -> dict[str, bool]:
    """The switches as given. Raises `ValueError` for an unknown name, `TypeError` for what is no bool."""
    checked: dict[str, bool] = {}
    for name, is_on in switches.items():
        if name not in METRICS:
            raise UsageError(name, f"there is no metric {name!r}; there are {', '.join(METRICS)}.")
        if not isinstance(is_on, bool):
            raise TypeError(f"{name} must be True or False, not {is_on!r}.")
        checked[name] = is_on
    return checked
