"""NVFLARE before 2.9 drops analytics that overtake one another on their way; here they are kept.

Its server takes an event of a client only if it is newer than the last one of that client, and
several threads send them: of a site's fast metrics half or more are dropped without a word. Since 2.9
events have ids, and are taken in any order. Here an older server does as a newer one does.
"""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.widgets.fed_event import FedEventRunner


class _NoTimestamps(dict[str, float]):
    """No client's last event is remembered: each is as new as any."""

    def __setitem__(self, client: str, timestamp: float) -> None:
        pass


def keep_late_events(fl_ctx: FLContext) -> bool:
    """Have the server of this job keep events that arrive late. False: it does so anyway, or can't be made to."""
    found = False
    for handler in _handlers(fl_ctx.get_engine()):
        if isinstance(handler, FedEventRunner) and isinstance(getattr(handler, "last_timestamps", None), dict):
            handler.last_timestamps = _NoTimestamps()
            found = True
    return found


def _handlers(engine: Any) -> list[Any]:
    get_handlers = getattr(getattr(engine, "run_manager", engine), "get_handlers", None)
    return list(get_handlers() or []) if get_handlers is not None else []
