"""The `fedsight` command. What it needs beyond the recorder is imported when a command runs."""

from __future__ import annotations

import importlib.util
import sys

from fedsight.errors import FedsightError, MissingExtra

_PACKAGES = ("typer", "rich")

_HELP_OF_THE_BASE = """\
Usage: fedsight COMMAND [ARGS]...

What works as it is installed here (each has a --help):
  monitor  Measure any program: fedsight monitor -- python train.py
  probes   Show what this machine can measure.
  sync     Deliver journals that a collector has not got yet.

pip install 'fedsight[collector]' adds serve, view, token, reindex and more; 'fedsight[demo]' adds demo.
"""


def main() -> None:
    """Run the command line; faults that we know become one line on stderr and exit status 1."""
    try:
        if sys.argv[1:2] == ["monitor"]:
            from fedsight.cli.monitoring import main as monitor

            monitor(sys.argv[2:])
        if sys.argv[1:2] == ["probes"]:
            from fedsight.cli.probing import main as probes

            probes(sys.argv[2:])
            return
        missing = [package for package in _PACKAGES if not _is_installed(package)]
        if missing and sys.argv[1:2] == ["sync"]:
            from fedsight.cli.syncing import main as sync

            sync(sys.argv[2:])
            return
        if missing and sys.argv[1:2] in ([], ["--help"], ["-h"]):
            sys.stdout.write(_HELP_OF_THE_BASE)
            return
        if missing:
            raise MissingExtra(missing[0], "collector")
        from fedsight.cli.commands import build

        build(sys.argv[1:])()
    except ModuleNotFoundError as error:
        if isinstance(error, MissingExtra):
            _fail(str(error))
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(str(MissingExtra(str(error.name), extra)))
    except FedsightError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}")


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


_EXTRA_OF = {
    **dict.fromkeys(
        (
            "litestar",
            "uvicorn",
            "duckdb",
            "pyarrow",
            "zstandard",
            "typer",
            "rich",
            "httpx",
            "jmespath",
            "redis",
            "opentelemetry",
        ),
        "collector",
    ),
    **dict.fromkeys(("numpy", "sklearn"), "demo"),
}


def _fail(message: str) -> None:
    sys.stderr.write(f"fedsight: {message}\n")
    sys.exit(1)
