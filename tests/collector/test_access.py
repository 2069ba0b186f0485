"""Tokens and the rules for reads, writes and addresses. Routes are gone through in test_routes_access.py."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedsight.collector.access import Access, Caller, Denied, Grant, Tokens, caller
from fedsight.errors import UsageError
from fedsight.events import JournalHeader


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.json")


def header(role: str = "client", run_id: str | None = "r1", client_id: str | None = "c1") -> JournalHeader:
    return JournalHeader(ts=0.0, version=1, journal="j", role=role, run_id=run_id, client_id=client_id)  # type: ignore[arg-type]


def who(peer: str = "127.0.0.1", **headers: str) -> Caller:
    return caller(peer, {"host": "localhost:8083", **{k.replace("_", "-"): v for k, v in headers.items()}})


def test_only_a_hash_is_kept_and_only_for_the_owner_to_read(tokens: Tokens) -> None:
    token, grant = tokens.create("viewer", name="wall display")
    assert token.encode() not in tokens.path.read_bytes()
    assert token.rpartition("_")[2].encode() not in tokens.path.read_bytes()
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert Tokens(tokens.path).find(token) == grant


def test_a_wrong_secret_a_cut_one_and_nonsense_are_not_found(tokens: Tokens) -> None:
    token, grant = tokens.create("admin")
    for wrong in (token[:-1], token + "0", f"fs_{grant.id}_", "fs__", "", "x", token.upper(), f"fs_{grant.id}_é"):
        assert tokens.find(wrong) is None


def test_a_running_collector_sees_tokens_made_and_revoked_by_another_process(tokens: Tokens) -> None:
    other = Tokens(tokens.path)
    token, grant = other.create("viewer")
    assert tokens.find(token) == grant
    other.revoke(grant.id)
    assert tokens.find(token) is None


def test_changes_by_many_at_once_are_all_kept(tokens: Tokens) -> None:
    old = [tokens.create("viewer", name="old")[1] for _ in range(20)]

    def change(number: int) -> str:
        own = Tokens(tokens.path)  # as another process would
        own.revoke(old[number].id)
        return own.create("viewer", name=f"new {number}")[1].id

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(change, range(20)))
    assert {grant.id for grant in tokens.grants()} == made


def test_a_tokens_file_that_is_damaged_opens_nothing_and_says_so(tokens: Tokens) -> None:
    token, _ = tokens.create("admin")
    tokens.path.write_text("{")
    with pytest.raises(UsageError, match=r"tokens\.json is no tokens file"):
        tokens.find(token)


def test_only_a_producer_is_bound(tokens: Tokens) -> None:
    with pytest.raises(UsageError, match="only a producer"):
        tokens.create("viewer", run="r1")


def test_revoking_what_is_not_there_names_the_remedy(tokens: Tokens) -> None:
    with pytest.raises(UsageError, match="fedsight token list"):
        tokens.revoke("nope")


@pytest.mark.parametrize(
    ("grant", "of", "may"),
    [
        ({"role": "admin"}, header("people", None, None), True),
        ({"role": "producer"}, header("people", None, None), False),
        ({"role": "producer"}, header("server", "any", None), True),
        ({"role": "viewer"}, header(), False),
        ({"role": "producer", "run": "r1"}, header("server", "r1", None), True),
        ({"role": "producer", "run": "r1"}, header("server", "r2", None), False),
        ({"role": "producer", "run": "r1"}, header("source", None, None), False),
        ({"role": "producer", "run": "r1"}, header("source", "r1", None), False),
        ({"role": "producer"}, header("source", None, None), True),
        ({"role": "producer", "client": "c1"}, header("client", "any", "c1"), True),
        ({"role": "producer", "client": "c1"}, header("monitor", "any", "c1"), True),
        ({"role": "producer", "client": "c1"}, header("client", "any", "c2"), False),
        ({"role": "producer", "client": "c1"}, header("client", "any", None), False),
        ({"role": "producer", "client": "c1"}, header("server", "any", "c1"), False),
        ({"role": "producer", "client": "c1"}, header("source", "any", "c1"), False),
        ({"role": "producer", "client": "c1"}, header("people", "any", "c1"), False),
    ],
)
def test_whose_journals_a_token_may_ship(grant: dict[str, str], of: JournalHeader, may: bool) -> None:
    why_not = Grant(id="i", sha256="", created_at=0.0, **grant).why_not_write(of)  # type: ignore[arg-type]
    assert (why_not is None) is may


def test_reads_are_open_to_this_machine_where_only_it_can_reach_the_collector(tokens: Tokens) -> None:
    Access(tokens, on_loopback=True).reader(who())


@pytest.mark.parametrize(
    ("access", "caller_"),
    [
        ({"on_loopback": False}, who()),
        ({"on_loopback": True}, who("10.0.0.7")),
        ({"on_loopback": True}, who(x_forwarded_for="10.0.0.7")),
        ({"on_loopback": True}, who(x_forwarded_proto="https")),
        ({"on_loopback": True}, who(x_real_ip="10.0.0.7")),
        ({"on_loopback": True}, who(via="1.1 proxy")),
        ({"on_loopback": True, "open_reads": False}, who()),
    ],
    ids=["bound to the network", "peer elsewhere", *["behind a proxy"] * 4, "told to"],
)
def test_all_other_reads_need_a_token(tokens: Tokens, access: dict[str, bool], caller_: Caller) -> None:
    rules = Access(tokens, **access)
    with pytest.raises(Denied) as denied:
        rules.reader(caller_)
    assert denied.value.status == 401


def test_a_viewer_reads_by_header_or_cookie_and_a_producer_does_not(tokens: Tokens) -> None:
    rules = Access(tokens, on_loopback=False)
    viewer, _ = tokens.create("viewer")
    producer, _ = tokens.create("producer")
    rules.reader(who(authorization=f"Bearer {viewer}"))
    rules.reader(who(cookie=f"a=b; fedsight_token={viewer}"))
    with pytest.raises(Denied) as denied:
        rules.reader(who(authorization=f"Bearer {producer}"))
    assert denied.value.status == 403


def test_a_cookie_does_not_write(tokens: Tokens) -> None:
    rules = Access(tokens, on_loopback=True)
    admin, grant = tokens.create("admin")
    assert rules.writer(who(authorization=f"Bearer {admin}")) == grant
    with pytest.raises(Denied):
        rules.writer(who(cookie=f"fedsight_token={admin}"))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8083", "127.0.0.1.evil.example", ""])
def test_a_name_that_points_here_is_refused_on_loopback(tokens: Tokens, host: str) -> None:
    with pytest.raises(Denied) as denied:
        Access(tokens, on_loopback=True).check_host(who(host=host))
    assert denied.value.code == "forbidden_host"
    Access(tokens, on_loopback=False).check_host(who(host=host))


@pytest.mark.parametrize("host", ["localhost", "localhost:8083", "127.0.0.1:1", "[::1]:8083"])
def test_this_machines_own_names_are_let_in(tokens: Tokens, host: str) -> None:
    Access(tokens, on_loopback=True).check_host(who(host=host))


def test_a_page_of_another_origin_opens_no_stream(tokens: Tokens) -> None:
    rules = Access(tokens, on_loopback=True)
    rules.check_origin(who())
    rules.check_origin(who(origin="http://localhost:8083"))
    for origin in ("http://evil.example", "http://localhost:9999", "null"):
        with pytest.raises(Denied):
            rules.check_origin(who(origin=origin))
