"""Requests that the OpenAPI document allows, and many that it doesn't: none makes a real collector fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from collector.harness import Collector, a_run, header, lines
from fedsight.events import Policy, Sample, Topology

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

CONFIG = """
[parameters]
"path.run_id" = "r1"
"path.client_id" = "a"
"query.node" = "edge"
"path.journal" = "j1"
"""
"""Ids that there are: with others every answer would be 404."""


@pytest.mark.slow
@pytest.mark.parametrize("known_ids", [False, True])
def test_no_request_makes_the_collector_fail(tmp_path: Path, *, known_ids: bool) -> None:
    rates = {"FEDSIGHT_MAX_WRITES_PER_SEC": "1000000", "FEDSIGHT_MAX_LOGINS_PER_MIN": "10000"}
    with Collector(tmp_path, environ=rates) as collector:
        collector.post("j1", 0, a_run())
        told = lines(
            Topology(ts=1.0, source="lab", devices=[{"id": "d1", "up": True}]),
            Sample(ts=2.0, node="edge", metrics={"latency_ms": 1.0}),
            Policy(ts=3.0, type="decision", id="1"),
        )
        collector.post("s1", 0, header("s1", "source", run_id=None) + told)
        collector.settled()
        if known_ids:
            (tmp_path / "schemathesis.toml").write_text(CONFIG)
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{collector.url}/api/openapi.json",
                *("--checks", "not_a_server_error"),
                *("--phases", "coverage,fuzzing"),
                *("--max-examples", "5"),
                "--generation-deterministic",
                *("--exclude-path", "/api/v1/stream"),  # it never ends
                *("--header", f"Authorization: Bearer {collector.admin}"),
                *("--request-timeout", "20"),
                "--continue-on-failure",
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        tried = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert tried, done.stdout[-3000:]
        assert int(tried[1]) == int(tried[2]) > 300
        assert " failed" not in collector.output
        assert collector.get("/api/v1/runs")["columns"]["run_id"]
