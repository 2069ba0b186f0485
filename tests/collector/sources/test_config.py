"""From a table of the configuration to a source: every kind, its times, what opens it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fedsight.collector.sources import KINDS, load
from fedsight.collector.sources.config import build, masked, masked_url
from fedsight.collector.sources.web import HttpWeb
from fedsight.errors import UsageError

LEAST: dict[str, dict[str, Any]] = {
    "ovs": {},
    "reach": {"targets": ["tcp://127.0.0.1:9"]},
}
"""What a kind needs, where that is not a URL."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_made_reached_and_shown(kind: str) -> None:
    assert load(kind).source.kind == kind
    [made] = build([{"kind": kind, **LEAST.get(kind, {"url": "http://user:pw@127.0.0.1:9/x"})}])
    config = made.source.config
    assert config.name == kind.replace("_", "-")
    assert config.timeout_sec < config.interval_sec == 5.0
    assert "pw" not in masked_url(config.url)

    async def reach() -> None:
        await HttpWeb(config.url, made.access, config.timeout_sec).close()

    asyncio.run(reach())


@pytest.mark.parametrize(
    ("given", "interval_sec", "timeout_sec"),
    [
        ({}, 7.0, 4.0),
        ({"interval_sec": 1}, 1.0, 0.8),
        ({"timeout_sec": 2}, 7.0, 2.0),
        ({"interval_sec": 60, "timeout_sec": 30}, 60.0, 30.0),
    ],
)
def test_a_timeout_that_is_not_given_fits_the_interval(
    given: dict[str, Any], interval_sec: float, timeout_sec: float
) -> None:
    [made] = build([{"kind": "policy", "url": "http://pe", **given}], interval_sec=7.0)
    assert (made.source.config.interval_sec, made.source.config.timeout_sec) == (interval_sec, timeout_sec)


@pytest.mark.parametrize("url", ["fl-server:8081", "127.0.0.1:8081/metrics", "ftp://h/x", "http://", "http://h:port/"])
def test_a_url_that_nothing_could_be_asked_by_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="must begin with http:// or https:// and name a host"):
        build([{"kind": "fl_server", "url": url}])


def test_a_url_without_its_scheme_is_refused_without_who_opens_it() -> None:
    with pytest.raises(UsageError, match=r"url is '\*\*\*@sdn:8181'"):
        build([{"kind": "onos", "url": "onos:rocks@sdn:8181"}])


def test_what_a_kind_itself_finds_wrong_is_named_by_its_key_alone() -> None:
    with pytest.raises(UsageError, match=r"source 'reach': targets: '127\.0\.0\.1:9' is neither"):
        build([{"kind": "reach", "name": "reach", "targets": ["127.0.0.1:9"]}])


def test_a_password_may_stand_in_the_environment() -> None:
    [made] = build(
        [{"kind": "onos", "url": "http://sdn", "username": "onos", "password": "env:PW"}], environ={"PW": "rocks"}
    )
    assert (made.access.username, made.access.password) == ("onos", "rocks")


@pytest.mark.parametrize(
    "given",
    [
        {"interval_sec": 0, "timeout_sec": 0},
        {"interval_sec": float("inf")},
        {"interval_sec": "5"},
        {"timeout_sec": -1},
        {"timeout_sec": 5.0},
    ],
)
def test_times_that_cannot_be_meant_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"interval_sec|timeout_sec"):
        build([{"kind": "policy", "url": "http://pe", **given}])


def test_what_is_secret_is_masked_at_any_depth() -> None:
    table = {
        "url": "https://me:x@h/p?key=x",
        "username": "me",
        "password": "x",
        "nested": {"api_key": "x", "list": [{"auth_token": "x"}]},
        "community": "x",
        "flag": True,
        "token": "env:NAME",
    }
    assert masked(table) == {
        "url": "https://***@h/p?key=***",
        "username": "me",
        "password": "***",
        "nested": {"api_key": "***", "list": [{"auth_token": "***"}]},
        "community": "***",
        "flag": True,
        "token": "env:NAME",
    }
