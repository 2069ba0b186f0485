"""`fedsight sync`: needs the recorder alone, for a site that only records must be able to deliver."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fedsight.emitters.collector import SyncResult
from fedsight.emitters.collector import sync as sync_journals
from fedsight.errors import UsageError


def deliver(paths: Sequence[Path], url: str | None, token: str | None, say: Callable[[str], None]) -> bool:
    """Deliver the journals, telling of each by `say`. True when the collector has all of them.

    Raises `UsageError` for what is missing, `ShippingError` where nothing can be delivered.
    """
    if not url:
        raise UsageError("url", "no collector is named; give --url, or FEDSIGHT_COLLECTOR in the environment")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UsageError("paths", f"{missing[0]} does not exist")
    results = sync_journals(paths, url, token, on_done=lambda result: say(_line(result)))
    complete = sum(result.error is None for result in results)
    say(f"{complete} of {len(results)} journals are complete at {url}.")
    return complete == len(results)


def _line(result: SyncResult) -> str:
    told = f"{result.path}: {result.sent_bytes:,} bytes sent, {result.offset:,} at the collector"
    return told + (f"; {result.error}" if result.error else "")


def main(arguments: Sequence[str]) -> None:
    """The command where the packages of the full command line are not installed."""
    parser = argparse.ArgumentParser(
        "fedsight sync", description="Deliver to a collector what earlier processes could not."
    )
    parser.add_argument("paths", nargs="+", type=Path, help="journals, or folders of them")
    parser.add_argument("--url", default=os.environ.get("FEDSIGHT_COLLECTOR"), help="default: FEDSIGHT_COLLECTOR")
    parser.add_argument("--token", default=os.environ.get("FEDSIGHT_TOKEN"), help="default: FEDSIGHT_TOKEN")
    given = parser.parse_args(arguments)
    if not deliver(given.paths, given.url, given.token, lambda line: print(line, flush=True)):
        sys.exit(1)
