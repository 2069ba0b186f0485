"""Prometheus text from anywhere; Faucet and Gauge as captured from 1.10.12; snmp_exporter's IF-MIB."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from collector.sources.replay import Replay, logged, metrics, nodes, poll, replaying, topology
from fedsight.collector.sources.openmetrics import PrometheusConfig, PrometheusSource, key
from fedsight.collector.sources.source import SourceDown

S1 = "of:0000000000000001"
RECEIVED = "network.io{direction=receive}"


@pytest.fixture
def target() -> Iterator[Replay]:
    with replaying() as replay:
        yield replay


def source(target: Replay, **options: object) -> PrometheusSource:
    return PrometheusSource(PrometheusConfig(name="scrape", url=f"{target.url}/metrics", **options))  # type: ignore[arg-type]


def instance(target: Replay) -> str:
    return target.url.removeprefix("http://")


# ── any target ────────────────────────────────────────────────────────────────────────────────


def test_every_series_is_a_metric_of_the_targets_node(target: Replay) -> None:
    target.answer("/metrics", '# TYPE load gauge\nload 0.5\nrequests_total{code="200",route="/a"} 7\n')
    events = poll(source(target))
    assert nodes(events) == {instance(target)}
    assert metrics(events, instance(target)) == {"load": 0.5, "requests_total{code=200,route=/a}": 7}


def test_a_counter_keeps_its_name_with_or_without_total(target: Replay) -> None:
    target.answer(
        "/metrics", "# TYPE a counter\na 1\n# TYPE b_total counter\nb_total 2\n# TYPE c histogram\nc_count 3\n"
    )
    assert metrics(poll(source(target)), instance(target)) == {"a": 1, "b_total": 2, "c_count": 3}


def test_nan_and_infinities_are_data(target: Replay) -> None:
    target.answer("/metrics", "a NaN\nb +Inf\nc -Inf\n")
    told = metrics(poll(source(target)), instance(target))
    assert math.isnan(told["a"])
    assert (told["b"], told["c"]) == (math.inf, -math.inf)


def test_openmetrics_is_read_as_that(target: Replay) -> None:
    target.answer("/metrics", '# TYPE calls counter\ncalls_total{a="x,y"} 3 # {trace_id="1"} 1\n# EOF\n')
    assert metrics(poll(source(target, node="gpu-7")), "gpu-7") == {"calls_total{a=x%2Cy}": 3}


def test_a_labels_value_can_not_break_the_key() -> None:
    assert key("m", {"b": "1=2,{x}%", "a": "ü"}) == "m{a=ü,b=1%3D2%2C%7Bx%7D%25}"
    assert len(key("m", {"a": "x" * 10_000})) < 300


def test_only_the_series_that_are_wanted_are_kept(target: Replay) -> None:
    target.answer("/metrics", "node_load1 1\nnode_load5 2\ngo_threads 9\n")
    assert metrics(poll(source(target, metrics=("node_*",))), instance(target)) == {"node_load1": 1, "node_load5": 2}


def test_a_rate_is_given_of_what_is_said_to_count_whatever_its_type_line_says(target: Replay) -> None:
    asked = source(target, rate_of=("served",), window_sec=0)
    target.answer("/metrics", '# TYPE served gauge\nserved{to="a"} 10\nother_total 1\n')
    assert "served_per_sec{to=a}" not in metrics(poll(asked), instance(target))
    target.answer("/metrics", '# TYPE served gauge\nserved{to="a"} 20\nother_total 2\n')
    told = metrics(poll(asked), instance(target))
    assert told["served_per_sec{to=a}"] > 0
    assert "other_total_per_sec" not in told


def test_a_targets_own_clock_is_not_trusted(target: Replay) -> None:
    target.answer("/metrics", "a 1 1000\n")
    (sample,) = poll(source(target))
    assert sample.ts > 1.7e9


@pytest.mark.parametrize(
    "text",
    [
        "<html>\n<h1>Login</h1></html>",
        '{"status": "up"}',
        "a b c d e\n",
        "a{b=c} 1\n",
        'a{b="c} 1\n',
        "# TYPE a\na x\n",
    ],
)
def test_what_is_no_prometheus_text_is_reported(target: Replay, text: str) -> None:
    target.answer("/metrics", text)
    with pytest.raises(SourceDown, match="no Prometheus text"):
        poll(source(target))


def test_too_many_series_are_refused_as_a_whole(target: Replay) -> None:
    target.answer("/metrics", "".join(f'a{{n="{n}"}} 1\n' for n in range(11)))
    with pytest.raises(SourceDown, match="more than 10 series"):
        poll(source(target, max_series=10))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    ["a{" + ",".join(f'b{n}=""' for n in range(400_000)) + "} 1\n", "a 1\n" * 2_000_000],
    ids=["one line", "one series again and again"],
)
def test_a_text_that_would_take_minutes_to_read_is_refused_at_once(target: Replay, text: str) -> None:
    target.answer("/metrics", text)
    with pytest.raises(SourceDown, match=r"a line of|more than"):
        poll(source(target))


def test_an_empty_text_is_no_error(target: Replay) -> None:
    target.answer("/metrics", "# HELP nothing yet\n")
    assert poll(source(target)) == []


# ── Faucet and Gauge ──────────────────────────────────────────────────────────────────────────


def test_gauges_counters_are_a_ports_counters(target: Replay) -> None:
    target.answer_file("/metrics", "faucet/gauge.prom")
    events = poll(source(target))
    assert metrics(events, f"{S1}/h1") == {
        RECEIVED: 1454,
        "network.io{direction=transmit}": 1328,
        "network.packets{direction=receive}": 19,
        "network.packets{direction=transmit}": 16,
        "rx_errors": 0,
        "tx_errors": 0,
        "rx_dropped": 0,
        "tx_dropped": 0,
        "up": 1,
        "speed_bps": 10e9,
    }
    assert metrics(events, "scrape")["flows"] == 22
    assert metrics(events, "scrape")["devices"] == 1
    assert "process_cpu_seconds_total" in metrics(events, instance(target))
    assert not [name for name in metrics(events, instance(target)) if name.startswith(("of_port", "flow_"))]


def test_faucet_tells_of_devices_ports_and_hosts(target: Replay) -> None:
    target.answer_file("/metrics", "faucet/faucet.prom")
    events = poll(source(target))
    assert topology(events).devices == [{"id": S1, "name": "sw1", "up": True}]
    assert {(host["mac"], host["port"]) for host in topology(events).hosts} == {
        ("d6:fc:4d:43:7d:73", "1"),
        ("9e:c5:6e:70:28:ee", "2"),
    }
    assert metrics(events, f"{S1}/h1")["up"] == 1
    # Faucet's text says nothing of links.
    assert "links" not in metrics(events, "scrape")


def test_a_rate_over_gauges_counters(target: Replay) -> None:
    asked = source(target, window_sec=0)
    target.answer_file("/metrics", "faucet/gauge.prom")
    text = target.answers["/metrics"].decode()
    assert "rx_bps" not in metrics(poll(asked), f"{S1}/h1")
    line = 'of_port_rx_bytes{dp_id="0x1",dp_name="sw1",port="h1",port_description="h1"}'
    target.answer("/metrics", text.replace(f"{line} 1454.0", f"{line} 2454.0"))
    told = metrics(poll(asked), f"{S1}/h1")
    assert told["rx_bps"] == pytest.approx(8000 / told["interval_sec"])
    assert told["tx_bps"] == 0


def test_a_switch_that_gauge_lost_is_down_and_its_last_counters_are_not_told(target: Replay) -> None:
    asked = source(target)
    target.answer_file("/metrics", "faucet/gauge.prom")
    poll(asked)
    target.answer("/metrics", target.answers["/metrics"].decode().replace('dp_name="sw1"} 1.0', 'dp_name="sw1"} 0.0'))
    events = poll(asked)
    assert logged(events) == ["device_down"]
    assert f"{S1}/h1" not in nodes(events)
    assert metrics(events, "scrape")["devices"] == 0


# ── snmp_exporter ─────────────────────────────────────────────────────────────────────────────

SNMP = """# TYPE sysUpTime gauge
sysUpTime {uptime}
# TYPE ifHCInOctets counter
ifHCInOctets{{ifDescr="eth0",ifIndex="1",ifName="ge-0/0/1"}} {received}
ifHCOutOctets{{ifDescr="eth0",ifIndex="1",ifName="ge-0/0/1"}} 1000
ifInOctets{{ifDescr="eth0",ifIndex="1",ifName="ge-0/0/1"}} 77
ifInErrors{{ifDescr="eth0",ifIndex="1",ifName="ge-0/0/1"}} 3
ifOperStatus{{ifDescr="eth0",ifIndex="1",ifName="ge-0/0/1"}} {status}
ifHighSpeed{{ifDescr="eth0",ifIndex="1",ifName="ge-0/0/1"}} 1000
ifInOctets{{ifDescr="old",ifIndex="2"}} {narrow}
ifOperStatus{{ifDescr="old",ifIndex="2"}} 1
"""


def snmp(uptime: int, received: int = 0, status: int = 1, narrow: int = 0) -> str:
    return SNMP.format(uptime=uptime, received=received, status=status, narrow=narrow)


def test_snmps_wide_counters_win_and_sysuptime_is_the_clock(target: Replay) -> None:
    asked = source(target, device="core-1", window_sec=0)
    target.answer("/metrics", snmp(100_000, received=2**40))
    poll(asked)
    target.answer("/metrics", snmp(101_000, received=2**40 + 12_500_000))
    port = metrics(poll(asked), "core-1/ge-0/0/1")
    assert port["rx_bps"] == 10e6
    assert port["utilization"] == 0.01
    assert port["interval_sec"] == 10


def test_a_narrow_counter_of_snmp_wraps_and_a_reboot_is_no_wrap(target: Replay) -> None:
    asked = source(target, device="core-1", window_sec=0)
    target.answer("/metrics", snmp(100_000, narrow=2**32 - 1000))
    poll(asked)
    target.answer("/metrics", snmp(101_000, narrow=250))
    assert metrics(poll(asked), "core-1/old")["rx_bps"] == 1000
    target.answer("/metrics", snmp(500, narrow=100))
    assert "rx_bps" not in metrics(poll(asked), "core-1/old")


def test_an_interface_that_goes_down_is_told(target: Replay) -> None:
    asked = source(target)
    target.answer("/metrics", snmp(100_000))
    poll(asked)
    target.answer("/metrics", snmp(101_000, status=2))
    events = poll(asked)
    assert logged(events) == ["port_down"]
    assert metrics(events, "scrape/ge-0/0/1")["up"] == 0


def test_a_target_that_no_longer_tells_of_its_network_has_it_down(target: Replay) -> None:
    asked = source(target)
    target.answer_file("/metrics", "faucet/faucet.prom")
    poll(asked)
    target.answer("/metrics", "up 1\n")
    assert logged(poll(asked)) == ["device_down"]
