"""The process form's child: a small interpreter of its own that measures the training from outside.

Started by path, isolated (`python -I -S …/child.py PATH…`): neither the training's folder nor its
environment nor `sitecustomize` have a say in it. It reads settings and commands from its standard
input, one JSON object a line, and answers on its standard output.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Behind the standard library, so that no module of the training's stands in for one of Python's.
    sys.path += sys.argv[1:]
    # msgspec does without it: a quarter of the start, and the memory of `inspect` and `ast`.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]

import contextlib
import gc
import importlib
import os
import signal
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from fedsight.monitor.commands import AnyReply, AskPending, Done
from fedsight.monitor.pipe import PipeInbox, PollingInbox

if __name__ == "__main__":
    del sys.modules["typing_extensions"]  # other packages' probes may want it

if TYPE_CHECKING:
    from fedsight.monitor.worker import Inbox, Worker

_LOOK_AROUND_SEC = 0.1


def _import_late(name: str) -> None:
    """Have a module loaded when something of it is used, and not before."""
    if name in sys.modules:
        return
    stand_in = types.ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules[name] is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[name] = stand_in


def main() -> None:
    """Measure as told, then end at once."""
    _import_late("psutil")  # probes need it on other systems than Linux; a megabyte and a half
    from fedsight.monitor.worker import work

    replies = os.dup(1)
    os.dup2(2, 1)  # whatever prints here must not speak to the parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training's; the last reading is still to come
    inbox = PipeInbox(0, os.getppid()) if sys.platform != "win32" else PollingInbox(0)

    def reply(answer: AnyReply) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone, which the inbox tells
            os.write(replies, msgspec.json.encode(answer) + b"\n")

    try:
        settings = inbox.settings()
        settings.excluded_pids.append(os.getpid())
        inbox.watch(settings.pid)
        gc.freeze()  # what is loaded stays
        worker = work(settings, inbox, reply, time.process_time)
        if worker is not None:
            with contextlib.suppress(EOFError):
                _ship(worker, inbox, reply)
            reply(Done(is_over=True, text=worker.pending()))
    except EOFError:
        pass
    sys.stderr.flush()
    os._exit(0)  # without the time that a tidy end of the interpreter takes


def _ship(worker: Worker, inbox: Inbox, reply: Callable[[AnyReply], None]) -> None:
    """Deliver the rest of the journal, for as long as the parent lives."""
    shipping = worker.shipping
    if shipping is None:
        return
    shipping.finish(0)
    while not shipping.is_done:
        command = inbox.get(_LOOK_AROUND_SEC)
        if isinstance(command, AskPending):
            reply(Done(seq=command.seq, text=worker.pending()))


if __name__ == "__main__":
    main()
