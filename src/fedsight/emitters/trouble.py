"""What goes wrong at a destination: said once, waited out, remembered."""

from __future__ import annotations

import json
import logging
import random
import time
import traceback
from collections.abc import Callable
from typing import Literal

from fedsight.errors import MissingExtra

logger = logging.getLogger("fedsight")

Change = Literal["failing", "working"]
OnChange = Callable[[Change, str], None]
"""Told when an emitter begins failing and when it works again, with a sentence."""

TRIES = 3
"""How often a call that fails by a fault in a program is made before it is given up."""

_FAULTS = (
    TypeError,
    LookupError,
    AttributeError,
    ValueError,
    ArithmeticError,
    AssertionError,
    NameError,
)
_FIRST_BACKOFF_SEC = 0.2
_LONGEST_BACKOFF_SEC = 30.0
_HURRIED_BACKOFF_SEC = 1.0
_QUIET_SEC = 60.0
_jitter = random.Random()
"""Of our own: drawing from the process-wide stream would change what a seeded training draws."""


def is_fault(error: BaseException) -> bool:
    """Whether an error is a fault in a program, which waiting doesn't mend.

    Some libraries' network errors are ValueErrors, too; so is an answer that is no JSON.
    """
    return isinstance(error, _FAULTS) and not isinstance(error, (OSError, json.JSONDecodeError))


def described(error: BaseException) -> str:
    """The error in a line, with the place where a fault arose."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    frames = traceback.extract_tb(error.__traceback__)
    if is_fault(error) and frames:
        text += f" ({frames[-1].filename}:{frames[-1].lineno})"
    return text


class Trouble:
    """How one destination fails and recovers.

    It is said when it begins and when it ends, at most once a minute however often it comes and goes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.on_change: OnChange | None = None
        self.failing_since: float | None = None
        self.last_error: str | None = None
        self.num_failed = 0
        self.is_lasting = False
        """Waiting mends nothing: a package is missing."""
        self._backoff_sec = _FIRST_BACKOFF_SEC
        self._said_sec: float | None = None
        self._is_said = False
        self._has_skipped = False

    def failed(self, error: BaseException) -> None:
        """A call failed, and will be made again."""
        self.last_error = described(error)
        self.is_lasting = isinstance(error, MissingExtra)
        if self.failing_since is None:
            self.failing_since = time.time()
            now_sec = time.monotonic()
            self._is_said = self._said_sec is None or now_sec - self._said_sec > _QUIET_SEC
            if self._is_said:
                self._said_sec = now_sec
                self._say(
                    "failing",
                    f"{self.name} can't take events now ({self.last_error}); they are kept and delivered later.",
                )
        logger.debug("fedsight: %s failed", self.name, exc_info=error)

    def worked(self) -> None:
        """A call succeeded."""
        self._backoff_sec = _FIRST_BACKOFF_SEC
        self.is_lasting = False
        if self.failing_since is not None:
            self.failing_since = None
            if self._is_said:
                self._say("working", f"{self.name} takes events again.")

    def skipped(self, what: str, error: BaseException) -> None:
        """Something is left out for good. It is said once; `num_failed` counts."""
        self.num_failed += 1
        self.last_error = described(error)
        if not self._has_skipped:
            self._has_skipped = True
            self._say("failing", f"{self.name} failed on {what}, which is left out: {self.last_error}")
        logger.debug("fedsight: %s left out %s", self.name, what, exc_info=error)

    def backoff_sec(self, hurry: bool) -> float:
        """How long to wait before the next try. hurry: somebody waits for the end."""
        wait_sec = self._backoff_sec * _jitter.uniform(0.5, 1.0)
        self._backoff_sec = min(self._backoff_sec * 2, _LONGEST_BACKOFF_SEC)
        return min(wait_sec, _HURRIED_BACKOFF_SEC) if hurry else wait_sec

    def _say(self, change: Change, text: str) -> None:
        logger.warning("fedsight: %s", text)
        if self.on_change is not None:
            self.on_change(change, text)
