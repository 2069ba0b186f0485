"""Garbage collections of the interpreter that the probe runs in."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from fedsight.monitor.probes.probe import Target, Unavailable
from fedsight.monitor.probes.python import PythonProbe


def test_collections_and_their_pauses_are_counted_from_the_start():
    gc.collect()
    probe = PythonProbe(Target(os.getpid()))
    values: dict[str, float] = {}
    probe.read(values)
    assert values["cpython.gc.collections{cpython.gc.generation=2}"] == 0
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    gc.collect()
    probe.read(values)
    assert values["cpython.gc.collections{cpython.gc.generation=2}"] == 1
    assert values["cpython.gc.collected_objects{cpython.gc.generation=2}"] >= 1
    assert values["fedsight.python.gc.pause.time"] >= values["fedsight.python.gc.pause.longest"] > 0
    assert values["fedsight.python.thread.count"] == threading.active_count()
    again: dict[str, float] = {}
    gc.disable()
    try:
        probe.read(again)
        assert "fedsight.python.gc.pause.longest" not in again
    finally:
        gc.enable()
    before = len(gc.callbacks)
    probe.close()
    probe.close()
    assert len(gc.callbacks) == before - 1


def test_another_process_cannot_be_asked():
    with pytest.raises(Unavailable, match="thread form"):
        PythonProbe(Target(os.getppid()))
