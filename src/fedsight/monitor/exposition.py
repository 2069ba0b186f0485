"""A reading in Prometheus' text format: OpenTelemetry's names as its rules translate them, and the usual short ones.

Sources: the text exposition format 0.0.4; OpenTelemetry's "Prometheus and OpenMetrics
compatibility"; heflwr 0.1.91 for the last group.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import msgspec

from fedsight.monitor.probes.probe import MetricInfo, split_key
from fedsight.monitor.sampler import Reading

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_UNITS = {
    "s": "seconds", "By": "bytes", "W": "watts", "J": "joules", "V": "volts", "A": "amperes",
    "Hz": "hertz", "Cel": "celsius", "1": "ratio", "%": "percent",
}  # fmt: skip
_NOT_FINITE = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]+")

_USUAL = {
    "process.cpu.time": ("process_cpu_seconds_total", "counter", "CPU time of the process and its children."),
    "process.memory.usage": ("process_resident_memory_bytes", "gauge", "Resident memory of the process family."),
    "process.memory.virtual": ("process_virtual_memory_bytes", "gauge", "Virtual memory of the process family."),
    "process.unix.file_descriptor.count": ("process_open_fds", "gauge", "Open file descriptors."),
}
"""What client libraries call these; here of the monitored process, counted from the monitor's start."""

_HEFLWR = {
    "cpu_usage": ("cpu_pct", "CPU share of the whole machine over the last interval, in percent."),
    "memory_usage": ("memory_pct", "Resident memory as a share of the machine's, in percent."),
    "bytes_sent": ("bytes_sent", "Bytes that the machine sent in the last interval."),
    "bytes_recv": ("bytes_received", "Bytes that the machine received in the last interval."),
    "vdd_in": ("power_vdd_in_mw", "Input power of the module, in mW."),
    "vdd_cpu_gpu_cv": ("power_vdd_cpu_gpu_cv_mw", "Power of the CPU, GPU and CV rails, in mW."),
    "vdd_soc": ("power_vdd_soc_mw", "Power of the SOC rail, in mW."),
}


class _Family(msgspec.Struct):
    kind: str
    help: str
    lines: list[str] = []


def render(reading: Reading, infos: Iterable[MetricInfo], labels: Mapping[str, str]) -> bytes:
    """The page that a scrape gets. `labels` stand at every sample."""
    known = {info.name: info for info in infos}
    families: dict[str, _Family] = {}
    usual: dict[str, float] = {}
    for full_key, value in reading.values.items():
        name, attributes = split_key(full_key)
        if name in _USUAL:
            usual[name] = usual.get(name, 0.0) + value
        info = known.get(name) or MetricInfo(name, "", "gauge", "Told by a probe without a description")
        family = families.setdefault(prometheus_name(info), _Family(info.instrument, info.description))
        family.lines.append(_labels({**labels, **attributes}) + _number(value))
    for name, value in usual.items():
        short, kind, text = _USUAL[name]
        families.setdefault(short, _Family(kind, text)).lines.append(_labels(labels) + _number(value))
    for short, (figure, text) in _HEFLWR.items():
        if figure in reading.figures:
            family = families.setdefault(short, _Family("gauge", text))
            family.lines.append(_labels(labels) + _number(reading.figures[figure]))
    page: list[str] = []
    for name, family in families.items():
        page.append(f"# HELP {name} {_escaped(family.help)}\n# TYPE {name} {family.kind}\n")
        page += [f"{name}{line}\n" for line in family.lines]
    return "".join(page).encode()


def prometheus_name(info: MetricInfo) -> str:
    """`process.cpu.time` in seconds, a counter, is `process_cpu_time_seconds_total`."""
    name = _NOT_IN_A_NAME.sub("_", info.name)
    if name.endswith("_count"):  # which Prometheus keeps for histograms: thread.count is its `threads`
        noun = info.unit.strip("{}")
        name = name.removesuffix("_count").removesuffix("_" + noun) + "_" + noun + ("es" if noun[-1:] == "s" else "s")
    unit = _UNITS.get(info.unit, "")
    if unit == "ratio" and info.instrument == "counter":
        unit = ""
    if unit and not name.endswith("_" + unit):
        name += "_" + unit
    return name + "_total" if info.instrument == "counter" else name


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{_NOT_IN_A_NAME.sub("_", k)}="{_escaped(v, quoted=True)}"' for k, v in labels.items()) + "}"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text


def _number(value: float) -> str:
    return " " + (repr(float(value)) if math.isfinite(value) else _NOT_FINITE[str(float(value))])
