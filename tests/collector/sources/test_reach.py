"""Active probes over real sockets: latency and loss are what was measured, or absent."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.sources.replay import logged, metrics, poll
from fedsight.collector.sources.reach import ReachConfig, ReachSource
from fedsight.collector.sources.source import SourceDown

NO_NAME = f"tcp://{'x' * 64}:80"
"""A name with too long a part, which nobody even has to look up."""


@contextmanager
def listening(backlog: int = 16) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server, f"tcp://127.0.0.1:{server.getsockname()[1]}"


def source(*targets: str, **options: object) -> ReachSource:
    return ReachSource(ReachConfig(name="reach", targets=targets, **options))  # type: ignore[arg-type]


def test_a_target_that_answers_has_a_latency_and_no_loss() -> None:
    with listening() as (_, target):
        events = poll(source(target, tries=4))
    told = metrics(events, target)
    assert told["tries"] == 4
    assert told["packet_loss_rate"] == 0
    assert told["open"] == 1
    assert 0 < told["latency_min_ms"] <= told["latency_ms"] <= told["latency_max_ms"]
    assert metrics(events, "reach") == {"packet_loss_rate": 0, "average_latency_ms": told["latency_ms"]}


def test_a_refusal_is_an_answer_from_a_port_that_is_closed() -> None:
    with listening() as (_, target):
        pass
    told = metrics(poll(source(target, tries=2)), target)
    assert told["open"] == 0
    assert told["packet_loss_rate"] == 0
    assert told["latency_ms"] > 0


def test_what_does_not_answer_is_lost_and_has_no_latency() -> None:
    with listening(backlog=0) as (server, target), socket.socket() as first, socket.socket() as second:
        # With its queue full the kernel drops what else knocks.
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        asked = source(target, tries=2, try_timeout_sec=0.2)
        events = poll(asked)
        assert metrics(events, target) == {"tries": 2, "packet_loss_rate": 1, "open": 0}
        assert metrics(events, "reach") == {"packet_loss_rate": 1}
        assert logged(events) == ["target_lost"]
        assert logged(poll(asked)) == []
        for _ in range(2):
            server.accept()[0].close()
        assert logged(poll(asked)) == ["target_reached"]


def test_a_target_that_can_not_be_tried_costs_only_itself_and_is_said_once() -> None:
    with listening() as (_, target):
        asked = source(target, NO_NAME, tries=1)
        events = poll(asked)
        assert logged(events) == ["part_unknown"]
        assert metrics(events, target)["open"] == 1
        assert metrics(events, "reach")["packet_loss_rate"] == 0
        assert logged(poll(asked)) == []


def test_where_nothing_can_be_tried_the_source_is_down() -> None:
    with pytest.raises(SourceDown, match="no host's name"):
        poll(source(NO_NAME))


POLL = """
import sys
from collector.sources.replay import metrics, poll
from fedsight.collector.sources.reach import ReachConfig, ReachSource
from fedsight.collector.sources.source import SourceDown
try:
    print(metrics(poll(ReachSource(ReachConfig(name="reach", targets=(sys.argv[1],), tries=3))), sys.argv[1]))
except SourceDown as error:
    print(error)
"""


def poll_in_namespace(target: str, groups: str) -> str:
    """What a poll gives in a network namespace of its own, with a loopback and ping sockets for these groups."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("missing: root on Linux, with unshare (Debian's util-linux)")
    begin = f"ip link set lo up && echo '{groups}' > /proc/sys/net/ipv4/ping_group_range && exec \"$@\""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", begin, "sh", sys.executable, "-c", POLL, target],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[2]), *sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ping_sockets_that_are_not_allowed_are_named_with_the_remedy() -> None:
    assert "net.ipv4.ping_group_range" in poll_in_namespace("icmp://127.0.0.1", "1 0")


@pytest.mark.parametrize("target", ["icmp://127.0.0.1", "icmp://[::1]"])
def test_a_ping_is_answered(target: str) -> None:
    told = ast.literal_eval(poll_in_namespace(target, "0 2147483647"))
    assert told["packet_loss_rate"] == 0
    assert told["latency_ms"] > 0
    assert "open" not in told


@pytest.mark.parametrize("target", ["http://x:80", "tcp://x", "icmp://x:80", "x", "tcp://x:99999", "icmp://"])
def test_a_target_that_can_not_be_meant_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="targets: "):
        ReachConfig(name="reach", targets=(target,))


def test_tries_that_do_not_fit_into_a_poll_are_refused() -> None:
    with pytest.raises(ValueError, match="don't fit into timeout_sec, 4"):
        ReachConfig(name="reach", url="tcp://x:1", tries=5, try_timeout_sec=1)
    with pytest.raises(ValueError, match="targets: none"):
        ReachConfig(name="reach")
