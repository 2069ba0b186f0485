"""Parts of an answer that a source can do without: told once when they fail, and once when they are back."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from fedsight.collector.sources.source import SourceDown
from fedsight.events import Event, Log

T = TypeVar("T")


class OptionalParts:
    """Asks for parts and remembers which of them fail. source: its name, for the log lines."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._failing: dict[str, str] = {}
        self._asked: dict[str, str | None] = {}

    async def ask(self, part: str, answer: Awaitable[T]) -> T | None:
        """The answer, or None where it could not be had. part: what a reader of the log knows it by ("links")."""
        try:
            value = await answer
        except (SourceDown, msgspec.ValidationError) as error:
            self._asked[part] = str(error)
            return None
        self._asked[part] = None
        return value

    def news(self, ts: float) -> list[Event]:
        """Log lines about what began to fail or to work since the last call; parts no longer asked for are forgotten."""
        asked, self._asked = self._asked, {}
        before, self._failing = self._failing, {part: error for part, error in asked.items() if error is not None}
        events: list[Event] = [
            Log(
                ts=ts,
                component=f"source {self._source}",
                event="part_unknown",
                message=f"{part}: unknown, since {error}",
                level="warning",
            )
            for part, error in self._failing.items()
            if part not in before
        ]
        events += [
            Log(ts=ts, component=f"source {self._source}", event="part_known", message=f"{part}: known again")
            for part in before
            if part in asked and part not in self._failing
        ]
        return events
