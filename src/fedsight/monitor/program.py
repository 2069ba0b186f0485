"""Which program a command line means, and what a shell answers where it can't be run."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from fedsight.errors import FedsightError

CANNOT_EXECUTE = 126
NOT_FOUND = 127


class NotStarted(FedsightError):
    """A program could not be started. `exit_status` is what a shell would answer: 126 or 127."""

    def __init__(self, exit_status: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def find_program(name: str) -> str:
    """Its path. Raises `NotStarted` where there is none, or where it is no program."""
    found = shutil.which(name)
    if found is not None:
        return found
    if os.path.dirname(name) and Path(name).exists():  # noqa: PTH120 - "./x" is not "x"
        what = "it is a folder" if Path(name).is_dir() else "it is not executable; allow it with chmod +x"
        raise NotStarted(CANNOT_EXECUTE, f"{name} can't be run: {what}.")
    raise NotStarted(NOT_FOUND, f"{name}: there is no such program.")


def not_started(name: str, number: int) -> NotStarted:
    """What an `errno` of exec(3) means."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        # It was there just now: what is missing is what its first line names.
        return NotStarted(NOT_FOUND, f"{name} can't be run: its interpreter is not there.")
    return NotStarted(CANNOT_EXECUTE, f"{name} can't be run: {os.strerror(number)}.")
