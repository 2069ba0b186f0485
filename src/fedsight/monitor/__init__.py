"""What a training costs the machine it runs on.

    from fedsight.monitor.process_monitor import FileMonitor

    with FileMonitor("log.txt", interval=5) as monitor:
        train()
    print(monitor.summary())

`process_monitor` measures from a child process, `thread_monitor` from a thread; each has a
`FileMonitor`, a `PrometheusMonitor` and a `RemoteMonitor`. `Monitor` is what they all are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsight.monitor.monitor import Monitor

__all__ = ["Monitor"]


def __getattr__(name: str) -> Any:
    """Imported when asked for: the child process needs the sampler alone, and not what starts child processes."""
    if name == "Monitor":
        from fedsight.monitor.monitor import Monitor

        return Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
