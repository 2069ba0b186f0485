"""What OpenTelemetry's own SDK exports arrives as samples; what is no OTLP is refused with the reason."""

from __future__ import annotations

import gzip
import json
import math
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from collector.harness import Collector, Process
from fedsight.collector.otlp import nodes_of
from fedsight.events import Sample
from fedsight.journal import list_journals, read_header
from recorded import of_type

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


def a_request(*metrics: dict[str, Any], **resource: str) -> ExportMetricsServiceRequest:
    attributes = [{"key": name.replace("_", "."), "value": {"stringValue": text}} for name, text in resource.items()]
    told = {
        "resourceMetrics": [
            {
                "resource": {"attributes": attributes},
                "scopeMetrics": [{"scope": {"name": "t"}, "metrics": list(metrics)}],
            }
        ]
    }
    request: ExportMetricsServiceRequest = json_format.ParseDict(told, ExportMetricsServiceRequest())
    return request


def gauge(name: str, value: float, ts: float = 1_700_000_000.5, **attributes: str) -> dict[str, Any]:
    told = [{"key": key, "value": {"stringValue": text}} for key, text in attributes.items()]
    point = {"asDouble": "NaN" if math.isnan(value) else value, "timeUnixNano": str(int(ts * 1e9)), "attributes": told}
    return {"name": name, "gauge": {"dataPoints": [point]}}


def samples(collector: Collector) -> list[Sample]:
    return [
        sample
        for path in list_journals(collector.data / "journals")
        if path.name.startswith("monitor-")
        for sample in of_type(path, Sample)
    ]


def test_an_application_with_the_sdk_is_heard(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        exporter = OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics", compression=Compression.Gzip)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
        resource = Resource({"service.name": "trainer", "host.name": "edge-7"})
        provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = provider.get_meter("test")
        began = time.time()
        meter.create_counter("http.requests").add(3, {"code": 200, "path": "/a,b"})
        meter.create_up_down_counter("queue.size").add(-2)
        meter.create_histogram("latency", unit="s").record(0.5)
        assert provider.force_flush(10_000)
        provider.shutdown(10_000)
        collector.settled()
        [node] = collector.get("/api/v1/nodes")["columns"]["node"]
        told = samples(collector)
    assert node == "trainer@edge-7"
    assert {sample.node for sample in told} == {"trainer@edge-7"}
    assert all(began <= sample.ts <= time.time() for sample in told)
    assert {key: value for sample in told for key, value in sample.metrics.items()} == {
        "http.requests{code=200,path=/a%2Cb}": 3.0,
        "queue.size": -2.0,
        "latency.count": 1.0,
        "latency.sum": 0.5,
        "latency.min": 0.5,
        "latency.max": 0.5,
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("is_json", [False, True])
def test_protobuf_and_json_packed_or_not_say_the_same(tmp_path: Path, is_json: bool, packed: bool) -> None:
    request = a_request(gauge("cpu", 0.5, core="1"), gauge("cpu", float("nan"), core="2"), host_name="h")
    body = json_format.MessageToJson(request).encode() if is_json else request.SerializeToString()
    headers = {**(JSON if is_json else PROTOBUF), **({"content-encoding": "gzip"} if packed else {})}
    with Collector(tmp_path) as collector:
        answer = collector.http.post("/v1/metrics", content=gzip.compress(body) if packed else body, headers=headers)
        [sample] = samples(collector)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == headers["content-type"]
    assert answer.content == (b"{}" if is_json else b"")
    assert (sample.node, sample.ts, sample.metrics["cpu{core=1}"]) == ("h", 1_700_000_000.5, 0.5)
    assert sample.metrics["cpu{core=2}"] != sample.metrics["cpu{core=2}"]


def test_every_kind_of_point_is_understood() -> None:
    ts = "1700000000000000000"
    request = a_request(
        {"name": "int", "sum": {"dataPoints": [{"asInt": str(1 << 62), "timeUnixNano": ts}]}},
        {"name": "none", "gauge": {"dataPoints": [{"flags": 1, "timeUnixNano": ts}]}},
        {"name": "unset", "gauge": {"dataPoints": [{"timeUnixNano": ts}]}},
        {"name": "h", "histogram": {"dataPoints": [{"count": "3", "bucketCounts": ["1", "2"], "timeUnixNano": ts}]}},
        {"name": "e", "exponentialHistogram": {"dataPoints": [{"count": "2", "sum": 5.0, "timeUnixNano": ts}]}},
        {
            "name": "s",
            "summary": {
                "dataPoints": [
                    {"count": "4", "sum": 8.0, "timeUnixNano": ts, "quantileValues": [{"quantile": 0.99, "value": 3.0}]}
                ]
            },
        },
        service_name="svc",
    )
    [node] = nodes_of(request.SerializeToString(), is_json=False)
    [sample] = node.samples
    assert sample.metrics == {
        "int": float(1 << 62),
        "h.count": 3.0,
        "e.count": 2.0,
        "e.sum": 5.0,
        "s.count": 4.0,
        "s.sum": 8.0,
        "s{quantile=0.99}": 3.0,
    }
    assert (node.num_points, node.num_rejected) == (6, 0)


def test_a_point_without_a_time_has_the_time_of_its_arrival() -> None:
    before = time.time()
    [node] = nodes_of(a_request(gauge("a", 1.0, ts=0.0)).SerializeToString(), is_json=False)
    assert before <= node.samples[0].ts <= time.time()
    assert node.name == "unknown_service"


def test_points_of_one_instant_stand_in_one_sample_and_very_many_in_several() -> None:
    request = a_request(*(gauge(f"m{n}", n) for n in range(1_200)), gauge("later", 1.0, ts=1_700_000_001.0))
    [node] = nodes_of(request.SerializeToString(), is_json=False)
    assert [len(sample.metrics) for sample in node.samples] == [500, 500, 200, 1]


def test_names_that_are_too_long_are_rejected_and_counted_the_rest_is_kept(tmp_path: Path) -> None:
    request = a_request(gauge("x" * 600, 1.0), gauge("ok", 2.0))
    with Collector(tmp_path) as collector:
        answer = collector.http.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)
        as_json = collector.http.post("/v1/metrics", content=json_format.MessageToJson(request), headers=JSON).json()
        told = samples(collector)
    partial = ExportMetricsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_data_points) == (200, 1)
    assert "too long" in partial.error_message
    assert as_json["partialSuccess"]["rejectedDataPoints"] == "1"
    assert [sample.metrics for sample in told] == [{"ok": 2.0}] * 2


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400, b"no OTLP"),
        (b"[1]", JSON, 400, b"no OTLP"),
        (b"{", JSON, 400, b"no OTLP"),
        (b'{"resourceMetrics": 3}', JSON, 400, b"no OTLP"),
        (b"{" * 5000, JSON, 400, b"no OTLP"),
        (b"", {"content-type": "text/plain"}, 415, b"text/plain"),
        (b"x", {**PROTOBUF, "content-encoding": "gzip"}, 400, b"gzip"),
        (b"x", {**PROTOBUF, "content-encoding": "br"}, 415, b"br"),
        (gzip.compress(bytes(40 << 20)), {**PROTOBUF, "content-encoding": "gzip"}, 413, b"unpacks"),
        (bytes(5 << 20), PROTOBUF, 413, b""),
    ],
)
def test_what_is_no_otlp_is_refused_with_the_reason(
    shared: Collector, body: bytes, headers: dict[str, str], status: int, reason: bytes
) -> None:
    answer = shared.http.post("/v1/metrics", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert reason in answer.content
    assert samples(shared) == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Collector(tmp_path_factory.mktemp("collector")) as collector:
        yield collector


def test_faults_are_told_in_the_senders_own_format(shared: Collector) -> None:
    assert shared.http.post("/v1/metrics", content=b"{", headers=JSON).json()["code"] == 3
    told = shared.http.post("/v1/metrics", content=b"\xff", headers=PROTOBUF)
    assert told.headers["content-type"] == "application/x-protobuf"
    assert told.content[:3] == b"\x08\x03\x12"  # code: INVALID_ARGUMENT, then the message


def test_a_page_of_another_site_may_not_send(shared: Collector) -> None:
    answer = shared.http.post("/v1/metrics", content=b"{}", headers={**JSON, "origin": "http://evil.example"})
    assert answer.status_code == 403


def test_a_token_must_be_known_and_may_not_be_a_viewers(shared: Collector) -> None:
    def send(token: str) -> int:
        return shared.http.post(
            "/v1/metrics", content=b"{}", headers={**JSON, "authorization": f"Bearer {token}"}
        ).status_code

    assert send("fs_00000000_1") == 401
    assert send(shared.token("viewer")) == 403
    assert send(shared.token("producer")) == 200
    assert send(shared.admin) == 200


def test_from_elsewhere_a_token_is_needed(tmp_path: Path) -> None:
    body = a_request(gauge("a", 1.0), service_name="svc").SerializeToString()
    with Collector(tmp_path, "--host", "0.0.0.0") as collector:
        without = httpx.post(f"{collector.url}/v1/metrics", content=body, headers=PROTOBUF, trust_env=False)
        token = collector.token("producer")
        with_token = httpx.post(
            f"{collector.url}/v1/metrics",
            content=body,
            headers={**PROTOBUF, "authorization": f"Bearer {token}"},
            trust_env=False,
        )
    assert (without.status_code, with_token.status_code) == (401, 200)


def test_what_opens_the_door_to_monitors_that_can_not_send_a_token_does_not_open_this_one(tmp_path: Path) -> None:
    with Collector(tmp_path, "--host", "0.0.0.0", environ={"FEDSIGHT_OPEN_LOGS": "1"}) as collector:
        answer = httpx.post(f"{collector.url}/v1/metrics", content=b"{}", headers=JSON, trust_env=False)
    assert answer.status_code == 401


def test_a_view_takes_nothing_in(tmp_path: Path) -> None:
    view = Process("view", str(tmp_path), "--port", "0", cwd=tmp_path)
    try:
        answer = httpx.post(f"{view.url}/v1/metrics", content=b"{}", headers=JSON, trust_env=False)
    finally:
        view.stop()
    assert (answer.status_code, "fedsight serve" in answer.text) == (404, True)


def test_with_a_token_bound_to_a_client_the_samples_are_that_clients(tmp_path: Path) -> None:
    body = a_request(gauge("a", 1.0), service_name="svc").SerializeToString()
    with Collector(tmp_path) as collector:
        token = collector.token("producer", run="r1", client="c1")
        headers = {**PROTOBUF, "authorization": f"Bearer {token}"}
        assert collector.http.post("/v1/metrics", content=body, headers=headers).status_code == 200
        assert collector.http.post("/v1/metrics", content=body, headers=PROTOBUF).status_code == 200
        told = {
            (head.role, head.run_id, head.client_id)
            for path in list_journals(collector.data / "journals")
            if (head := read_header(path)).role == "monitor"
        }
    assert told == {("monitor", "r1", "c1"), ("monitor", None, None)}


def test_after_a_restart_a_nodes_journal_goes_on(tmp_path: Path) -> None:
    body = json.dumps(json_format.MessageToDict(a_request(gauge("a", 1.0), service_name="svc"))).encode()
    for _ in range(2):
        with Collector(tmp_path) as collector:
            assert collector.http.post("/v1/metrics", content=body, headers=JSON).status_code == 200
            assert len(list((collector.data / "journals").glob("monitor-*.jsonl"))) == 1
    assert len(samples(collector)) == 2
