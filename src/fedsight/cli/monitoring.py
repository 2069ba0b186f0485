"""`fedsight monitor` and `fedsight probes`: they need the recorder alone, for a site that only trains must have them."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedsight.errors import FedsightError

if TYPE_CHECKING:
    from fedsight.monitor.command import Watched, WatchOptions
    from fedsight.monitor.report import Look

logger = logging.getLogger("fedsight")

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
        logger.error("fedsight: %s", error)  # noqa: TRY400 - a mistake, and no fault
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
        help="--json: JSON to standard output, behind the program's, instead of the report; --json=FILE: beside it",
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
    if given.pid is not None and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"fedsight: watching process {given.pid} until it ends; Ctrl-C ends the watch.\n")
    with watching as watched:
        try:
            _tell(watched, options, given.json)
        except Exception:  # a fault of ours must not become the program's exit status
            logger.exception("fedsight: there is no report")
        return watched.exit_status or 0


def _tell(watched: Watched, options: WatchOptions, json_file: str | None) -> None:
    """Report to where it was asked for."""
    from fedsight.monitor.account import account

    is_kept = options.output is not None or options.collector is not None
    journal = watched.window[0] if watched.window is not None and is_kept else None
    if json_file is not None:
        import msgspec

        document = msgspec.json.format(msgspec.json.encode(account(watched, _JSON_POINTS, journal)), indent=2)
        try:
            with open(1 if json_file == _STDOUT else json_file, "wb", closefd=json_file != _STDOUT) as file:
                file.write(document + b"\n")
        except OSError as error:
            place = "standard output" if json_file == _STDOUT else json_file
            logger.warning("fedsight: the JSON can't be written to %s: %s", place, error.strerror)
    if json_file != _STDOUT and sys.stderr is not None:
        from fedsight.monitor.report import report

        look = _look()
        with contextlib.suppress(OSError):  # a closed terminal is no reason to fail
            sys.stderr.write(report(account(watched, look.num_points, journal), look))
            sys.stderr.flush()


def _look() -> Look:
    from fedsight.monitor.report import Look

    is_terminal = sys.stderr.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) else 80
    if is_terminal and not columns.isdecimal():
        with contextlib.suppress(OSError):
            width = os.get_terminal_size(sys.stderr.fileno()).columns or width
    return Look(
        width=width,
        has_blocks=is_terminal and "utf" in (sys.stderr.encoding or "").lower(),
        has_colour=is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb",
    )
