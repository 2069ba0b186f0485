"""The dashboard's files, over ASGI."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import httpx
import pytest

from fedsight.collector.dashboard import Dashboard

PAGE = b"<!doctype html><title>Fedsight</title>"
SCRIPT = b"console.log('hello');" * 50


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_bytes(PAGE)
    (folder / "favicon.svg").write_bytes(b"<svg/>")
    (folder / "assets" / "app-1a2b.js").write_bytes(SCRIPT)
    (folder / "assets" / "app-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT))
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return folder


def get(folder: Path, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Dashboard(folder))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/", "/runs/r1", "/runs/a%2Fb/clients/c.1", "/index.html"])
def test_any_path_that_is_no_file_is_the_page(dist: Path, path: str) -> None:
    answer = get(dist, path)
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


def test_assets_are_kept_for_ever_and_other_files_asked_for_again(dist: Path) -> None:
    script = get(dist, "/assets/app-1a2b.js", accept_encoding="identity")
    assert script.content == SCRIPT
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert get(dist, "/favicon.svg").headers["cache-control"] == "no-cache"


def test_an_asset_that_is_gone_is_404_not_the_page(dist: Path) -> None:
    assert get(dist, "/assets/old.js").status_code == 404


def test_a_precompressed_file_is_used_where_it_is_accepted(dist: Path) -> None:
    packed = get(dist, "/assets/app-1a2b.js", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == SCRIPT
    assert "content-encoding" not in get(dist, "/assets/app-1a2b.js", accept_encoding="br").headers


def test_what_has_not_changed_is_not_sent_again(dist: Path) -> None:
    etag = get(dist, "/").headers["etag"]
    assert get(dist, "/", if_none_match=etag).status_code == 304
    (dist / "index.html").write_bytes(PAGE + b"new")
    assert get(dist, "/", if_none_match=etag).content == PAGE + b"new"


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/%00"])
def test_nothing_outside_the_folder_is_served(dist: Path, path: str) -> None:
    answer = get(dist, path)
    assert b"secret" not in answer.content


def test_other_methods_are_refused(dist: Path) -> None:
    assert get(dist, "/", "POST").status_code == 405
    head = get(dist, "/", "HEAD")
    assert (head.status_code, head.content) == (200, b"")


def test_without_a_build_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    answer = get(tmp_path / "nothing", "/runs/r1")
    assert answer.status_code == 503
    assert "make ui" in answer.text


def test_a_name_longer_than_any_files_is_the_page(dist: Path) -> None:
    answer = get(dist, "/runs/" + "x" * 3_000)
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert get(dist, "/assets/" + "x" * 3_000).status_code == 404
