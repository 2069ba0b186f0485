"""The endpoint that Prometheus scrapes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from typing import Any

import pytest
from collector_process import free_port, wait_until

from fedsight import UsageError
from fedsight.monitor import process_monitor, thread_monitor
from fedsight.monitor.exposition import prometheus_name, render
from fedsight.monitor.probes.probe import MetricInfo
from fedsight.monitor.prometheus import PrometheusEndpoint
from fedsight.monitor.sampler import Reading


@pytest.fixture(params=["process", "thread"])
def prometheus_monitor(request: pytest.FixtureRequest) -> Any:
    return (process_monitor if request.param == "process" else thread_monitor).PrometheusMonitor


def scrape(port: int | None, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return response.read().decode()  # type: ignore[no-any-return]


def value_of(page: str, series: str) -> float:
    (value,) = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(series + " ")]
    return float(value)


def burn(num: int) -> None:
    for _ in range(num):
        sum(range(10_000))


def test_a_scrape_has_standard_names_and_heflwrs(prometheus_monitor: Any) -> None:
    with prometheus_monitor(port=0, interval=0.05) as monitor:
        burn(200)
        wait_until(lambda: "cpu_usage " in scrape(monitor.port))
        page = scrape(monitor.port)
    assert value_of(page, "process_cpu_seconds_total") > 0
    assert value_of(page, "process_resident_memory_bytes") > 1e6
    assert value_of(page, "cpu_usage") >= 0
    assert value_of(page, "memory_usage") > 0
    assert value_of(page, "bytes_sent") >= 0
    assert value_of(page, "bytes_recv") >= 0
    assert value_of(page, "fedsight_monitor_cpu_time_seconds_total") > 0
    assert "vdd_in" not in page, "a power that is not measured is not 0"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_complain_about(prometheus_monitor: Any) -> None:
    probes = ["disk", "descriptors", "context_switches", "pressure", "container", "python", "temperature", "battery"]
    with prometheus_monitor(port=0, interval=0.05, probes=probes, run_id="exp", client_id='a "b"\\') as monitor:
        wait_until(lambda: "cpu_usage" in scrape(monitor.port))
        page = scrape(monitor.port)
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_counter_grows_between_scrapes_and_none_goes_back(prometheus_monitor: Any) -> None:
    with prometheus_monitor(port=0, interval=0.02) as monitor:
        first = value_of(scrape(monitor.port), "process_cpu_seconds_total")
        burn(200)
        wait_until(lambda: value_of(scrape(monitor.port), "process_cpu_seconds_total") > first)


def test_the_endpoint_closes_with_the_stop_and_comes_back_with_the_start(prometheus_monitor: Any) -> None:
    port = free_port()
    monitor = prometheus_monitor(port=port)
    for _ in range(2):
        monitor.start()
        assert "process_resident_memory_bytes" in scrape(port)
        monitor.stop()
        with pytest.raises(urllib.error.URLError):
            scrape(port)


def test_it_listens_to_this_machine_alone_unless_told_otherwise(prometheus_monitor: Any) -> None:
    with prometheus_monitor(port=0) as monitor, pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", monitor.port), timeout=1)
    with prometheus_monitor(port=0, addr="0.0.0.0") as monitor:
        socket.create_connection(("127.0.0.2", monitor.port), timeout=1).close()


def test_a_port_in_use_is_said_at_the_start_and_nothing_runs(prometheus_monitor: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monitor = prometheus_monitor(port=port)
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 can't be had") as refusal:
            monitor.start()
    assert refusal.value.field == "port"
    assert monitor.status == "new"
    with monitor:
        assert scrape(port)


def test_several_on_one_machine_have_a_page_each(prometheus_monitor: Any) -> None:
    with prometheus_monitor(port=0, client_id="a") as one, prometheus_monitor(port=0, client_id="b") as other:
        assert 'client_id="a"' in scrape(one.port)
        assert 'client_id="a"' not in scrape(other.port)


@pytest.mark.parametrize("port", [-1, 65536, "8003", None, True])
def test_a_port_that_is_none_is_refused(prometheus_monitor: Any, port: Any) -> None:
    with pytest.raises(UsageError, match="port must be"):
        prometheus_monitor(port=port)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET /nowhere HTTP/1.1", b"404"), (b"POST /metrics HTTP/1.1", b"405"), (b"hello", b"400"), (b"\xff" * 99999, b"400")],
)  # fmt: skip
def test_other_requests_are_answered_as_such(request_line: bytes, status: bytes) -> None:
    endpoint = PrometheusEndpoint("127.0.0.1", 0, lambda: b"x 1\n")
    try:
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as client:
            client.sendall(request_line + b"\r\nHost: here\r\n\r\n")
            with contextlib.suppress(OSError):  # it may have answered and hung up already
                client.shutdown(socket.SHUT_WR)
            assert client.recv(100).split()[1] == status
        assert scrape(endpoint.port) == "x 1\n"
    finally:
        endpoint.close()


def test_a_client_that_says_nothing_holds_up_nobody_and_no_end() -> None:
    endpoint = PrometheusEndpoint("127.0.0.1", 0, lambda: b"x 1\n")
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10):
        assert scrape(endpoint.port) == "x 1\n"
        endpoint.close()


def test_a_forked_child_does_not_keep_the_port() -> None:
    monitor = thread_monitor.PrometheusMonitor(port=0)
    monitor.start()
    stays, ends = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ends)
        os.read(stays, 1)
        os._exit(0)
    port = monitor.port
    monitor.stop()
    assert port is not None
    try:
        with pytest.raises(urllib.error.URLError):
            scrape(port)
        thread_monitor.PrometheusMonitor(port=port).start()
    finally:
        os.close(ends)
        os.close(stays)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (MetricInfo("process.cpu.time", "s", "counter", ""), "process_cpu_time_seconds_total"),
        (MetricInfo("process.memory.usage", "By", "gauge", ""), "process_memory_usage_bytes"),
        (MetricInfo("hw.gpu.utilization", "1", "gauge", ""), "hw_gpu_utilization_ratio"),
        (MetricInfo("process.paging.faults", "{fault}", "counter", ""), "process_paging_faults_total"),
        (MetricInfo("process.thread.count", "{thread}", "gauge", ""), "process_threads"),
        (MetricInfo("system.cpu.logical.count", "{cpu}", "gauge", ""), "system_cpu_logical_cpus"),
        (MetricInfo("hw.energy", "J", "counter", ""), "hw_energy_joules_total"),
    ],
)
def test_opentelemetrys_names_are_translated_by_its_rules(info: MetricInfo, name: str) -> None:
    assert prometheus_name(info) == name


def test_labels_and_numbers_are_written_as_the_format_wants_them() -> None:
    reading = Reading(
        ts=0.0,
        elapsed_sec=0.0,
        interval_sec=None,
        values={'hw.temperature{hw.id=a"b\\}': float("nan"), "x.y": float("inf")},
    )
    infos = [MetricInfo("hw.temperature", "Cel", "gauge", "Of\nit"), MetricInfo("x.y", "", "gauge", "X")]
    assert render(reading, infos, {}).decode() == (
        "# HELP hw_temperature_celsius Of\\nit\n# TYPE hw_temperature_celsius gauge\n"
        'hw_temperature_celsius{hw_id="a\\"b\\\\"} NaN\n'
        "# HELP x_y X\n# TYPE x_y gauge\nx_y +Inf\n"
    )
