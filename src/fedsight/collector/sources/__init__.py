"""Sources: one file each. This is the list of their kinds; a kind's module is imported when one is configured."""

from __future__ import annotations

import importlib

import msgspec

from fedsight.collector.sources.source import Source, SourceConfig
from fedsight.errors import MissingExtra

KINDS: dict[str, tuple[str, str, str]] = {
    "fl_server": ("fl_server", "FLServer", "FLServerConfig"),
    "policy": ("policy", "PolicyEngine", "PolicyConfig"),
    "onos": ("onos", "OnosSource", "OnosConfig"),
    "ofctl": ("ofctl", "OfctlSource", "OfctlConfig"),
    "ovs": ("ovs", "OvsSource", "OvsConfig"),
    "prometheus": ("openmetrics", "PrometheusSource", "PrometheusConfig"),
    "reach": ("reach", "ReachSource", "ReachConfig"),
}
"""Kind in the configuration → its module here, the class of the source, the class of its configuration."""


class Kind(msgspec.Struct):
    """What makes sources of one kind."""

    source: type[Source]
    config: type[SourceConfig]


def load(kind: str) -> Kind:
    """The classes of a kind in `KINDS`. Raises `MissingExtra` where a package that it needs is not installed."""
    module_name, source, config = KINDS[kind]
    try:
        module = importlib.import_module(f"{__name__}.{module_name}")
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or kind, "collector") from error
    return Kind(getattr(module, source), getattr(module, config))
