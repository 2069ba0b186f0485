"""The `fedsight` command. What it needs beyond the recorder is imported when a command runs."""

from __future__ import annotations

import importlib.util
import sys

from fedsight.errors import FedsightError, MissingExtra

_PACKAGES = ("typer", "rich")


def main() -> None:
    """Run the command line; faults that we know become one line on stderr and exit status 1."""
    try:
        for package in _PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "collector")
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


_EXTRA_OF = {
    **dict.fromkeys(("litestar", "uvicorn", "duckdb", "pyarrow", "zstandard", "typer", "rich"), "collector"),
    **dict.fromkeys(("numpy", "sklearn"), "demo"),
}


def _fail(message: str) -> None:
    sys.stderr.write(f"fedsight: {message}\n")
    sys.exit(1)
