"""How the demo's server and clients talk: framed messages over TCP.

A frame is two big-endian 32-bit lengths, a MessagePack envelope of the first length (the message,
and dtype and shape of the arrays), and the arrays' raw bytes of the second length.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedsight.demo.cast import Part

_LENGTHS = struct.Struct("!II")
MAX_ENVELOPE_BYTES = 1 << 20
MAX_ARRAYS_BYTES = 1 << 28

Array: TypeAlias = NDArray[Any]


class Hello(msgspec.Struct, tag="hello"):
    """Client: I am here; `has_data` when I come back and still have mine."""

    client_id: str
    has_data: bool = False


class Welcome(msgspec.Struct, tag="welcome"):
    """Server: your part; the first time, your data comes along (arrays: x and y to train on, x and y held out)."""

    run_id: str
    runs_dir: str
    part: Part
    learning_rate: float
    batch_size: int
    collector_url: str | None = None
    token: str | None = None


class Train(msgspec.Struct, tag="train"):
    """Server: train on this global model (arrays), for this round."""

    round: int


class Update(msgspec.Struct, tag="update"):
    """Client: my model (arrays), trained on the global model of `base_round`."""

    base_round: int
    num_samples: int
    local_accuracy: float
    local_loss: float
    gradient_norm: float
    train_time_sec: float
    cpu_pct: float
    ram_mb: float
    network_latency_ms: float


class Received(msgspec.Struct, tag="received"):
    """Server: your update arrived, and counts for this round."""

    round: int


class Ping(msgspec.Struct, tag="ping"):
    """Client: are you there?"""


class Pong(msgspec.Struct, tag="pong"):
    """Server: yes."""


class Leave(msgspec.Struct, tag="leave"):
    """Client: I drop out, because …"""

    reason: str


class Stop(msgspec.Struct, tag="stop"):
    """Server: training is over."""


Message: TypeAlias = Hello | Welcome | Train | Update | Received | Ping | Pong | Leave | Stop


class _Array(msgspec.Struct, array_like=True):
    dtype: Literal["<f4", "<i8"]
    shape: tuple[int, ...]


class _Envelope(msgspec.Struct, array_like=True):
    message: Message
    arrays: list[_Array]


_decoder = msgspec.msgpack.Decoder(_Envelope)


class ConnectionEnded(ConnectionError):
    """The other side closed its connection between two frames."""


class ProtocolError(ValueError):
    """What came is no frame, or no message for this moment."""


class Connection:
    """One end of a connection. Counts every byte that goes through the socket.

    A pause of more than `timeout_sec` inside a frame is a `TimeoutError`; between frames the
    other side may be silent as long as it likes.
    """

    def __init__(self, sock: socket.socket, *, timeout_sec: float) -> None:
        sock.settimeout(timeout_sec)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._send_lock = threading.Lock()
        self.bytes_sent = 0
        self.bytes_received = 0

    def send(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        """Send one frame. Raises `OSError` when the connection fails."""
        self.send_raw(frame(message, arrays))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are; the failing client sends half a frame this way."""
        with self._send_lock:
            self._socket.sendall(data)
            self.bytes_sent += len(data)

    def receive(self, *, wait_sec: float | None = None) -> tuple[Message, list[Array]]:
        """Wait for a frame, for at most `wait_sec` when given.

        Raises `ConnectionEnded` when the other side closed, another `OSError` when the connection
        failed or stalled, and `ProtocolError` or
        `msgspec.MsgspecError` when what came is no frame.
        """
        if not select.select([self._socket], [], [], wait_sec)[0]:
            raise TimeoutError(f"no message within {wait_sec:g} s")
        envelope_bytes, arrays_bytes = _LENGTHS.unpack(self._read(_LENGTHS.size, may_end=True))
        if envelope_bytes > MAX_ENVELOPE_BYTES or arrays_bytes > MAX_ARRAYS_BYTES:
            raise ProtocolError(f"a frame of {envelope_bytes} + {arrays_bytes} bytes is too large")
        envelope = _decoder.decode(self._read(envelope_bytes))
        return envelope.message, _split(self._read(arrays_bytes), envelope.arrays)

    def _read(self, length: int, *, may_end: bool = False) -> bytearray:
        data = bytearray(length)
        filled = 0
        while filled < length:
            try:
                count = self._socket.recv_into(memoryview(data)[filled:])
            except TimeoutError:
                limit = self._socket.gettimeout()
                raise TimeoutError(f"timed out: nothing for {limit:g} s after {filled} of {length} bytes") from None
            if count == 0:
                if may_end and filled == 0:
                    raise ConnectionEnded("connection closed by the other side")
                raise ConnectionResetError(f"connection closed after {filled} of {length} bytes")
            filled += count
            self.bytes_received += count
        return data

    def reset(self) -> None:
        """Break the connection off, so that the other side gets an RST instead of an orderly end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """End the connection; a thread that waits in `receive` wakes up."""
        with contextlib.suppress(OSError):  # the other side was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def frame(message: Message, arrays: Sequence[Array] = ()) -> bytes:
    """The bytes of one frame."""
    flat = [np.ascontiguousarray(a) for a in arrays]
    specs = [_Array(a.dtype.newbyteorder("<").str, a.shape) for a in flat]
    envelope = msgspec.msgpack.encode(_Envelope(message, specs))
    body = b"".join(a.astype(s.dtype, copy=False).tobytes() for a, s in zip(flat, specs, strict=True))
    return _LENGTHS.pack(len(envelope), len(body)) + envelope + body


def _split(data: bytearray, specs: Sequence[_Array]) -> list[Array]:
    arrays: list[Array] = []
    at = 0
    for spec in specs:
        count = int(np.prod(spec.shape, dtype=np.int64))
        arrays.append(np.frombuffer(data, dtype=spec.dtype, count=count, offset=at).reshape(spec.shape))
        at += count * np.dtype(spec.dtype).itemsize
    if at != len(data):
        raise ProtocolError(f"{len(data)} bytes of arrays where {at} were announced")
    return arrays
