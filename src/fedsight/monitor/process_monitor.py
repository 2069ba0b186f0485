"""Monitors that measure from a child process: it does not share the training's interpreter, nor wait for it."""

from fedsight.monitor.monitors import FileMonitor, PrometheusMonitor, RemoteMonitor

__all__ = ["FileMonitor", "PrometheusMonitor", "RemoteMonitor"]
