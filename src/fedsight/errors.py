"""Every error that Fedsight raises.

FedsightError
├── UsageError            a call or a value that can't be meant (also a ValueError)
│   └── BadQuery          a read that names an unknown field, metric, sort or cursor
├── NotInitialized        a module function was called before `fedsight.init()`
├── RunFinished           a call on a run that has ended
├── MissingExtra          an optional package is not installed (also an ImportError)
├── JournalError          a file is no journal, or damaged in its first line
├── StoreError            the index can't be opened or was given a gap
├── RunNotFound           no such run in the store
└── ShippingError         the collector refused a journal for good
"""

from __future__ import annotations


class FedsightError(Exception):
    """Base of all errors of this package."""


class UsageError(FedsightError, ValueError):
    """A call or a value that can't be meant. `field` names what was wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BadQuery(UsageError):
    """A read that names an unknown field, metric, sort order or cursor."""


class NotInitialized(FedsightError, RuntimeError):
    """A module-level function was called while no run is open."""


class RunFinished(FedsightError, RuntimeError):
    """A call on a run that has ended."""


class MissingExtra(FedsightError, ImportError):
    """An optional package is missing; the message is the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Install it with: pip install 'fedsight[{extra}]'")
        self.extra = extra


class JournalError(FedsightError):
    """A file is no journal, or its first line is damaged."""


class StoreError(FedsightError):
    """The index can't be opened, or was handed a block that does not follow on."""


class RunNotFound(FedsightError, LookupError):
    """There is no such run in the store."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id!r}.")
        self.run_id = run_id


class ShippingError(FedsightError):
    """The collector refused a journal for good (a wrong token, a journal of somebody else)."""
