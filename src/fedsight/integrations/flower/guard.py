"""Between the bridge and the training: an error of the bridge ends here, logged once a place and counted."""

from __future__ import annotations

import logging
from types import TracebackType

logger = logging.getLogger("fedsight")


class Guard:
    """`with guard("recording a reply"):` swallows no error silently, and lets none out.

    num_errors: how many there were. last_error: the newest, in words.
    """

    def __init__(self) -> None:
        self.num_errors = 0
        self.last_error: str | None = None
        self._said: set[str] = set()

    def __call__(self, doing: str) -> _Guarded:
        """Around what the bridge does; `doing` says what, for the log."""
        return _Guarded(self, doing)

    def caught(self, error: Exception, doing: str) -> None:
        """Count an error; the first one of each place is logged with its trace."""
        self.num_errors += 1
        self.last_error = f"{doing}: {type(error).__name__}: {error}"
        if doing not in self._said:
            self._said.add(doing)
            logger.warning(
                "fedsight: the Flower bridge failed at %s. The training goes on; later failures there are counted.",
                doing,
                exc_info=error,
            )


class _Guarded:
    def __init__(self, guard: Guard, doing: str) -> None:
        self._guard = guard
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False  # Ctrl-C is meant for the training
        self._guard.caught(error, self._doing)
        return True
