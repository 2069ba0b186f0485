"""What the collector says of itself, in a journal of its own: started, stopped, restarted, configuration changed."""

from __future__ import annotations

import logging
import time

from fedsight import __version__
from fedsight.collector.journals import Journals
from fedsight.collector.producer import Producers, journal_id
from fedsight.collector.settings import Settings
from fedsight.collector.sources.config import masked
from fedsight.collector.sources.writers import newest
from fedsight.events import Event, Log

logger = logging.getLogger(__name__)

COMPONENT = "collector"


class OwnLog:
    """Writes system events of the collector itself."""

    def __init__(self, settings: Settings, journals: Journals, producers: Producers) -> None:
        self._journals = journals
        self._producers = producers
        self._configuration = {v.key: v.value for v in settings.in_force if v.origin != "default"} | {
            "sources": [masked(table) for table in settings.source_tables]
        }

    async def started(self) -> None:
        """Say that the collector runs; whether the last one ended as it should; and what is configured otherwise now."""
        last = newest(self._journals, journal_id("source", COMPONENT), Log)
        now = time.time()
        start = Log(
            ts=now,
            component=COMPONENT,
            event="started",
            message=f"Fedsight {__version__} started",
            extra={"configuration": self._configuration},
        )
        events: list[Event] = [start]
        if last is not None:
            if last.event != "stopped":
                start.event, start.level = "restarted", "warning"
                start.message += "; the collector before it did not stop by itself"
            before = (last.extra or {}).get("configuration", {})
            changed = sorted(
                key for key in {*before, *self._configuration} if before.get(key) != self._configuration.get(key)
            )
            if changed:
                message = f"configured otherwise than before: {', '.join(changed)}"
                events.append(
                    Log(ts=now, component=COMPONENT, event="configuration_changed", message=message, extra=start.extra)
                )
        await self._append(events)

    async def stopped(self) -> None:
        """Say that the collector ends."""
        extra = {"configuration": self._configuration}
        await self._append(
            [Log(ts=time.time(), component=COMPONENT, event="stopped", message="stopped as told", extra=extra)]
        )

    async def _append(self, events: list[Event]) -> None:
        try:
            await self._producers.append("source", COMPONENT, events)
        except OSError as error:
            logger.error("the collector's own journal can't be written: %s", error)  # noqa: TRY400
