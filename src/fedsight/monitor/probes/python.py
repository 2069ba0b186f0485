"""Python's own: garbage collections, how long they stopped the program, threads.

Python tells these only to code in the same process (`gc.callbacks`), so only a monitor that runs as a thread of the
measured program has them.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import ClassVar

from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_GENERATIONS = range(len(gc.get_stats()))
_COLLECTIONS = [key("cpython.gc.collections", cpython_gc_generation=str(each)) for each in _GENERATIONS]
_COLLECTED = [key("cpython.gc.collected_objects", cpython_gc_generation=str(each)) for each in _GENERATIONS]


class PythonProbe:
    """Garbage collection and threads of the interpreter that this runs in."""

    name: ClassVar[str] = "python"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("cpython.gc.collections", "{collection}", "counter", "Garbage collections, by generation"),
        MetricInfo("cpython.gc.collected_objects", "{object}", "counter", "Objects collected, by generation"),
        MetricInfo("fedsight.python.gc.pause.time", "s", "counter", "Time the program stood still for collections"),
        MetricInfo("fedsight.python.gc.pause.longest", "s", "gauge", "Longest collection since the last sample"),
        MetricInfo("fedsight.python.thread.count", "{thread}", "gauge", "Threads that Python knows of"),
    )

    def __init__(self, target: Target) -> None:
        if target.pid != os.getpid():
            raise Unavailable(
                "Garbage collections can be measured only from within the program; use the monitor's thread form."
            )
        self._began_sec = self._pause_sec = self._longest_sec = 0.0
        self._start = gc.get_stats()
        gc.callbacks.append(self._on_gc)

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_sec = time.perf_counter()
        elif self._began_sec:
            pause_sec = time.perf_counter() - self._began_sec
            self._pause_sec += pause_sec
            self._longest_sec = max(self._longest_sec, pause_sec)

    def read(self, values: dict[str, float]) -> None:
        """Counts since the start; the longest pause is left out where there was none since the last sample."""
        stats = zip(gc.get_stats(), self._start, strict=True)
        for (now, start), collections, collected in zip(stats, _COLLECTIONS, _COLLECTED, strict=True):
            values[collections] = now["collections"] - start["collections"]
            values[collected] = now["collected"] - start["collected"]
        values["fedsight.python.gc.pause.time"] = self._pause_sec
        if self._longest_sec:
            values["fedsight.python.gc.pause.longest"] = self._longest_sec
            self._longest_sec = 0.0
        values["fedsight.python.thread.count"] = threading.active_count()

    def close(self) -> None:
        """No longer be told of collections."""
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
