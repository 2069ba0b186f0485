"""Reading back what a run recorded."""

from pathlib import Path
from typing import Any, TypeVar

from fedsight.events import Event, decode_block
from fedsight.journal import JournalReader

E_ = TypeVar("E_", bound=Event)


def events(path: Path) -> list[Any]:
    """Every event of a journal; fails on a line that is none."""
    found: list[Any] = []
    with JournalReader(path) as reader:
        while data := reader.read()[1]:
            block = decode_block(data, 0)
            assert block.bad == []
            found += block.events
    return found


def of_type(path: Path, kind: type[E_]) -> list[E_]:
    """The events of one kind."""
    return [event for event in events(path) if isinstance(event, kind)]
