"""`fedsight monitor` and `fedsight probes`: they need the recorder alone, for a site that only trains must have them."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedsight.errors import FedsightError

if TYPE_CHECKING:
    from fedsight.monitor.command import Watched, WatchOptions
    from fedsight.monitor.report import Look

INTERVAL_SEC = 0.5
CANNOT_MONITOR = 125
"""The exit status where no program was started because of what was asked of the monitor, as of env and timeout."""

_JSON_POINTS = 100
_STDOUT = "-"

_DESCRIPTION = """\
Run a program and say what it has cost: CPU, memory, disk, network, GPU, energy, and their
curves over time. The program's input, output and exit status stay its own (128 + N after
signal N; 126 and 127 where it can't be run, 125 where it can't be monitored); signals are passed
on to it. The report goes to standard error.
"""
_EXAMPLES = """\
examples:
  fedsight monitor -- python train.py --lr 0.1
  fedsight monitor --json=cost.json --output cost.jsonl -- python train.py
  fedsight monitor --pid 1234           until it ends, or Ctrl-C
"""


def main(arguments: Sequence[str]) -> None:
    """`fedsight monitor …`. Exits with the program's status."""
    own, command = split(arguments)
    parser = _parser()
    given = parser.parse_args(["--json=-" if each == "--json" else each for each in own])
    if given.pid is not None and command:
        parser.error("give a program to run or --pid, not both")
    if given.pid is None and not command:
        parser.error("what is to be monitored? Give a program to run, or --pid")
    try:
        status = _monitor(given, command)
    except FedsightError as error:
        sys.stderr.write(f"fedsight: {error}\n")
        status = getattr(error, "exit_status", CANNOT_MONITOR if command else 1)
    sys.exit(status)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own options, and the program with its own: what stands behind `--`, or from the first word that is no option on."""
    own: list[str] = []
    rest = list(arguments)
    while rest:
        each = rest.pop(0)
        if each == "--":
            return own, rest
        if not each.startswith("-"):
            return own, [each, *rest]
        own.append(each)
        if each in _WITH_VALUE and rest:
            own.append(rest.pop(0))
    return own, []


_WITH_VALUE = frozenset(
    {"--interval", "-i", "--probe", "--output", "-o", "--collector", "--token", "--name", "--pid", "-p"}
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "fedsight monitor",
        usage="fedsight monitor [OPTIONS] [--] PROGRAM [ARGUMENTS…]\n       fedsight monitor [OPTIONS] --pid PID",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-p", "--pid", type=int, help="watch a process that runs already, until it ends or Ctrl-C")
    parser.add_argument(
        "-i", "--interval", type=float, default=INTERVAL_SEC, metavar="SEC",
        help=f"seconds between readings (default {INTERVAL_SEC})",
    )  # fmt: skip
    parser.add_argument(
        "--probe", action="append", default=[], metavar="NAME",
        help="measure this, too (see `fedsight probes`); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--json", metavar="FILE",
        help="instead of the report: JSON to standard output after the program's end, or --json=FILE and the report",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the readings: a journal, FILE.jsonl")
    parser.add_argument(
        "--collector", metavar="URL", default=os.environ.get("FEDSIGHT_COLLECTOR"),
        help="ship the readings there (default: FEDSIGHT_COLLECTOR)",
    )  # fmt: skip
    parser.add_argument(
        "--token", default=os.environ.get("FEDSIGHT_TOKEN"), help="for the collector (default: FEDSIGHT_TOKEN)"
    )
    parser.add_argument("--name", help="what this machine is called in the readings (default: the host's name)")
    return parser


def _monitor(given: argparse.Namespace, command: list[str]) -> int:
    from fedsight.monitor import command as commands
    from fedsight.monitor.settings import checked_interval
    from fedsight.monitor.with_run import check_probes

    check_probes(given.probe)
    if given.output is not None:
        commands.check_output(given.output)
    options = commands.WatchOptions(
        interval=checked_interval(given.interval),
        probes=given.probe,
        output=None if given.output is None else given.output.absolute(),
        collector=given.collector,
        token=given.token,
        name=given.name,
    )
    watching = commands.run_command(command, options) if command else commands.watch_pid(given.pid, options)
    if given.pid is not None and sys.stderr.isatty():
        sys.stderr.write(f"fedsight: watching process {given.pid} until it ends; Ctrl-C ends the watch.\n")
    with watching as watched:
        _tell(watched, options, given.json)
        return watched.exit_status


def _tell(watched: Watched, options: WatchOptions, json_file: str | None) -> None:
    """Report. What can't be written is said, and changes nothing of the program's exit status."""
    from fedsight.monitor.account import account

    is_kept = options.output is not None or options.collector is not None
    journal = watched.window[0] if watched.window is not None and is_kept else None
    if json_file is not None:
        import msgspec

        document = msgspec.json.format(msgspec.json.encode(account(watched, _JSON_POINTS, journal)), indent=2) + b"\n"
        try:
            if json_file == _STDOUT:
                os.write(1, document)
            else:
                Path(json_file).write_bytes(document)
        except OSError as error:
            sys.stderr.write(f"fedsight: the JSON can't be written to {json_file}: {error.strerror}\n")
    if json_file != _STDOUT:
        from fedsight.monitor.report import report

        look = _look()
        with contextlib.suppress(OSError, ValueError):  # a closed terminal is no reason to fail
            sys.stderr.write(report(account(watched, look.num_points, journal), look))
            sys.stderr.flush()


def _look() -> Look:
    from fedsight.monitor.report import Look

    if not sys.stderr.isatty():
        return Look(width=int(os.environ.get("COLUMNS", 0)) or 80)
    try:
        columns = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        columns = shutil.get_terminal_size().columns
    return Look(
        width=columns,
        has_blocks="utf" in (sys.stderr.encoding or "").lower(),
        has_colour=not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb",
    )
