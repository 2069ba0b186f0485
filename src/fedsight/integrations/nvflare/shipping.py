"""The collector that a receiver or a site ships to."""

from __future__ import annotations

import logging
from pathlib import Path

from fedsight.errors import UsageError

logger = logging.getLogger("fedsight")


def collector_emitters(url: str | None, token_file: str | None) -> list[object]:
    """An emitter to the collector at `url`, where there is one. What keeps it from being made is said once."""
    if not url:
        return []
    from fedsight.emitters import CollectorEmitter

    try:
        token = Path(token_file).read_text().strip() if token_file else None
        return [CollectorEmitter(url, token)]
    except (OSError, UsageError) as error:
        logger.warning("fedsight: this is recorded, but not shipped to %s: %s", url, error)
        return []
