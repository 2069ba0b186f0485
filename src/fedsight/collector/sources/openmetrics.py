"""Any endpoint that speaks Prometheus text or OpenMetrics; Faucet, Gauge and snmp_exporter as networks, the rest as it is."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar
from urllib.parse import urlsplit

import anyio.to_thread
import msgspec
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from fedsight.collector.sources import openmetrics_ports
from fedsight.collector.sources.counters import RateMeter, count
from fedsight.collector.sources.network import Network, NetworkConfig
from fedsight.collector.sources.source import Polled, SourceDown, Web
from fedsight.events import Event, Sample

MAX_LABEL_CHARACTERS = 200

MAX_LINE_CHARACTERS = 16_384
"""A longer line is refused: the parsers' time grows with its square (a mebibyte of labels takes ten seconds)."""

_BARE_COUNTER = re.compile(r"^# +TYPE +(\S+)(?<!_total) +counter *$", re.MULTILINE)


class PrometheusConfig(NetworkConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """url: of the text, its path included ("http://127.0.0.1:9100/metrics").

    metrics: which series are kept, by name ("node_*"); all where none is named. rate_of: series that count up, whatever
    their type line says; `<name>_per_sec` comes along with them. max_series: a longer answer is refused as a whole.
    node: under which name the series stand; host and port of `url`, as in Prometheus, where none is given. device: the id of what snmp_exporter asks.
    refresh_sec: how often the target takes its numbers (Gauge's `interval`); the same ones again within it say nothing.
    """

    metrics: tuple[str, ...] = ()
    rate_of: tuple[str, ...] = ()
    max_series: int = 10_000
    node: str | None = None
    device: str | None = None
    refresh_sec: float = 0.0
    window_sec: float = 30.0


class Series(msgspec.Struct):
    """One line of the text."""

    name: str
    labels: dict[str, str]
    value: float


class PrometheusSource:
    """One endpoint."""

    kind: ClassVar[str] = "prometheus"

    def __init__(self, config: PrometheusConfig) -> None:
        self.config = config
        self._network = Network(config, config.refresh_sec)
        self._meter = RateMeter(config.window_sec, config.refresh_sec, config.counter_bits == 32)
        self._is_network = False

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Fetch and read the text. Raises `SourceDown` where it is none, or longer than `max_series`."""
        text = await web.text(self.config.url)
        ts, now_sec = time.time(), time.monotonic()
        # In a thread: a long text takes a while, and the collector has others to serve. It is waited for even where it is
        # late: what is given up goes on all the same, and the next poll would begin another one beside it.
        series = await anyio.to_thread.run_sync(parse, text, self.config.max_series)
        events: list[Event] = []
        seen = openmetrics_ports.seen(series, self.config.device or self.config.name, self.config.flows)
        if seen is not None or self._is_network:
            self._is_network = True
            events += self._network.tell(seen or openmetrics_ports.nothing(), ts, now_sec)
        kept = [one for one in series if not openmetrics_ports.is_mapped(one.name) and self._is_kept(one.name)]
        metrics = {key(one.name, one.labels): one.value for one in kept}
        metrics |= self._rates(kept, now_sec)
        if metrics:
            events.append(
                Sample(
                    ts=ts, node=self.config.node or urlsplit(self.config.url).netloc.rpartition("@")[2], metrics=metrics
                )
            )
        return Polled(events=events)

    def _is_kept(self, name: str) -> bool:
        return not self.config.metrics or any(fnmatchcase(name, pattern) for pattern in self.config.metrics)

    def _rates(self, series: list[Series], now_sec: float) -> dict[str, float]:
        rates = {}
        taken = set()
        for one in series:
            if any(fnmatchcase(one.name, pattern) for pattern in self.config.rate_of):
                full = key(one.name, one.labels)
                taken.add(full)
                found = self._meter.take(full, {"value": count(one.value)}, now_sec)
                if found is not None and "value" in found.per_sec:
                    rates[key(f"{one.name}_per_sec", one.labels)] = found.per_sec["value"]
        self._meter.keep_only(taken)
        return rates


def key(name: str, labels: Mapping[str, str]) -> str:
    """The key of a sample: `name{label=value,…}`; what would break it in a value is written as %2C, %3D, %7B, %7D, %25."""
    if not labels:
        return name
    return f"{name}{{{','.join(f'{label}={_escaped(value)}' for label, value in sorted(labels.items()))}}}"


def _escaped(value: str) -> str:
    for character in "%,={}":
        value = value.replace(character, f"%{ord(character):02X}")
    return value[:MAX_LABEL_CHARACTERS]


def parse(text: str, max_series: int) -> list[Series]:
    """All series of a text. OpenMetrics where it ends as that must (`# EOF`).

    Time stamps in the text are not used: a target's clock may be anything. Raises `SourceDown`.
    """
    _check_size(text, max_series)
    is_openmetrics = text.rstrip().endswith("# EOF")
    try:
        families: Iterable[Any] = (
            openmetrics_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
            if is_openmetrics
            else text_string_to_metric_families(text)
        )
        # The parser adds "_total" to counters without it, as OpenMetrics has them; names are kept as the target writes them.
        bare = set() if is_openmetrics else {f"{name}_total" for name in _BARE_COUNTER.findall(text)}
        found: list[Series] = []
        for family in families:
            for sample in family.samples:
                name = sample.name.removesuffix("_total") if sample.name in bare else sample.name
                found.append(Series(name, dict(sample.labels), float(sample.value)))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        # The parsers raise whatever their code runs into.
        raise SourceDown(f"no Prometheus text: {type(error).__name__}: {str(error)[:200]}") from error
    if not found and text.strip() and not text.lstrip().startswith("#"):
        raise SourceDown("no Prometheus text: not one series in it")
    return found


def _check_size(text: str, max_series: int) -> None:
    """Before the parsers, which take whatever they are given, see it. Raises `SourceDown`."""
    num_series = 0
    for line in text.split("\n"):
        if len(line) > MAX_LINE_CHARACTERS:
            raise SourceDown(f"no Prometheus text: a line of {len(line)} characters")
        num_series += line[:1] not in ("", "#")
        if num_series > max_series:
            raise SourceDown(f"more than {max_series} series (max_series)")
