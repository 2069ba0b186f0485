"""heflwr's monitors post to this collector as they do to any server: through the standard library's HTTPHandler."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import Any

import pytest

from collector.harness import Collector
from fedsight.collector.heflwr import event_of
from fedsight.events import Log, Sample
from recorded import of_type

# The standard library's HTTPHandler, which heflwr uses, leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

MESSAGE = "Cpu Usage: 142.5%, Memory Usage: 0.1079%, Bytes Sent: 285531, Bytes Recv: 1034, "


class SimpleForm(logging.handlers.HTTPHandler):
    """What heflwr sends with simple=True: identifier and message, and nothing else."""

    def mapLogRecord(self, record: logging.LogRecord) -> dict[str, Any]:  # noqa: N802
        return {"identifier": "client A/1", "message": record.getMessage()}


def log_through(handler: logging.Handler, message: str) -> None:
    logger = logging.getLogger("HeFlwr")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.info(message)
    logger.removeHandler(handler)


def journals(collector: Collector) -> list[Path]:
    return sorted((collector.data / "journals").glob("monitor-*.jsonl"))


def test_a_simple_monitor_is_heard(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        host = collector.url.removeprefix("http://")
        for _ in range(3):
            log_through(SimpleForm(host, "/simple_log", method="POST"), MESSAGE)
        [journal] = journals(collector)
        samples = of_type(journal, Sample)
    assert [sample.node for sample in samples] == ["client A/1"] * 3
    assert samples[0].metrics == {
        "cpu_cores": 1.425,
        "memory_pct": 0.1079,
        "bytes_sent": 285531.0,
        "bytes_received": 1034.0,
    }


def test_a_full_log_record_keeps_its_own_time(tmp_path: Path) -> None:
    class FullForm(logging.handlers.HTTPHandler):
        def mapLogRecord(self, record: logging.LogRecord) -> dict[str, Any]:  # noqa: N802
            return {"identifier": "edge-7", **record.__dict__, "message": record.getMessage(), "created": 1700000000.25}

    with Collector(tmp_path) as collector:
        log_through(FullForm(collector.url.removeprefix("http://"), "/log", method="POST"), MESSAGE)
        [journal] = journals(collector)
        [sample] = of_type(journal, Sample)
    assert sample.ts == 1700000000.25


def test_after_a_restart_the_same_journal_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        with Collector(tmp_path) as collector:
            log_through(SimpleForm(collector.url.removeprefix("http://"), "/simple_log", method="POST"), MESSAGE)
            [journal] = journals(collector)
    assert len(of_type(journal, Sample)) == 2


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"message": MESSAGE}, "identifier"),
        ({"identifier": "x" * 201, "message": MESSAGE}, "identifier"),
        ({"identifier": "edge"}, "message"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, form: dict[str, str], field: str) -> None:
    with Collector(tmp_path) as collector:
        answer = collector.http.post("/simple_log", data=form)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field


def test_a_web_page_may_not_post(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        answer = collector.http.post(
            "/simple_log", data={"identifier": "a", "message": MESSAGE}, headers={"origin": "http://evil.example"}
        )
        assert answer.status_code == 403
        assert journals(collector) == []


def test_through_a_proxy_it_needs_the_setting(tmp_path: Path) -> None:
    form = {"identifier": "a", "message": MESSAGE}
    headers = {"x-forwarded-for": "192.0.2.7"}
    with Collector(tmp_path) as collector:
        assert collector.http.post("/simple_log", data=form, headers=headers).status_code == 403
    with Collector(tmp_path, environ={"FEDSIGHT_OPEN_LOGS": "1"}) as collector:
        assert collector.http.post("/simple_log", data=form, headers=headers).status_code == 200


def test_a_message_that_measures_nothing_is_a_log_line() -> None:
    event = event_of({"identifier": "edge", "message": "round 3, accuracy: 0.5", "levelname": "WARNING"})
    assert isinstance(event, Log)
    assert (event.component, event.message, event.level) == ("edge", "round 3, accuracy: 0.5", "warning")


def test_power_rails_of_the_concise_form_are_read() -> None:
    event = event_of({"identifier": "edge", "message": "VDD In: 5299, VDD cpu_gpu_cv: 773, VDD soc: 1424, "})
    assert isinstance(event, Sample)
    assert event.metrics == {"power_vdd_in_mw": 5299, "power_vdd_cpu_gpu_cv_mw": 773, "power_vdd_soc_mw": 1424}
