"""The process that `OwnProcess` starts: follows the journals that it is told of, and says how far it is.

Standard input: the pickled destination, then lines of `ToChild`; its end means that the parent is
gone. Standard output: lines of `FromChild`.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import queue
import sys
import threading
from pathlib import Path

import msgspec

from fedsight.emitters.following import Following
from fedsight.emitters.own_process import FromChild, ToChild
from fedsight.emitters.state import EmitterState

_ORPHAN_SEC = 30.0
_LOOK_SEC = 0.2


def main() -> None:
    """Deliver until the parent says that all is written, or is gone."""
    answers = Answers()
    source = io.FileIO(0, closefd=False)  # a buffer's lock, held by a thread, would keep Python from ending
    sys.path, pickled = pickle.loads(_read(source, int.from_bytes(_read(source, 8), "big")))
    following = Following(pickle.loads(pickled))
    following.on_change = lambda change, text: answers.write(FromChild(change=(change, text)))
    commands: queue.SimpleQueue[ToChild | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, commands), daemon=True).start()
    _serve(following, commands, answers)


def _serve(following: Following, commands: queue.SimpleQueue[ToChild | None], answers: Answers) -> None:
    paths: list[Path] = []
    last: EmitterState | None = None
    is_draining = False
    while True:
        try:
            command = commands.get(timeout=_LOOK_SEC)
        except queue.Empty:
            pass
        else:
            if command is None:
                following.drain(paths, _ORPHAN_SEC)
                return
            is_draining |= command.drain
            if command.attach is not None:
                paths.append(Path(command.attach))
                following.attach(paths[-1])
        if is_draining and following.drain(paths, 0.0):
            answers.write(FromChild(state=following.state(), where=following.delivered(), complete=True))
            return
        if (state := following.state()) != last:
            last = state
            answers.write(FromChild(state=state))


def _read(source: io.RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.read(size - len(data))
        if not part:
            raise EOFError("the parent is gone")
        data += part
    return data


def _listen(source: io.RawIOBase, commands: queue.SimpleQueue[ToChild | None]) -> None:
    decode = msgspec.json.Decoder(ToChild).decode
    for line in source:
        commands.put(decode(line))
    commands.put(None)


class Answers(logging.Handler):
    """Lines to the parent: states, and what this process logs. What a product prints goes to standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._fd = os.dup(1)
        self._write_lock = threading.Lock()
        os.dup2(2, 1)
        logging.getLogger("fedsight").addHandler(self)
        logging.getLogger("fedsight").propagate = False

    def write(self, answer: FromChild) -> None:
        """Tell the parent; one that is gone hears nothing."""
        with self._write_lock:
            try:
                os.write(self._fd, msgspec.json.encode(answer) + b"\n")
            except BrokenPipeError:
                return

    def emit(self, record: logging.LogRecord) -> None:
        """What this process logs is logged by the parent."""
        self.write(FromChild(log=(record.levelno, record.getMessage())))


if __name__ == "__main__":
    main()
