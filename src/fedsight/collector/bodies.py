"""Unpacking what a sender posts, never to more than was agreed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import zstandard

from fedsight.collector.errors import Refused

_SLICE_BYTES = 1 << 10
"""Zstd is fed in slices this small: each may unpack to 30,000 times its size before we see it."""

_GZIP_SLICE_BYTES = 1 << 16

MAX_MEMBERS = 1_000
"""Of gzip members or zstd frames in one body; a body of nothing but empty ones would cost minutes."""


def unpack(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The bytes that `body` holds.

    Raises `Refused`: 415 for another encoding, 400 for a damaged body or one of too many pieces, 413 for more than `max_bytes`.
    """
    if encoding in ("", "identity"):
        data = body
    elif encoding in ("gzip", "x-gzip"):
        data = _gunzip(body, max_bytes)
    elif encoding == "zstd":
        data = _unzstd(body, max_bytes)
    else:
        raise Refused(
            415,
            f"Content-Encoding {encoding!r} is not supported; use gzip, zstd or none",
            field="content-encoding",
            headers={"accept-encoding": "gzip, zstd"},
        )
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = at = members = 0
    while at < len(body):  # gzip allows several members one behind the other
        members = _one_more(members, "gzip")
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        while at < len(body) and not member.eof:
            piece = body[at : at + _GZIP_SLICE_BYTES]
            try:
                parts.append(member.decompress(piece, max_bytes + 1 - size))
            except zlib.error as error:
                raise _damaged("gzip", str(error)) from error
            size += len(parts[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
            at += len(piece) - len(member.unused_data)
        if not member.eof:
            raise _damaged("gzip", "it ends too early")
    return b"".join(parts)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        for part in _zstd_chunks(body):
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
            parts.append(part)
    except zstandard.ZstdError as error:
        raise _damaged("zstd", str(error)) from error
    return b"".join(parts)


def _zstd_chunks(body: bytes) -> Iterator[bytes]:
    """Unpack piece by piece: a frame's word on its size is not trusted."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    at = frames = 0
    while at < len(body):
        frames = _one_more(frames, "zstd")
        frame = decompressor.decompressobj(write_size=1 << 20)
        while at < len(body) and not frame.eof:
            piece = body[at : at + _SLICE_BYTES]
            yield frame.decompress(piece)
            at += len(piece) - len(frame.unused_data)
        if not frame.eof:
            raise _damaged("zstd", "it ends too early")


def _one_more(members: int, name: str) -> int:
    if members == MAX_MEMBERS:
        raise Refused(
            400, f"the body is more than {MAX_MEMBERS} pieces of {name}; pack it as one", field="content-encoding"
        )
    return members + 1


def _damaged(name: str, reason: str) -> Refused:
    return Refused(400, f"the body is not whole {name}: {reason}", field="content-encoding")


def _too_large(max_bytes: int) -> Refused:
    return Refused(
        413, f"the body unpacks to more than {max_bytes >> 20} MiB; send it in smaller parts, each of whole lines"
    )
