"""One file per thing measured, and which of them this machine has.

A package adds a probe by an entry point in the group `fedsight.probes`: its name, and the class (a `Probe`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from fedsight.errors import UsageError
from fedsight.monitor.probes.probe import Probe, Target, Unavailable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "fedsight.probes"

BUILT_IN = {
    "cpu": "cpu:CpuProbe",
    "memory": "memory:MemoryProbe",
    "network": "network:NetworkProbe",
    "disk": "disk:DiskProbe",
    "descriptors": "descriptors:DescriptorsProbe",
    "context_switches": "context_switches:ContextSwitchesProbe",
    "pressure": "pressure:PressureProbe",
    "container": "container:ContainerProbe",
    "python": "python:PythonProbe",
    "gpu_nvidia": "gpu_nvidia:NvidiaGpuProbe",
    "gpu_amd": "gpu_amd:AmdGpuProbe",
    "jetson": "jetson:JetsonProbe",
    "rapl": "rapl:RaplProbe",
    "battery": "battery:BatteryProbe",
    "temperature": "temperature:TemperatureProbe",
}
"""Each probe's module here and its class, imported when asked for."""


def open_probes(target: Target, names: Iterable[str] | None = None) -> tuple[list[Probe], dict[str, str]]:
    """Open the probes of these names, or all there are; and why the others of them can't measure here.

    Call it in the thread or process that reads them; counters count from here. Raises `UsageError` for a name that no
    probe has, `ProcessLookupError` where the target is gone.
    """
    if isinstance(names, str):
        raise UsageError("names", f"names must be a list of probes' names, not {names!r}.")
    wanted = None if names is None else list(dict.fromkeys(names))
    others = {} if wanted is not None and BUILT_IN.keys() >= set(wanted) else _third_party()
    opened: list[Probe] = []
    unavailable: dict[str, str] = {}
    for name in [*BUILT_IN, *others] if wanted is None else wanted:
        if name not in BUILT_IN and name not in others:
            close_probes(opened)
            raise UsageError("names", f"There is no probe {name!r}; there are {', '.join([*BUILT_IN, *others])}.")
        try:
            opened.append(_built_in(name)(target) if name in BUILT_IN else others[name].load()(target))
        except ProcessLookupError:
            close_probes(opened)
            raise
        except Unavailable as error:
            unavailable[name] = str(error)
        except Exception as error:  # whatever a probe stumbles over, the others measure on
            unavailable[name] = f"{type(error).__name__}: {error}"
    return opened, unavailable


def close_probes(probes: Iterable[Probe]) -> None:
    """Close them all."""
    for probe in probes:
        probe.close()


def _built_in(name: str) -> Callable[[Target], Probe]:
    module, _, attribute = BUILT_IN[name].partition(":")
    probe: Callable[[Target], Probe] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return probe


@cache
def _third_party() -> dict[str, EntryPoint]:
    """The probes of other packages, by name; ours can't be replaced."""
    from importlib.metadata import entry_points  # slow to import

    return {each.name: each for each in entry_points(group=ENTRY_POINTS) if each.name not in BUILT_IN}
