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

COLLECTOR = "collector"


def deliver(
    paths: Sequence[Path],
    to: str,
    options: Sequence[str],
    url: str | None,
    token: str | None,
    say: Callable[[str], None],
) -> bool:
    """Deliver the journals, telling of each by `say`. True when the destination has all of them.

    to: "collector", at `url`, or another emitter's name, made from `options` ("key=value").
    Raises `UsageError` for what is missing, `ShippingError` where nothing can be delivered.
    """
    missing = [path for path in paths if not path.exists()]
    if to != COLLECTOR:
        from fedsight.cli.emitting import deliver_to
        from fedsight.emitters.registry import options_from

        given = options_from(list(options))
        if missing:
            raise UsageError("paths", f"{missing[0]} does not exist")
        return deliver_to(to, given, paths, say)
    if options:
        raise UsageError("set", "--set is for emitters named by --to; a collector is given by --url and --token.")
    if not url:
        raise UsageError(
            "url",
            "no collector is named; give --url, or FEDSIGHT_COLLECTOR in the environment (or --to another emitter)",
        )
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
        "fedsight sync", description="Deliver to a collector, or any emitter, what earlier processes could not."
    )
    parser.add_argument("paths", nargs="+", type=Path, help="journals, or folders of them")
    parser.add_argument("--url", default=os.environ.get("FEDSIGHT_COLLECTOR"), help="default: FEDSIGHT_COLLECTOR")
    parser.add_argument("--token", default=os.environ.get("FEDSIGHT_TOKEN"), help="default: FEDSIGHT_TOKEN")
    parser.add_argument("--to", default=COLLECTOR, metavar="NAME", help="an emitter's name; default: collector")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of that emitter")
    given = parser.parse_args(arguments)
    if not deliver(given.paths, given.to, given.set, given.url, given.token, lambda line: print(line, flush=True)):
        sys.exit(1)
