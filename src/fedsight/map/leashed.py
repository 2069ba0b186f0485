"""`python -m fedsight.map.leashed PARENT ARGUMENTS…`: the `fedsight` command, for as long as process PARENT lives.

The parent may end by any means, `kill -9` included. (A signal at the parent's death, as Linux has it, would
come at the end of the *thread* that started us, and a training may well begin in a thread that ends.)
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

LOOK_SEC = 0.5
GRACE_SEC = 10.0


def main() -> None:
    """Run the command of the arguments; end with the parent."""
    parent = int(sys.argv[1])
    threading.Thread(target=_end_with, args=(parent,), name="fedsight-leash", daemon=True).start()
    sys.argv[:] = ["fedsight", *sys.argv[2:]]
    from fedsight.cli import main as fedsight

    fedsight()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:  # an orphan has another
        time.sleep(LOOK_SEC)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SEC)
    os._exit(1)


if __name__ == "__main__":
    main()
