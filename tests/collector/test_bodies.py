"""Bodies are unpacked, but never to more than was agreed."""

import gzip

import pytest
import zstandard

from fedsight.collector.bodies import unpack
from fedsight.collector.errors import Refused

LINES = b'{"kind":"text"}\n' * 5000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", LINES),
        ("identity", LINES),
        ("gzip", gzip.compress(LINES, 1)),
        ("gzip", gzip.compress(LINES[:1600]) + gzip.compress(LINES[1600:])),
        ("zstd", zstandard.ZstdCompressor().compress(LINES)),
        ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(LINES)),
        ("zstd", zstandard.ZstdCompressor().compress(LINES[:1600]) + zstandard.ZstdCompressor().compress(LINES[1600:])),
    ],
    ids=["none", "identity", "gzip", "gzip in two members", "zstd", "zstd without size", "zstd in two frames"],
)
def test_every_agreed_encoding_gives_the_same_bytes(encoding: str, body: bytes) -> None:
    assert unpack(body, encoding, len(LINES)) == LINES


@pytest.mark.parametrize("encoding", ["gzip", "zstd", ""])
def test_a_body_that_unpacks_to_too_much_is_refused_with_413(encoding: str) -> None:
    bomb = b"\0" * (64 << 20)
    packed = {"gzip": gzip.compress(bomb, 1), "zstd": zstandard.ZstdCompressor().compress(bomb), "": bomb}[encoding]
    with pytest.raises(Refused) as refused:
        unpack(packed, encoding, 1 << 20)
    assert refused.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_body_is_refused_with_400(encoding: str, damage: str) -> None:
    packed = gzip.compress(LINES) if encoding == "gzip" else zstandard.ZstdCompressor().compress(LINES)
    body = packed[:-7] if damage == "cut" else b"no such thing"
    with pytest.raises(Refused) as refused:
        unpack(body, encoding, 1 << 20)
    assert refused.value.status == 400


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_body_of_very_many_pieces_is_refused_however_little_they_hold(encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.ZstdCompressor().compress
    assert unpack(pack(b"") * 1_000, encoding, 10) == b""
    with pytest.raises(Refused, match="1000 pieces") as refused:
        unpack(pack(b"") * 300_000, encoding, 10)
    assert refused.value.status == 400


def test_an_unknown_encoding_is_refused_with_415_and_says_what_goes() -> None:
    with pytest.raises(Refused) as refused:
        unpack(b"x", "br", 10)
    assert refused.value.status == 415
    assert refused.value.headers == {"accept-encoding": "gzip, zstd"}
