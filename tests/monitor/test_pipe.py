"""How a child hears its commands, on every system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from fedsight.monitor.commands import Mark, Stop
from fedsight.monitor.pipe import PipeInbox, PollingInbox
from fedsight.monitor.settings import Settings

SETTINGS = Settings(pid=1, interval_sec=0.5, journal="/j.jsonl", node="n", metrics={"cpu": True})
INBOXES: list[Callable[[int], Any]] = [lambda fd: PipeInbox(fd, os.getppid()), PollingInbox]


def line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


@pytest.mark.parametrize("open_inbox", INBOXES, ids=["select", "thread"])
def test_settings_come_first_then_commands_however_the_pipe_cuts_them(
    open_inbox: Callable[[int], Any], pipe: tuple[int, int]
) -> None:
    inbox = open_inbox(pipe[0])
    mark = Mark(phase="round 1", number=1, edge="begin", seq=7)
    os.write(pipe[1], line(SETTINGS) + line(mark) + line(Stop())[:5])
    assert inbox.settings() == SETTINGS
    assert inbox.get(10) == mark
    assert inbox.get(0.01) is None
    os.write(pipe[1], line(Stop())[5:])
    assert inbox.get(10) == Stop()
    os.close(pipe[1])
    for _ in range(2):
        with pytest.raises(EOFError):
            inbox.get(10)


@pytest.mark.parametrize("open_inbox", INBOXES, ids=["select", "thread"])
def test_a_pipe_that_ends_before_the_settings_is_the_end(
    open_inbox: Callable[[int], Any], pipe: tuple[int, int]
) -> None:
    os.close(pipe[1])
    with pytest.raises(EOFError):
        open_inbox(pipe[0]).settings()
