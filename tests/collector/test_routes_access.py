"""Every route, and who may not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from collector.harness import Collector, a_run, header, lines, until
from fedsight.collector.revocation import CHECK_SEC
from fedsight.events import Sample

READS = [
    "/api/v1/status",
    "/api/v1/runs",
    "/api/v1/runs/r1",
    "/api/v1/runs/r1/rounds",
    "/api/v1/runs/r1/clients",
    "/api/v1/runs/r1/clients/a",
    "/api/v1/runs/r1/updates",
    "/api/v1/runs/r1/series?scope=global&metric=global_accuracy",
    "/api/v1/runs/r1/metrics",
    "/api/v1/runs/r1/events",
    "/api/v1/runs/r1/samples?metric=ram_mb",
    "/api/v1/samples?node=edge&metric=ram_mb",
    "/api/v1/nodes",
    "/api/v1/dead-letters",
    "/api/v1/fl/metrics?experiment_id=r1",
    "/api/v1/network/metrics",
    "/api/v1/network/topology",
    "/api/v1/policy/events",
    "/api/v1/system/events",
    "/api/v1/sources",
    "/api/v1/config",
    "/health",
    "/metrics",
    "/api/openapi.json",
    "/api/docs",
]
STREAMS = ["/api/v1/stream"]
OPEN = ["/health/live", "/health/ready"]
"""For orchestrators' probes; they say one word."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector whose reads need a token as well."""
    folder = tmp_path_factory.mktemp("guarded")
    with Collector(folder, environ={"FEDSIGHT_OPEN_READS": "0"}) as collector:
        collector.post("j1", 0, a_run())
        reading = lines(Sample(ts=5.0, node="edge", metrics={"ram_mb": 1.0}))
        collector.post("m1", 0, header("m1", "monitor") + reading)
        collector.post("m2", 0, header("m2", "monitor", run_id=None) + reading)
        until(lambda: _num_nodes(collector) == 2, "the monitors' readings are stored")
        yield collector


def _num_nodes(collector: Collector) -> int:
    return len(collector.http.get("/api/v1/nodes", headers=bearer(collector.admin)).json()["columns"]["node"])


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_this_list_names_every_route_of_the_document(guarded: Collector) -> None:
    document = guarded.http.get("/api/openapi.json", headers=bearer(guarded.admin)).json()
    gets = {path for path, item in document["paths"].items() if "get" in item}
    named = {p.partition("?")[0] for p in READS}
    named = {p.replace("/clients/a", "/clients/{client_id}").replace("/runs/r1", "/runs/{run_id}") for p in named}
    assert gets - {"/api/v1/stream", "/api/v1/journals/{journal}", *OPEN} == named - {"/api/openapi.json", "/api/docs"}


@pytest.mark.parametrize("path", [*READS, *STREAMS, "/api/v1/nothing", "/api", "/ws/nothing"])
def test_nobody_reads_without_a_token(guarded: Collector, path: str) -> None:
    answer = guarded.http.get(path)
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", OPEN)
def test_probes_need_no_token(guarded: Collector, path: str) -> None:
    assert guarded.http.get(path).status_code == 200


@pytest.mark.parametrize("path", [*READS, *STREAMS])
def test_a_producer_does_not_read(guarded: Collector, path: str) -> None:
    assert guarded.http.get(path, headers=bearer(guarded.token("producer"))).status_code == 403


@pytest.mark.parametrize("path", READS)
def test_a_viewer_and_an_admin_read(guarded: Collector, path: str) -> None:
    for token in (guarded.admin, guarded.token("viewer")):
        answer = guarded.http.get(path, headers=bearer(token))
        assert answer.status_code == 200 or (answer.status_code == 404 and "/runs/r1" in path), answer.text


def test_a_viewer_does_not_ship(guarded: Collector) -> None:
    viewer = guarded.token("viewer")
    assert guarded.post("j9", 0, header("j9"), token=viewer).status_code == 403
    assert guarded.http.get("/api/v1/journals/j1", headers=bearer(viewer)).status_code == 403


def test_a_browser_logs_in_reads_by_its_cookie_and_logs_out(guarded: Collector) -> None:
    with httpx.Client(base_url=guarded.url, trust_env=False) as browser:
        assert browser.get("/api/v1/runs").status_code == 401
        assert browser.post("/api/v1/login", json={"token": "fs_no_such"}).status_code == 401
        assert browser.post("/api/v1/login", json={}).json()["error"]["field"] == "token"
        assert browser.post("/api/v1/login", json={"token": guarded.token("producer")}).status_code == 403
        answer = browser.post("/api/v1/login", json={"token": guarded.token("viewer", name="me")})
        assert (answer.status_code, answer.json()) == (200, {"role": "viewer", "name": "me"})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert browser.get("/api/v1/runs").status_code == 200
        # A page of another site can send the cookie along: it must not write.
        assert browser.post("/api/v1/journals/j9?offset=0", content=header("j9")).status_code == 401
        assert browser.post("/api/v1/logout").status_code == 204
        assert browser.get("/api/v1/runs").status_code == 401


def test_a_revoked_token_opens_nothing_any_more(guarded: Collector) -> None:
    token, grant = guarded.tokens.create("viewer")
    assert guarded.http.get("/api/v1/runs", headers=bearer(token)).status_code == 200
    guarded.tokens.revoke(grant.id)
    assert guarded.http.get("/api/v1/runs", headers=bearer(token)).status_code == 401


def _read_on(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=20)


def test_streams_end_when_the_token_that_opened_them_is_taken_away(guarded: Collector) -> None:
    token, grant = guarded.tokens.create("viewer")
    tickets = [guarded.http.post("/api/v1/ticket", headers=bearer(token)).json()["ticket"] for _ in range(2)]
    address = guarded.url.replace("http", "ws") + "/ws/metrics"
    with (
        connect(f"{address}?streams=fl_training", additional_headers=bearer(token)) as by_token,
        connect(f"{address}?ticket={tickets[0]}") as by_ticket,
        guarded.http.stream("GET", "/api/v1/stream", headers=bearer(token)) as events,
    ):
        guarded.tokens.revoke(grant.id)
        time.sleep(CHECK_SEC)
        guarded.post("j2", 0, a_run("j2", "r2"))
        for socket in (by_token, by_ticket):
            with pytest.raises(ConnectionClosed) as closed:
                _read_on(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        assert "r2" not in events.read().decode()  # and it ends
    assert guarded.http.get("/api/v1/stream", params={"ticket": tickets[1]}).status_code == 401


def test_a_ticket_is_for_those_who_may_read(guarded: Collector) -> None:
    assert guarded.http.post("/api/v1/ticket").status_code == 401
    assert guarded.http.post("/api/v1/ticket", headers=bearer(guarded.token("producer"))).status_code == 403
    answer = guarded.http.post("/api/v1/ticket", headers=bearer(guarded.token("viewer")))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert 0 < answer.json()["expires_at"] - time.time() <= 30


def test_a_ticket_opens_one_stream_once_and_nothing_else(guarded: Collector) -> None:
    ticket = guarded.http.post("/api/v1/ticket", headers=bearer(guarded.admin)).json()["ticket"]
    assert guarded.http.get("/api/v1/runs", params={"ticket": ticket}).status_code == 401
    with guarded.http.stream("GET", "/api/v1/stream", params={"ticket": ticket}) as answer:
        assert answer.status_code == 200
    again = guarded.http.get("/api/v1/stream", params={"ticket": ticket})
    assert again.status_code == 401
    assert ticket not in again.text
    assert ticket not in guarded.output


def test_the_page_itself_is_open_since_one_logs_in_there(guarded: Collector) -> None:
    assert guarded.http.get("/").status_code in (200, 503)


@pytest.mark.parametrize("path", ["/", "/api/v1/runs", "/api/v1/login"])
def test_a_foreign_name_that_points_here_is_refused(guarded: Collector, path: str) -> None:
    answer = guarded.http.get(path, headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_host")


def test_a_log_in_that_is_nested_deeply_is_refused_and_leaves_no_trace(guarded: Collector) -> None:
    answer = guarded.http.post("/api/v1/login", content=b"[" * 100_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "The body is nested too deeply.")
    assert "Traceback" not in guarded.output


def test_no_token_stands_in_the_log(guarded: Collector) -> None:
    guarded.http.get("/api/v1/runs", headers=bearer("fs_deadbeef_" + "ab" * 24))
    assert "fs_" not in guarded.output


def test_on_loopback_reads_are_open_and_writes_are_not(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        assert collector.http.get("/api/v1/runs").status_code == 200
        assert collector.http.get("/api/v1/runs", headers={"x-forwarded-for": "10.0.0.1"}).status_code == 401
        assert collector.http.post("/api/v1/journals/j1?offset=0", content=header()).status_code == 401


def test_bound_to_the_network_even_this_machine_needs_a_token(tmp_path: Path) -> None:
    with Collector(tmp_path, "--host", "0.0.0.0") as collector:
        assert collector.http.get("/api/v1/runs").status_code == 401
        assert collector.http.get("/api/v1/runs", headers=bearer(collector.admin)).status_code == 200


def test_a_tokens_file_that_is_damaged_lets_nobody_in_and_is_said(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        assert collector.post("j1", 0, header()).status_code == 200
        collector.tokens.path.write_text("{")
        assert collector.post("j1", len(header()), b"").status_code == 503
        assert "is no tokens file" in collector.output


@pytest.mark.parametrize("path", ["/api/v1//journals/x", "/api//v1/journals/x", "/api/v1/journals//x"])
def test_a_path_with_an_empty_part_is_nowhere(guarded: Collector, path: str) -> None:
    for token in (guarded.token("viewer"), guarded.admin):
        assert guarded.http.get(path, headers=bearer(token)).status_code == 404
