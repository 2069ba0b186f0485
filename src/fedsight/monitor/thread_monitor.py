"""Monitors that measure from a thread of the training: lighter, but it takes its turns with the training's threads."""

from __future__ import annotations

from typing import ClassVar

from fedsight.monitor import monitors
from fedsight.monitor.forms import FormName

__all__ = ["FileMonitor", "PrometheusMonitor", "RemoteMonitor"]


class FileMonitor(monitors.FileMonitor):
    """See `monitors.FileMonitor`."""

    form: ClassVar[FormName] = "thread"


class PrometheusMonitor(monitors.PrometheusMonitor):
    """See `monitors.PrometheusMonitor`."""

    form: ClassVar[FormName] = "thread"


class RemoteMonitor(monitors.RemoteMonitor):
    """See `monitors.RemoteMonitor`."""

    form: ClassVar[FormName] = "thread"
