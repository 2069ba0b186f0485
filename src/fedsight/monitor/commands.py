"""What a monitor says to its thread or child process, and what it hears from it."""

from __future__ import annotations

from typing import Literal

import msgspec

Edge = Literal["begin", "end"]


class Command(msgspec.Struct, tag=True, kw_only=True):
    """Answered by exactly one reply, of the same `seq`."""

    seq: int = 0


class Look(Command):
    """Take a reading now."""


class Mark(Command):
    """Take a reading now, and note that a phase begins or ends. `number` tells phases of one name apart."""

    phase: str
    number: int
    edge: Edge


class Flush(Command):
    """Record what was read and is held back."""


class Switch(Command):
    """Switch metrics on and off."""

    metrics: dict[str, bool]


class AskPending(Command):
    """What of the journal is not at the collector yet?"""


class Stop(Command):
    """Take the last reading, and end."""


AnyCommand = Look | Flush | Mark | Switch | AskPending | Stop


class Reply(msgspec.Struct, tag=True, kw_only=True):
    """From the thread or the child process. `seq`: of the command that it answers."""

    seq: int = 0


class Ready(Reply):
    """Measuring has begun: the window is in `journal`, from `offset` on. `port`: of the Prometheus endpoint."""

    journal: str
    offset: int
    port: int | None = None


class Done(Reply):
    """The command is carried out. `is_over`: there is nothing left to measure. `text`: the answer to a question."""

    is_over: bool = False
    text: str | None = None


class Failed(Reply):
    """It could not be started; `field` names the argument that was wrong."""

    field: str
    message: str


AnyReply = Ready | Done | Failed
