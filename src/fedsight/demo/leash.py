"""A child process that ends with its parent, even when the parent is killed: `python -m fedsight.demo.leash PARENT CMD…`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for a SIGTERM when the thread that started this process ends (Linux; no effect elsewhere)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # it ended before we asked
        sys.exit("the parent process is gone")


def main() -> None:
    """Become the command that the arguments name; the kernel keeps the promise across exec."""
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
