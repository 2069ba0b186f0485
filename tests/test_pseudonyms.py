"""Pseudonyms are the same everywhere, and say nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedsight.errors import UsageError
from fedsight.pseudonyms import Pseudonyms


def test_a_client_has_the_same_name_always() -> None:
    assert Pseudonyms("a key").of("Charité Berlin") == Pseudonyms(b"a key").of("Charité Berlin")


def test_a_client_has_the_same_name_in_another_process() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from fedsight.pseudonyms import Pseudonyms; print(Pseudonyms('k').of('site-1'))"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.stdout.strip() == Pseudonyms("k").of("site-1")


def test_the_name_is_that_of_hmac_sha256() -> None:
    # echo -n site-1 | openssl dgst -sha256 -hmac k
    assert Pseudonyms("k").of("site-1") == "client-6e183eebf21c"


def test_another_key_gives_another_name() -> None:
    assert Pseudonyms("k").of("site-1") != Pseudonyms("l").of("site-1")


def test_many_clients_have_different_names() -> None:
    pseudonyms = Pseudonyms("k")
    assert len({pseudonyms.of(f"site-{i}") for i in range(20_000)}) == 20_000


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsight.pseudonyms._MOST_KNOWN", 10)
    pseudonyms = Pseudonyms("k")
    first = pseudonyms.of("site-0")
    for i in range(25):
        pseudonyms.of(f"site-{i}")
        assert len(pseudonyms._known) <= 10
    assert pseudonyms.of("site-0") == first


def test_broken_text_has_a_name_too() -> None:
    assert Pseudonyms("k").of("\ud800").startswith("client-")


def test_the_key_can_not_be_read_off() -> None:
    assert "secret" not in repr(Pseudonyms("secret")) + str(vars(Pseudonyms("secret")))


@pytest.mark.parametrize("key", ["", b"", None, 7])
def test_a_key_that_can_not_be_meant_is_refused(key: object) -> None:
    with pytest.raises(UsageError, match="anonymize must be"):
        Pseudonyms(key)  # type: ignore[arg-type]
