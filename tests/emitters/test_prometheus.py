"""`PrometheusEmitter` against the real Prometheus, Pushgateway and promtool."""

from __future__ import annotations

import base64
import logging
import math
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from collector_process import wait_until
from journal_batches import batches_of
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import PrometheusServer, Pushgateway, get

import fedsight
from fedsight.emitters.destination import Batch
from fedsight.emitters.prometheus import PrometheusEmitter
from fedsight.emitters.registry import make, options_from
from fedsight.emitters.series import CLIENT_SERIES, COUNTERS, ROUND_SERIES
from fedsight.errors import UsageError


def record(folder: Path, num_rounds: int = 3, num_clients: int = 3, **options: object) -> Path:
    """A run of a few rounds, with all that can be exported."""
    run = fedsight.Run(
        "r1", "FedProx", project="hospitals", framework="flower", runs_dir=folder, verbose=False, **options
    )
    for number in range(num_rounds):
        run.round_start(number, selected=[f"c{i}" for i in range(num_clients + 1)])
        for i in range(num_clients):
            run.log_client_update(
                f"c{i}",
                number,
                max(0, number - i),
                local_accuracy=0.5 + i / 10,
                bytes_sent=1000,
                bytes_received=2000,
                network_latency_ms=30,
                cpu_pct=50,
                ram_mb=800,
                f1=0.25 * i,
            )
        run.log_dropout(number, f"c{num_clients}", "battery")
        run.log_metric("lr", 0.1 / (number + 1), step=number)
        run.log_round(number, global_accuracy=0.6 + number / 10, global_loss=0.5, aggregation_time_sec=1.5, val_auc=0.7)
    run.log_comm_failure(num_rounds - 1, "c0", "timeout")
    run.finish()
    return run.path


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape by name and labels."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset({"run_id": "r1", **labels}.items())))


class Scraped:
    """An emitter in a registry of its own, and what a scrape of it gives."""

    def __init__(self, **options: object) -> None:
        self.registry = CollectorRegistry()
        self.emitter = PrometheusEmitter(registry=self.registry, **options)

    def deliver(self, *batches: Batch) -> str:
        for batch in batches:
            self.emitter.open(batch.run, None)
            assert self.emitter.deliver(batch) == 0
        return self.text()

    def text(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
def emitter() -> Iterator[PrometheusEmitter]:
    """One on a free port."""
    emitter = PrometheusEmitter(port=0, per_client=True)
    yield emitter
    emitter.stop()


# ── what is shown ─────────────────────────────────────────────────────────────────────────────


def test_the_newest_rounds_figures_stand_in_base_units(tmp_path: Path) -> None:
    text = Scraped().deliver(*batches_of(record(tmp_path)))
    assert value(text, "fedsight_round_number") == 2
    assert value(text, "fedsight_round_accuracy_ratio") == pytest.approx(0.8)
    assert value(text, "fedsight_round_loss") == 0.5
    assert value(text, "fedsight_round_clients_selected") == 4
    assert value(text, "fedsight_round_clients_completed") == 3
    assert value(text, "fedsight_round_clients_dropped") == 1
    assert value(text, "fedsight_round_participation_ratio") == 0.75
    assert value(text, "fedsight_round_upload_bytes") == 3000
    assert value(text, "fedsight_round_aggregation_duration_seconds") == 1.5
    assert value(text, "fedsight_round_staleness_max") == 2
    assert value(text, "fedsight_round_metric", metric="val_auc") == 0.7
    assert value(text, "fedsight_metric", metric="lr") == pytest.approx(0.1 / 3)


def test_counters_count_from_the_runs_beginning(tmp_path: Path) -> None:
    text = Scraped().deliver(*batches_of(record(tmp_path), lines_each=4))
    assert value(text, "fedsight_rounds_total") == 3
    assert value(text, "fedsight_client_updates_total") == 9
    assert value(text, "fedsight_client_dropouts_total") == 3
    assert value(text, "fedsight_comm_failures_total") == 1
    assert value(text, "fedsight_upload_bytes_total") == 9000
    assert value(text, "fedsight_download_bytes_total") == 18000


def test_the_run_is_described_and_its_status_known(tmp_path: Path) -> None:
    scraped = Scraped()
    *begin, end = batches_of(record(tmp_path), lines_each=1)
    text = scraped.deliver(*begin)
    about = {"project": "hospitals", "algorithm": "FedProx", "framework": "flower"}
    assert value(text, "fedsight_run_info", **about) == 1
    assert value(text, "fedsight_run_status", status="running") == 1
    assert value(text, "fedsight_run_end_timestamp_seconds") is None
    text = scraped.deliver(end)
    assert value(text, "fedsight_run_status", status="running") == 0
    assert value(text, "fedsight_run_status", status="finished") == 1
    assert value(text, "fedsight_run_end_timestamp_seconds") == end.lines[-1].event.ts


def test_what_nobody_reported_has_no_sample(tmp_path: Path) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update("a", 0, local_accuracy=0.5)
        run.log_round(0, global_loss=0.4)
    names = {name for name, _ in samples(Scraped(per_client=True).deliver(*batches_of(run.path)))}
    assert "fedsight_round_loss" in names
    assert "fedsight_client_accuracy_ratio" in names
    assert not names & {
        "fedsight_round_accuracy_ratio",
        "fedsight_round_upload_bytes",
        "fedsight_upload_bytes_total",
        "fedsight_round_clients_selected",
        "fedsight_client_loss",
    }


def test_nan_and_infinity_are_shown_as_what_they_are(tmp_path: Path) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update("a", 0, local_loss=math.inf, bytes_sent=math.nan)
        run.log_client_update("b", 0, bytes_sent=10)
        run.log_round(0, global_loss=math.nan)
    text = Scraped(per_client=True).deliver(*batches_of(run.path))
    loss = value(text, "fedsight_round_loss")
    assert loss is not None
    assert math.isnan(loss)
    assert value(text, "fedsight_client_loss", client_id="a") == math.inf
    assert value(text, "fedsight_upload_bytes_total") == 10


def test_the_same_batch_again_changes_nothing(tmp_path: Path) -> None:
    path = record(tmp_path)
    scraped = Scraped(per_client=True)
    batches = list(batches_of(path, lines_each=5))
    once = scraped.deliver(*batches)
    assert scraped.deliver(batches[-1]) == once
    assert Scraped(per_client=True).deliver(*batches_of(path)) == once


def test_a_late_update_changes_the_round_that_is_shown_but_not_an_older_one(tmp_path: Path) -> None:
    scraped = Scraped()
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update("a", 0, bytes_sent=1)
        run.log_round(0)
        run.log_client_update("a", 1, bytes_sent=10)
        run.log_round(1)
        run.log_client_update("b", 0, bytes_sent=100)
        text = scraped.deliver(*batches_of(run.path))
        assert value(text, "fedsight_round_number") == 1
        assert value(text, "fedsight_round_upload_bytes") == 10
        run.log_client_update("b", 1, bytes_sent=1000)
    text = scraped.deliver(*batches_of(run.path))
    assert value(text, "fedsight_round_upload_bytes") == 1010
    assert value(text, "fedsight_round_clients_late") == 1


# ── clients ───────────────────────────────────────────────────────────────────────────────────


def test_clients_have_series_only_on_request(tmp_path: Path) -> None:
    text = Scraped().deliver(*batches_of(record(tmp_path)))
    assert "client_id" not in text
    assert "fedsight_clients_not_exported" not in text


def test_a_clients_newest_update_stands_in_base_units(tmp_path: Path) -> None:
    text = Scraped(per_client=True).deliver(*batches_of(record(tmp_path)))
    assert value(text, "fedsight_client_round", client_id="c1") == 2
    assert value(text, "fedsight_client_staleness", client_id="c1") == 1
    assert value(text, "fedsight_client_accuracy_ratio", client_id="c1") == 0.6
    assert value(text, "fedsight_client_upload_bytes", client_id="c1") == 1000
    assert value(text, "fedsight_client_network_latency_seconds", client_id="c1") == 0.03
    assert value(text, "fedsight_client_cpu_utilization_ratio", client_id="c1") == 0.5
    assert value(text, "fedsight_client_memory_usage_bytes", client_id="c1") == 8e8
    assert value(text, "fedsight_client_metric", client_id="c1", metric="f1") == 0.25
    assert value(text, "fedsight_clients_not_exported") == 0


def test_of_several_updates_in_a_round_the_last_known_value_holds(tmp_path: Path) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update("a", 0, local_accuracy=0.1, local_loss=2.0, f1=0.1)
        run.log_client_update("a", 1, local_accuracy=0.2, f1=0.2)
        run.log_client_update("a", 1, num_samples=7, auc=0.3)
    text = Scraped(per_client=True).deliver(*batches_of(run.path))
    assert value(text, "fedsight_client_accuracy_ratio", client_id="a") == 0.2
    assert value(text, "fedsight_client_samples", client_id="a") == 7
    assert value(text, "fedsight_client_metric", client_id="a", metric="f1") == 0.2
    assert value(text, "fedsight_client_metric", client_id="a", metric="auc") == 0.3
    assert value(text, "fedsight_client_loss", client_id="a") is None, "of an older round"


def test_clients_beyond_the_limit_are_counted_and_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fedsight"):
        text = Scraped(per_client=True, max_clients=2).deliver(
            *batches_of(record(tmp_path, num_clients=5), lines_each=3)
        )
    shown = {dict(labels)["client_id"] for name, labels in samples(text) if name == "fedsight_client_accuracy_ratio"}
    assert shown == {"c0", "c1"}
    assert value(text, "fedsight_clients_not_exported") == 3
    assert value(text, "fedsight_client_updates_total") == 15
    assert len([record for record in caplog.records if "max_clients" in record.message]) == 1


def test_a_sites_own_journal_shows_itself(tmp_path: Path) -> None:
    with fedsight.join("r1", "site-1", runs_dir=tmp_path) as site:
        site.log_client_update(round=3, local_loss=0.5)
        site.log_metric("train_loss", 0.9, step=1)
    text = Scraped().deliver(*batches_of(site.path))
    assert value(text, "fedsight_client_loss", client_id="site-1") == 0.5
    assert value(text, "fedsight_metric", client_id="site-1", metric="train_loss") == 0.9
    assert value(text, "fedsight_client_updates_total", client_id="site-1") == 1


def test_ids_of_any_characters_come_through(tmp_path: Path) -> None:
    strange = 'a"b\\c\nd é'
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_client_update(strange, 0, local_loss=0.5)
    text = Scraped(per_client=True).deliver(*batches_of(run.path))
    assert value(text, "fedsight_client_loss", client_id=strange) == 0.5


# ── restarts ──────────────────────────────────────────────────────────────────────────────────


def test_after_a_restart_the_figures_stand_again_and_counters_go_on(tmp_path: Path) -> None:
    path = record(tmp_path)
    *begin, last = batches_of(path, lines_each=8)
    before = Scraped()
    before.deliver(*begin)
    after = Scraped()
    after.emitter.open(last.run, before.emitter.save())
    after.emitter.deliver(last)
    assert after.text() == Scraped().deliver(*batches_of(path))


def test_nan_survives_a_restart(tmp_path: Path) -> None:
    with fedsight.Run("r1", runs_dir=tmp_path, verbose=False) as run:
        run.log_round(0, global_loss=math.nan, val=math.inf)
    begin, last = batches_of(run.path, lines_each=3)
    before, after = Scraped(), Scraped()
    before.deliver(begin)
    after.emitter.open(last.run, before.emitter.save())
    after.emitter.deliver(last)
    assert math.isnan(value(after.text(), "fedsight_round_loss") or 0)
    assert value(after.text(), "fedsight_round_metric", metric="val") == math.inf


# ── the real Prometheus ───────────────────────────────────────────────────────────────────────


def test_promtool_finds_nothing(tmp_path: Path, emitter: PrometheusEmitter) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    for batch in batches_of(record(tmp_path)):
        emitter.open(batch.run, None)
        emitter.deliver(batch)
    status, text = get(emitter.port or 0, "/metrics")
    assert status == 200
    assert text.count("# TYPE") > 30
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_name_is_documented(tmp_path: Path) -> None:
    written = (Path(__file__).parents[2] / "docs/emitters/prometheus.md").read_text()
    names = {name for name, _ in samples(Scraped(per_client=True).deliver(*batches_of(record(tmp_path))))}
    names |= {each.prometheus_name for each in (*ROUND_SERIES, *CLIENT_SERIES)}
    names |= {f"{each.prometheus_name}_total" for each in COUNTERS}
    assert sorted(name for name in names if f"`{name}`" not in written) == []


def test_prometheus_scrapes_a_run_while_it_goes_on(tmp_path: Path, emitter: PrometheusEmitter) -> None:
    *begin, last = batches_of(record(tmp_path), lines_each=12)
    emitter.open(begin[0].run, None)
    with PrometheusServer(tmp_path, f"127.0.0.1:{emitter.port}") as prometheus:
        emitter.deliver(begin[0])
        wait_until(lambda: prometheus.value("fedsight_rounds_total") == 1)
        assert prometheus.value("fedsight_round_accuracy_ratio") == pytest.approx(0.6)
        for batch in [*begin[1:], last]:
            emitter.deliver(batch)
        emitter.close("finished")
        wait_until(lambda: prometheus.value("fedsight_rounds_total") == 3)
        assert prometheus.value("sum(fedsight_client_memory_usage_bytes)") == 3 * 8e8
        assert prometheus.value('fedsight_run_status{status="finished"}') == 1
        assert prometheus.value('fedsight_run_info{run_id="r1",algorithm="FedProx"}') == 1


# ── ports ─────────────────────────────────────────────────────────────────────────────────────


def test_a_port_in_use_is_a_clear_error_and_is_taken_once_it_is_free(tmp_path: Path) -> None:
    batch = next(batches_of(record(tmp_path)))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        emitter = PrometheusEmitter(port=port)
        with pytest.raises(OSError, match=f"port {port} on 127.0.0.1 is in use.*port=0"):
            emitter.open(batch.run, None)
    emitter.open(batch.run, None)
    emitter.deliver(batch)
    assert get(port, "/metrics")[0] == 200
    emitter.stop()
    assert get(port, "/metrics")[0] == 0


def test_the_final_figures_stay_until_the_next_run_takes_the_port(tmp_path: Path, emitter: PrometheusEmitter) -> None:
    first = next(batches_of(record(tmp_path)))
    with fedsight.Run("r2", runs_dir=tmp_path, verbose=False) as run:
        run.log_round(0)
    second = next(batches_of(run.path))
    emitter.open(first.run, None)
    emitter.deliver(first)
    emitter.close("finished")
    assert 'run_id="r1"' in get(emitter.port or 0, "/metrics")[1]
    emitter.open(second.run, None)
    emitter.deliver(second)
    text = get(emitter.port or 0, "/metrics")[1]
    assert 'run_id="r2"' in text
    assert 'run_id="r1"' not in text


def test_two_runs_of_a_process_share_a_port_and_the_next_one_takes_over(tmp_path: Path) -> None:
    batches = []
    for run_id in ("r1", "r2", "r3"):
        with fedsight.Run(run_id, runs_dir=tmp_path, verbose=False) as run:
            run.log_round(0)
        batches.append(next(batches_of(run.path)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one, two, three = (PrometheusEmitter(port=port) for _ in range(3))
    for emitter, batch in ((one, batches[0]), (two, batches[1])):
        emitter.open(batch.run, None)
        emitter.deliver(batch)
    runs = {dict(labels)["run_id"] for _, labels in samples(get(port, "/metrics")[1])}
    assert runs == {"r1", "r2"}
    one.close("finished")
    three.open(batches[2].run, None)
    three.deliver(batches[2])
    runs = {dict(labels)["run_id"] for _, labels in samples(get(port, "/metrics")[1])}
    assert runs == {"r2", "r3"}
    one.stop()
    assert get(port, "/metrics")[0] == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_hold_the_port_open(tmp_path: Path, emitter: PrometheusEmitter) -> None:
    batch = next(batches_of(record(tmp_path)))
    emitter.open(batch.run, None)
    port = emitter.port or 0
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)  # until the parent has looked
        os._exit(0)
    emitter.stop()
    with socket.socket() as probe:
        wait_until(lambda: _binds(probe, port))
    os.write(writing, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    os.close(writing)


def _binds(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


# ── pushing ───────────────────────────────────────────────────────────────────────────────────


def test_a_round_is_pushed_when_it_ends_and_the_run_at_its_end(tmp_path: Path) -> None:
    *begin, last = batches_of(record(tmp_path), lines_each=6)
    with Pushgateway(tmp_path) as gateway:
        emitter = PrometheusEmitter(push_url=gateway.url, job="trials")
        assert emitter.port is None
        emitter.open(last.run, None)
        emitter.deliver(begin[0])
        emitter.deliver(begin[1])
        group = {"job": "trials", "instance": ""}
        text = get(gateway.port, "/metrics")[1]
        assert value(text, "fedsight_rounds_total", **group) == 1
        assert value(text, "fedsight_run_status", status="running", **group) == 1
        for batch in [*begin[2:], last]:
            emitter.deliver(batch)
        emitter.close("finished")
        text = get(gateway.port, "/metrics")[1]
        assert value(text, "fedsight_rounds_total", **group) == 3
        assert value(text, "fedsight_run_status", status="finished", **group) == 1
        assert get(gateway.port, "/metrics/job/trials/run_id/r1", "DELETE")[0] == 202
        wait_until(lambda: "fedsight_rounds_total" not in get(gateway.port, "/metrics")[1])


def test_a_restart_pushes_the_figures_it_has_not_seen_itself(tmp_path: Path) -> None:
    *begin, last = batches_of(record(tmp_path), lines_each=8)
    with Pushgateway(tmp_path) as gateway:
        before, after = PrometheusEmitter(push_url=gateway.url), PrometheusEmitter(push_url=gateway.url)
        before.open(last.run, None)
        for batch in begin:
            before.deliver(batch)
        after.open(last.run, before.save())
        after.deliver(last)
        after.close("finished")
        text = get(gateway.port, "/metrics")[1]
        assert value(text, "fedsight_round_accuracy_ratio", job="fedsight", instance="") == pytest.approx(0.8)


def test_a_gateway_that_is_down_raises_and_gets_everything_later(tmp_path: Path) -> None:
    batch = next(batches_of(record(tmp_path)))
    gateway = Pushgateway(tmp_path)
    emitter = PrometheusEmitter(push_url=gateway.url)
    emitter.open(batch.run, None)
    with pytest.raises(OSError, match="refused"):
        emitter.deliver(batch)
    with gateway:
        emitter.deliver(batch)
        assert value(get(gateway.port, "/metrics")[1], "fedsight_rounds_total", job="fedsight", instance="") == 3


def test_what_the_gateway_says_is_in_the_error(tmp_path: Path) -> None:
    batch = next(batches_of(record(tmp_path)))
    with Pushgateway(tmp_path) as gateway:
        emitter = PrometheusEmitter(push_url=gateway.url + "/elsewhere")
        emitter.open(batch.run, None)
        with pytest.raises(OSError, match=r"Pushgateway http://.*/elsewhere answered 404"):
            emitter.deliver(batch)


# ── small things ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"port": -1}, "port"),
        ({"port": True}, "port"),
        ({"port": 1, "push_url": "http://x"}, "port"),
        ({"addr": ""}, "addr"),
        ({"push_url": "gateway:9091"}, "push_url"),
        ({"push_url": "http://gateway:99999"}, "push_url"),
        ({"push_url": "http://x", "job": ""}, "job"),
        ({"max_clients": 0}, "max_clients"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_at_once(options: dict[str, object], field: str) -> None:
    with pytest.raises(UsageError) as refused:
        PrometheusEmitter(**options)
    assert refused.value.field == field


def test_the_gateways_user_and_password_are_sent_as_a_header(tmp_path: Path) -> None:
    asked: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.command, self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    batch = next(batches_of(record(tmp_path)))
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        emitter = PrometheusEmitter(push_url=f"http://ann:s%40fe@127.0.0.1:{server.server_address[1]}/pg/", job="a/b")
        emitter.open(batch.run, None)
        emitter.deliver(batch)
        thread.join(20)
    secret = base64.b64encode(b"ann:s@fe").decode()
    assert asked == [("PUT", "/pg/metrics/job@base64/YS9i/run_id/r1", f"Basic {secret}")]


def test_secrets_of_the_gateways_url_appear_nowhere() -> None:
    emitter = PrometheusEmitter(push_url="https://ann:s3cret@gw.example:9091/pg/")
    told = [emitter.identity(), emitter.where(), *emitter.sync_arguments()]
    assert emitter.identity() == "prometheus:https://gw.example:9091/pg#fedsight"
    assert not any("s3cret" in each or "ann" in each for each in told)


def test_the_sync_command_makes_the_same_emitter() -> None:
    for emitter in (
        PrometheusEmitter(push_url="http://gw:9091", job="7", per_client=True, max_clients=9),
        PrometheusEmitter(port=9000, addr="::1"),
    ):
        made = make("prometheus", options_from(emitter.sync_arguments()[1::2]))
        assert made.identity() == emitter.identity()
        assert made.sync_arguments() == emitter.sync_arguments()


def test_the_trainings_random_numbers_are_left_alone(tmp_path: Path, emitter: PrometheusEmitter) -> None:
    batch = next(batches_of(record(tmp_path)))
    random.seed(1)
    state = random.getstate()
    emitter.open(batch.run, None)
    emitter.deliver(batch)
    get(emitter.port or 0, "/metrics")
    assert random.getstate() == state


# ── a whole run ───────────────────────────────────────────────────────────────────────────────


def train(folder: Path, emitter: PrometheusEmitter, run_id: str = "r1", num_rounds: int = 3) -> fedsight.Run:
    with fedsight.Run(run_id, emitters=[emitter], runs_dir=folder, verbose=False) as run:
        for number in range(num_rounds):
            run.log_client_update("a", number, local_accuracy=0.5, bytes_sent=10)
            run.log_round(number, global_accuracy=number / 10)
    return run


def test_a_training_is_seen_by_prometheus(tmp_path: Path, emitter: PrometheusEmitter) -> None:
    train(tmp_path, emitter)
    with PrometheusServer(tmp_path, f"127.0.0.1:{emitter.port}") as prometheus:
        wait_until(lambda: prometheus.value("fedsight_rounds_total") == 3)
        assert prometheus.value('fedsight_run_status{status="finished"}') == 1
        assert prometheus.value("fedsight_round_accuracy_ratio") == pytest.approx(0.2)
        assert prometheus.value('fedsight_client_accuracy_ratio{client_id="a"}') == 0.5


def test_a_run_that_is_resumed_by_another_process_goes_on_counting(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import fedsight, os; from fedsight.emitters.prometheus import PrometheusEmitter; "
        f"run = fedsight.Run('r1', emitters=[PrometheusEmitter(port={port})], runs_dir={str(tmp_path)!r}); "
        "[run.log_round(number, global_accuracy=0.25) for number in range(3)]; "
        "run.emitters[0].drain([run.path], 60); os._exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 1
    emitter = PrometheusEmitter(port=port)
    try:
        with fedsight.Run("r1", emitters=[emitter], runs_dir=tmp_path, resume=True, verbose=False) as run:
            wait_until(lambda: value(get(port, "/metrics")[1], "fedsight_run_status", status="running") == 1)
            text = get(port, "/metrics")[1]
            assert value(text, "fedsight_rounds_total") == 3
            assert value(text, "fedsight_round_accuracy_ratio") == 0.25
            run.log_round(3)
        assert value(get(port, "/metrics")[1], "fedsight_rounds_total") == 4
    finally:
        emitter.stop()


def test_a_port_in_use_harms_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        emitter = PrometheusEmitter(port=other.getsockname()[1])
        with caplog.at_level(logging.WARNING, "fedsight"):
            run = fedsight.Run("r1", emitters=[emitter], runs_dir=tmp_path, verbose=False)
            run.log_round(0)
            wait_until(lambda: run.emitters[0].state().last_error)
            run.finish(timeout_sec=0.5)
    assert run.status == "finished"
    assert [record.message for record in caplog.records if "is in use" in record.message]
    assert "fedsight sync" in caplog.text
    assert "--to prometheus" in caplog.text


def test_a_training_is_pushed_whole_when_the_gateway_comes_late(tmp_path: Path) -> None:
    gateway = Pushgateway(tmp_path)
    emitter = PrometheusEmitter(push_url=gateway.url)
    run = fedsight.Run("r1", emitters=[emitter], runs_dir=tmp_path, verbose=False)
    run.log_round(0, global_accuracy=0.75)
    wait_until(lambda: run.emitters[0].state().last_error)
    with gateway:
        run.finish()
        text = get(gateway.port, "/metrics")[1]
    assert value(text, "fedsight_round_accuracy_ratio", job="fedsight", instance="") == 0.75
    assert value(text, "fedsight_run_status", status="finished", job="fedsight", instance="") == 1


def test_after_a_kill_sync_pushes_how_far_the_run_came(tmp_path: Path) -> None:
    code = (
        "import fedsight, os, signal; "
        f"run = fedsight.Run('r1', runs_dir={str(tmp_path)!r}); "
        "[run.log_round(number, global_accuracy=0.5) for number in range(5)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    with Pushgateway(tmp_path) as gateway:
        command = [sys.executable, "-m", "fedsight", "sync", str(tmp_path), "--to", "prometheus"]
        synced = subprocess.run(
            [*command, "--set", f"push_url={gateway.url}"], capture_output=True, text=True, timeout=60
        )
        assert synced.returncode == 0, synced.stdout + synced.stderr
        text = get(gateway.port, "/metrics")[1]
    assert value(text, "fedsight_rounds_total", job="fedsight", instance="") == 5
    assert value(text, "fedsight_run_status", status="killed", job="fedsight", instance="") == 1
