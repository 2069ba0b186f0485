"""Custom emitters: an object with any of a few methods ("hooks"), called as the run's events come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from fedsight.emitters.destination import Batch, Line, RunInfo
from fedsight.emitters.trouble import TRIES
from fedsight.events import Checkpoint, ClientEvent, ClientUpdate, Event, RunEnd, RunStatus, ServerInfo

HOOKS = (
    "on_init",
    "on_round",
    "on_client_update",
    "on_dropout",
    "on_comm_failure",
    "on_checkpoint",
    "on_server_metadata",
    "on_events",
    "finish",
)
"""What a custom emitter may have; each is optional, one is needed."""

_Call = Callable[[], object]


class Hooks:
    """The destination that calls `target`'s hooks, in the order of the events.

    Guard from doubles: within a process a call that succeeded isn't made again. After a crash the
    lines since the last saved offset (a fraction of a second's, as a rule) come again: an emitter
    that must not see one twice gives `on_events`, whose lines carry their offsets in the journal.
    """

    def __init__(self, target: Any) -> None:
        self.target = target
        self.name = _own_text(target, "name") or type(target).__name__
        self.sync_name = f"{_module_of(target)}:{type(target).__qualname__}"
        self._run = RunInfo(run_id="")
        self._inited = False
        self._init_failures = 0
        self._done: dict[str, tuple[int, int]] = {}
        self._events_done: dict[str, int] = {}
        self._unhashed: list[Checkpoint] = []

    def identity(self) -> str:
        """What the target says of itself (`identity`), else its class."""
        return _own_text(self.target, "identity") or f"{_module_of(self.target)}.{type(self.target).__qualname__}"

    def open(self, run: RunInfo, saved: dict[str, Any] | None) -> None:
        """`on_init` is called with the first line: once for each object, also after a restart."""
        self._run = run
        self._inited = False
        self._init_failures = 0
        self._done = {}
        self._events_done = {}
        self._unhashed = [msgspec.convert(each, Checkpoint) for each in (saved or {}).get("unhashed", [])]

    def deliver(self, batch: Batch) -> int:
        """Make the calls that the lines ask for; those made before (the batch came again) are not repeated."""
        self._run = batch.run
        self._init()
        for line in batch.lines:
            self._deliver_line(batch.journal, line)
        self._deliver_events(batch)
        return 0

    def save(self) -> dict[str, Any] | None:
        """Checkpoints whose SHA-256 is still to come."""
        return {"unhashed": [msgspec.to_builtins(each) for each in self._unhashed]} if self._unhashed else None

    def close(self, status: RunStatus | None) -> None:
        """`finish`."""
        self._call("finish")

    def where(self) -> str:
        """Only the object knows."""
        return "all events were handed over"

    def sync_arguments(self) -> list[str]:
        """None: the object is made without arguments."""
        return []

    # ── the calls ─────────────────────────────────────────────────────────────────────────────

    def _call(self, hook: str, *arguments: object) -> None:
        if (method := getattr(self.target, hook, None)) is not None:
            method(*arguments)

    def _init(self) -> None:
        if self._inited:
            return
        try:
            self._call("on_init", self._run.run_id, self._run.algorithm, dict(self._run.config))
        except Exception:
            self._init_failures += 1
            self._inited = self._init_failures >= TRIES  # the other hooks get their events nevertheless
            raise
        self._inited = True

    def _deliver_line(self, journal: str, line: Line) -> None:
        offset, steps_done = self._done.get(journal, (-1, 0))
        if line.offset < offset:
            return
        if line.offset > offset:
            steps_done = 0
        for number, call in enumerate(self._calls_of(line)):
            if number >= steps_done:
                call()
                self._done[journal] = (line.offset, number + 1)
        self._note(line.event)
        self._done[journal] = (line.offset + 1, 0)

    def _calls_of(self, line: Line) -> Iterator[_Call]:
        event = line.event
        if isinstance(event, ClientUpdate):
            yield lambda: self._call("on_client_update", event)
        elif isinstance(event, ClientEvent) and event.event in ("dropout", "comm_failure"):
            yield lambda: self._call(f"on_{event.event}", event.round, event.client_id, event.reason)
        elif isinstance(event, ServerInfo):
            yield lambda: self._call("on_server_metadata", _flat(event))
        elif isinstance(event, Checkpoint) and event.sha256 is not None:
            yield lambda: self._checkpoint(event)
        elif isinstance(event, RunEnd):
            for unhashed in self._unhashed:
                yield lambda checkpoint=unhashed: self._checkpoint(checkpoint)  # type: ignore[misc]
        if (report := line.report) is not None:
            yield lambda: self._call("on_round", report.summary, report.clients)

    def _note(self, event: Event) -> None:
        """A checkpoint is told of once: when its hash is known, or, where that never comes, at the run's end."""
        if isinstance(event, Checkpoint):
            self._unhashed = [each for each in self._unhashed if (each.path, each.round) != (event.path, event.round)]
            if event.sha256 is None:
                self._unhashed.append(event)
        elif isinstance(event, RunEnd):
            self._unhashed = []

    def _checkpoint(self, event: Checkpoint) -> None:
        told = {"sha256": event.sha256, "size_bytes": event.size_bytes}
        metadata = {**(event.metadata or {}), **{key: value for key, value in told.items() if value is not None}}
        self._call("on_checkpoint", event.round, event.path, metadata)

    def _deliver_events(self, batch: Batch) -> None:
        done = self._events_done.get(batch.journal, -1)
        lines = [line for line in batch.lines if line.offset > done]
        if lines:
            whole = len(lines) == len(batch.lines)
            self._call("on_events", batch if whole else msgspec.structs.replace(batch, lines=lines))
            self._events_done[batch.journal] = lines[-1].offset


def is_hooked(target: object) -> bool:
    """Whether an object has any of the hooks."""
    return not isinstance(target, type) and any(callable(getattr(target, hook, None)) for hook in HOOKS)


def _flat(event: ServerInfo) -> dict[str, Any]:
    """The server's metadata as they were given."""
    known = {
        name: value
        for name in event.__struct_fields__
        if name not in ("ts", "metrics", "extra") and (value := getattr(event, name)) is not None
    }
    return {**known, **(event.metrics or {}), **(event.extra or {})}


def _own_text(target: Any, attribute: str) -> str | None:
    value = getattr(target, attribute, None)
    if callable(value):
        value = value()
    return value if isinstance(value, str) and value else None


def _module_of(target: object) -> str:
    """The module of an object's class; that of the script where it is defined in the script itself."""
    module = type(target).__module__
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    return spec.name if spec is not None else Path(file).stem if file else module
