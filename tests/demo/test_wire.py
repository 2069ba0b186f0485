import socket
import struct
import threading

import msgspec
import numpy as np
import pytest

from fedsight.demo import wire


@pytest.fixture
def pair():
    """Two ends of one TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    ends = wire.Connection(near, timeout_sec=0.2), wire.Connection(far, timeout_sec=0.2)
    yield ends
    for end in ends:
        end.close()


def test_messages_and_arrays_come_through_as_they_were(pair):
    near, far = pair
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7, -1], np.int64), np.zeros((0, 4), np.float32)]
    near.send(wire.Train(9), arrays)
    message, received = far.receive()
    assert message == wire.Train(9)
    assert [(a.dtype, a.tolist()) for a in received] == [(a.dtype, a.tolist()) for a in arrays]


def test_both_ends_count_the_same_bytes(pair):
    near, far = pair
    near.send(wire.Ping())
    near.send(wire.Train(1), [np.ones(1000, np.float32)])
    far.receive()
    far.receive()
    expected = len(wire.frame(wire.Ping())) + len(wire.frame(wire.Train(1), [np.ones(1000, np.float32)]))
    assert near.bytes_sent == far.bytes_received == expected
    assert near.bytes_received == far.bytes_sent == 0


def test_an_end_between_frames_is_orderly(pair):
    near, far = pair
    near.close()
    with pytest.raises(wire.ConnectionEnded, match="closed by the other side"):
        far.receive()


def test_an_end_inside_a_frame_says_how_far_it_came(pair):
    near, far = pair
    frame = wire.frame(wire.Train(1), [np.ones(10, np.float32)])
    near.send_raw(frame[:-10])
    near.close()
    with pytest.raises(ConnectionResetError, match="closed after 30 of 40 bytes"):
        far.receive()


def test_a_reset_is_seen_as_one(pair):
    near, far = pair
    near.send_raw(b"\0\0")
    near.reset()
    with pytest.raises(ConnectionResetError):
        far.receive()


def test_silence_inside_a_frame_times_out(pair):
    near, far = pair
    near.send_raw(b"\0\0\0")
    with pytest.raises(TimeoutError, match=r"nothing for 0\.2 s after 3 of 8 bytes"):
        far.receive()


def test_waiting_for_a_frame_can_be_limited(pair):
    with pytest.raises(TimeoutError, match=r"no message within 0\.05 s"):
        pair[1].receive(wait_sec=0.05)


@pytest.mark.parametrize("lengths", [(wire.MAX_ENVELOPE_BYTES + 1, 0), (1, wire.MAX_ARRAYS_BYTES + 1)])
def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read(pair, lengths):
    pair[0].send_raw(struct.pack("!II", *lengths))
    with pytest.raises(wire.ProtocolError, match="too large"):
        pair[1].receive()


def test_arrays_that_do_not_fill_their_bytes_are_refused(pair):
    frame = bytearray(wire.frame(wire.Train(1), [np.ones(2, np.float32)]))
    struct.pack_into("!I", frame, 4, 12)
    pair[0].send_raw(bytes(frame) + b"\0\0\0\0")
    with pytest.raises(wire.ProtocolError, match="12 bytes of arrays where 8 were announced"):
        pair[1].receive()


def test_garbage_is_refused(pair):
    pair[0].send_raw(struct.pack("!II", 4, 0) + b"oops")
    with pytest.raises(msgspec.MsgspecError):
        pair[1].receive()


def test_two_threads_do_not_mix_their_frames(pair):
    near, far = pair
    messages = [[wire.Train(round_)] * 200 for round_ in (1, 2)]
    threads = [threading.Thread(target=lambda m=m: [near.send(each) for each in m]) for m in messages]
    for thread in threads:
        thread.start()
    rounds = [far.receive()[0].round for _ in range(400)]
    for thread in threads:
        thread.join()
    assert (rounds.count(1), rounds.count(2)) == (200, 200)
