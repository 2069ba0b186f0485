"""The door for producers, over a real socket: every answer that docs/api.md promises."""

from __future__ import annotations

import gzip
import hashlib
import stat
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import msgspec
import pytest
import zstandard

from collector.harness import Collector, a_round, a_run, header, lines, run_start
from fedsight.collector.access import Grant
from fedsight.collector.errors import Refused
from fedsight.collector.indexer import Indexer
from fedsight.collector.ingest import Ingest
from fedsight.collector.journals import Journals
from fedsight.collector.settings import serve_settings
from fedsight.events import (
    ClientUpdate,
    JournalHeader,
    Metric,
    Policy,
    RunStart,
    SourceState,
    Text,
    Topology,
    encode,
)
from fedsight.store import Store


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("ingest")) as running:
        yield running


@pytest.fixture
def journal(request: pytest.FixtureRequest) -> str:
    """An id that no other test uses."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]


def copy_of(collector: Collector, journal: str) -> bytes:
    return (collector.data / "journals" / f"{journal}.jsonl").read_bytes()


def test_bytes_are_on_disk_as_they_were_sent_when_they_are_acknowledged(collector: Collector, journal: str) -> None:
    first, second = header(journal) + run_start(), a_round(0, "a", "b")

    assert collector.post(journal, 0, first).json() == {"offset": len(first)}
    assert copy_of(collector, journal) == first
    answer = collector.post(journal, len(first), second)

    assert (answer.status_code, answer.json()) == (200, {"offset": len(first + second)})
    assert copy_of(collector, journal) == first + second


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_packed_bodies_are_kept_unpacked(collector: Collector, journal: str, encoding: str) -> None:
    body = header(journal) + a_round(0, "a", "b")
    packed = gzip.compress(body, 1) if encoding == "gzip" else zstandard.ZstdCompressor(level=1).compress(body)
    answer = collector.post(journal, 0, packed, headers={"content-encoding": encoding})
    assert answer.json() == {"offset": len(body)}
    assert copy_of(collector, journal) == body


def test_an_offset_that_is_not_the_copys_end_is_told_where_to_go_on(collector: Collector, journal: str) -> None:
    body = header(journal) + run_start()
    collector.post(journal, 0, body)
    last_line = hashlib.sha256(run_start()).hexdigest()
    for wrong in (0, len(body) - 1, len(body) + 1):
        answer = collector.post(journal, wrong, a_round(0, "a"))
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "offset_mismatch"
        assert (answer.json()["offset"], answer.json()["last_line"]) == (len(body), last_line)
    assert copy_of(collector, journal) == body


def test_a_sender_can_ask_how_far_its_journal_is(collector: Collector, journal: str) -> None:
    token = {"authorization": f"Bearer {collector.admin}"}
    assert collector.http.get(f"/api/v1/journals/{journal}", headers=token).status_code == 404
    body = header(journal) + run_start()
    collector.post(journal, 0, body)
    answer = collector.http.get(f"/api/v1/journals/{journal}", headers=token)
    assert answer.json() == {
        "journal": journal,
        "offset": len(body),
        "last_line": hashlib.sha256(run_start()).hexdigest(),
    }


def test_a_journal_that_is_not_here_starts_at_0(collector: Collector, journal: str) -> None:
    answer = collector.post(journal, 7, a_round(0, "a"))
    assert (answer.status_code, answer.json()["offset"]) == (409, 0)
    assert "last_line" not in answer.json()


def test_an_empty_body_is_a_heartbeat(collector: Collector, journal: str) -> None:
    body = header(journal)
    assert collector.post(journal, 0, b"").json() == {"offset": 0}
    collector.post(journal, 0, body)
    assert collector.post(journal, len(body), b"").json() == {"offset": len(body)}
    assert collector.post(journal, 3, b"").status_code == 409
    assert copy_of(collector, journal) == body


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"kind":"text"', "must end with a newline"),
        (run_start(), "must begin with its header"),
        (b"\n", "must begin with its header"),
        (b"not json\n", "must begin with its header"),
        (encode(JournalHeader(ts=1.0, version=1, journal="x", role="server", run_id="r", base=5)), "base 0"),
        (encode(JournalHeader(ts=1.0, version=2, journal="x", role="server", run_id="r")), "version 2"),
        (encode(JournalHeader(ts=1.0, version=1, journal="x", role="server")), "needs a run_id"),
        (encode(JournalHeader(ts=1.0, version=1, journal="x", role="client", run_id="r")), "needs a client_id"),
        (header("x") + b"y" * (1 << 20) + b"\n", "longer than"),
    ],
)
def test_what_is_no_whole_lines_or_no_journal_is_refused_with_400(collector: Collector, body: bytes, says: str) -> None:
    answer = collector.post("x", 0, body)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]
    assert not (collector.data / "journals" / "x.jsonl").exists()


@pytest.mark.parametrize("journal_id", ["a.b", "..%2F..%2Fetc", "a%2Fb", "x" * 121, "%C3%A9", "%FF"])
def test_what_can_be_no_journals_id_is_refused_with_400(collector: Collector, journal_id: str) -> None:
    answer = collector.post(journal_id, 0, header())
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "journal")


@pytest.mark.parametrize("offset", ["-1", "x", "1.5", ""])
def test_an_offset_that_is_no_number_is_refused_by_name(collector: Collector, offset: str) -> None:
    answer = collector.post("x", offset, header("x"))  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "offset")


def test_a_header_of_another_journal_is_refused_with_403(collector: Collector, journal: str) -> None:
    answer = collector.post(journal, 0, header("another"))
    assert answer.status_code == 403
    assert "another" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "line",
    [
        lines(ClientUpdate(ts=1.0, client_id="mallory", round=0)),
        lines(Metric(ts=1.0, key="loss", value=1.0, client_id="mallory")),
        b'{"kind":"newer","ts":1.0,"client_id":"mallory"}\n',
        lines(RunStart(ts=1.0, run_id="another run")),
        encode(JournalHeader(ts=1.0, version=1, journal="other", role="client", run_id="r1", client_id="alice")),
    ],
    ids=["update", "metric", "unknown kind", "run_start", "header"],
)
def test_a_line_that_is_not_the_journals_to_say_is_refused_with_403(
    collector: Collector, journal: str, line: bytes
) -> None:
    first = header(journal, "client", client_id="alice") + lines(ClientUpdate(ts=1.0, client_id="alice", round=0))
    assert collector.post(journal, 0, first).status_code == 200
    answer = collector.post(journal, len(first), lines(Text(ts=1.0, text="fine")) + line)
    assert answer.status_code == 403, answer.text
    assert copy_of(collector, journal) == first


def test_a_bound_token_ships_its_own_journals_only(collector: Collector, journal: str) -> None:
    token = collector.token("producer", run="r1", client="alice")
    mine, others = header(journal, "client", client_id="alice"), header("b" + journal, "client", client_id="bob")
    assert collector.post(journal, 0, mine, token=token).status_code == 200
    assert collector.post("b" + journal, 0, others, token=token).status_code == 403
    collector.post("b" + journal, 0, others)
    for body in (b"", lines(ClientUpdate(ts=1.0, client_id="bob", round=0))):
        assert collector.post("b" + journal, len(others), body, token=token).status_code == 403
    answer = collector.http.get(f"/api/v1/journals/b{journal}", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403


def test_nobody_ships_without_a_token_not_even_from_this_machine(collector: Collector, journal: str) -> None:
    path = f"/api/v1/journals/{journal}"
    for headers in ({}, {"authorization": "Bearer fs_0_0"}, {"cookie": f"fedsight_token={collector.admin}"}):
        assert (
            collector.http.post(path, params={"offset": 0}, content=header(journal), headers=headers).status_code == 401
        )
        assert collector.http.get(path, headers=headers).status_code == 401
    assert collector.post(journal, 0, header(journal), token=collector.token("viewer")).status_code == 403


def test_too_large_a_body_is_refused_with_413(collector: Collector, journal: str) -> None:
    line = lines(Text(ts=1.0, text="x" * 500_000))
    assert collector.post(journal, 0, header(journal) + line * 17).status_code == 413  # 8.5 MB as it is sent
    packed = zstandard.ZstdCompressor(level=1).compress(header(journal) + line * 140)  # 70 MB once unpacked
    answer = collector.post(journal, 0, packed, headers={"content-encoding": "zstd"})
    assert answer.status_code == 413
    assert "smaller parts" in answer.json()["error"]["message"]


def test_a_body_of_unknown_length_is_refused_as_it_grows_too_large(collector: Collector, journal: str) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    try:
        answer = collector.http.post(
            f"/api/v1/journals/{journal}?offset=0",
            content=endless(),
            headers={"authorization": f"Bearer {collector.admin}"},
        )
    except OSError:
        return  # hung up on us in the middle, which is as good
    except Exception as error:
        assert type(error).__name__ in ("WriteError", "RemoteProtocolError", "ReadError"), error  # noqa: PT017
        return
    assert answer.status_code == 413


def test_types_and_encodings_that_are_not_agreed_are_refused_with_415(collector: Collector, journal: str) -> None:
    for headers in ({"content-type": "application/json"}, {"content-encoding": "br"}):
        assert collector.post(journal, 0, header(journal), headers=headers).status_code == 415


def test_a_damaged_packed_body_is_refused_with_400(collector: Collector, journal: str) -> None:
    packed = gzip.compress(header(journal))[:-5]
    assert collector.post(journal, 0, packed, headers={"content-encoding": "gzip"}).status_code == 400


def test_of_many_senders_at_one_offset_one_gets_through(collector: Collector, journal: str) -> None:
    first = header(journal)
    collector.post(journal, 0, first)
    bodies = [lines(Text(ts=1.0, text=f"{n}" * 3)) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda b: collector.post(journal, len(first), b).status_code, bodies))
    assert sorted(codes) == [200] + [409] * 7
    assert copy_of(collector, journal) in [first + body for body in bodies]


def test_a_line_that_is_no_event_is_kept_in_the_journal_and_told_of(collector: Collector, journal: str) -> None:
    body = header(journal, run_id="with-bad") + run_start("with-bad") + b'{"kind":"client_update","ts":1}\n' + b"\n"
    collector.post(journal, 0, body)
    collector.settled()
    assert copy_of(collector, journal) == body
    letters = collector.get("/api/v1/dead-letters", run_id="with-bad")["columns"]
    assert letters["journal"] == [journal, journal]
    assert sorted(letters["offset"]) == [body.index(b'{"kind":"client_update"'), len(body) - 1]
    assert any("client_id" in reason for reason in letters["reason"])


def test_a_journal_that_its_writer_rolled_is_stored_whole(collector: Collector, journal: str) -> None:
    begin = header(journal, run_id="rolled") + run_start("rolled") + a_round(0, "a")
    rolled = encode(JournalHeader(ts=1.0, version=1, journal=journal, role="server", run_id="rolled", base=len(begin)))
    rest = rolled + a_round(1, "a")
    assert collector.post(journal, 0, begin + rest).json() == {"offset": len(begin + rest)}
    collector.settled()
    assert collector.get("/api/v1/runs/rolled")["run"]["num_rounds"] == 2
    assert (collector.data / "journals" / f"{journal}@{len(begin):015d}.jsonl").read_bytes() == rest


def test_the_run_is_there_once_its_journal_is_stored(collector: Collector, journal: str) -> None:
    collector.post(journal, 0, a_run(journal, "whole", rounds=4, clients=("a", "b", "c")))
    collector.settled()
    run = collector.get("/api/v1/runs/whole")["run"]
    assert (run["state"], run["num_rounds"], run["num_clients"], run["num_updates"]) == ("finished", 4, 3, 12)


def test_a_run_start_that_is_spelt_in_escapes_is_refused_all_the_same(collector: Collector, journal: str) -> None:
    spelt = run_start("another").replace(b"run_start", b"run\\u005fstart")
    answer = collector.post(journal, 0, header(journal) + spelt)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_line")


def test_a_site_can_not_speak_as_a_source(collector: Collector, journal: str) -> None:
    state = SourceState(ts=1.0, source="lab", type="policy", state="up")
    collector.post(journal, 0, header(journal, "source", run_id=None) + lines(Topology(ts=1.0, source="lab"), state))
    forged = lines(
        Topology(ts=2.0, source="lab", devices=[{"id": "forged"}]),
        SourceState(ts=2.0, source="lab", type="policy", state="down"),
        Policy(ts=2.0, type="violation", source="lab", result="forged"),
    )
    site = f"{journal}-site"
    site_token = collector.token("producer", client="a")
    assert collector.post(site, 0, header(site, "client", client_id="a") + forged, token=site_token).status_code == 200
    collector.settled()
    [topology] = collector.get("/api/v1/network/topology", source="lab")["topologies"]
    assert (topology["ts"], topology["devices"]) == (1.0, [])
    assert collector.get("/api/v1/status")["components"]["policy_engine"]["status"] == "active"
    assert "forged" not in collector.get("/api/v1/policy/events")["columns"]["result"]
    told = collector.get("/api/v1/dead-letters")["columns"]
    assert [j for j in told["journal"] if j == site] == [site] * 3


def test_an_overloaded_collector_says_when_to_come_again(tmp_path: Path) -> None:
    with Collector(tmp_path, environ={"FEDSIGHT_MAX_BACKLOG_MB": "1"}) as collector:
        body = header("big") + a_round(0, *(f"client-{n}" for n in range(40_000)))
        assert collector.post("big", 0, body).status_code == 200
        answer = collector.post("big", len(body), run_start())
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "overloaded"
        collector.settled()
        assert collector.post("big", len(body), run_start()).status_code == 200


def test_a_journal_that_can_not_be_written_is_refused_with_503_and_taken_later(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.post("j1", 0, header("j1"))
        path = collector.data / "journals" / "j2.jsonl"
        path.mkdir()
        answer = collector.post("j2", 0, header("j2"))
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert collector.post("j2", 0, header("j2")).status_code == 503
        path.rmdir()
        assert collector.post("j2", 0, header("j2")).status_code == 200
        assert collector.output.count("journals can't be written") == 1
        assert collector.output.count("journals are written again") == 1
        assert "Traceback" not in collector.output


def test_the_tokens_file_is_for_its_owner_alone(collector: Collector) -> None:
    assert stat.S_IMODE((collector.data / "tokens.json").stat().st_mode) == 0o600


def test_bodies_that_wait_for_the_index_count_as_load_and_heartbeats_pass_all_the_same(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(serve_settings(tmp_path, environ={}), max_body_mb=1)
    store = Store.open(None)
    indexer = Indexer(store, lambda _: None, max_queue_bytes=0)  # never any room, and never started
    ingest = Ingest(settings, Journals(tmp_path / "journals"), indexer)
    grant = Grant(id="i", role="admin", sha256="", created_at=0.0)
    statuses: list[int] = []

    async def send(number: int) -> None:
        body = header(f"j{number}") + lines(Text(ts=1.0, text="x" * 10_000)) * 100
        try:
            await ingest.receive(f"j{number}", 0, grant, "", len(body), _chunks(body))
            statuses.append(200)
        except Refused as refused:
            statuses.append(refused.status)

    async def everybody() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(send, number)
            await anyio.sleep(0.2)
            assert await ingest.receive("j99", 0, grant, "", 0, _chunks(b"")) == 0
        assert await ingest.receive("j98", 0, grant, "", None, _chunks(header("j98"))) > 0  # all is free again

    anyio.run(everybody)
    assert sorted(statuses) == [200] * 8 + [429] * 12
    store.close()


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body
