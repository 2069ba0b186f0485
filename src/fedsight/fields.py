"""From whatever a training loop passes to what an event holds.

Plain meanings are converted (NumPy and tensor scalars, numbers in strings); what has none is kept
as text or list under `extra` and warned about once, so that a training never stops for it. Only
who and when must be right: a client id or a round that can't be meant raises `UsageError`.
"""

from __future__ import annotations

import logging
import operator
from typing import Any

from fedsight.errors import UsageError

logger = logging.getLogger("fedsight")

_LONGEST_TEXT = 10_000
_LARGEST_LIST = 10_000


def client_id_of(value: Any) -> str:
    """A client's id as text.

    Raises `UsageError` for anything but a string that isn't empty or an integer.
    """
    if type(value) is str and value:
        return value
    if isinstance(value, str) and value:
        return str(value)
    if not isinstance(value, (bool, bytes, str)):
        try:
            return str(operator.index(value))
        except TypeError:
            pass
    raise UsageError("client_id", f"client_id must be a string (not empty) or an int, not {value!r}.")


def round_of(value: Any, field: str = "round") -> int:
    """A round's number.

    Raises `UsageError` unless `value` is a whole number of at least 0 (NumPy and tensor scalars are).
    """
    if type(value) is int and value >= 0:
        return value
    plain = _scalar(value)
    number: int | None = None
    if isinstance(plain, float) and plain.is_integer():
        number = int(plain)
    elif not isinstance(plain, bool):
        try:
            number = operator.index(plain)
        except TypeError:
            number = None
    if number is None or not 0 <= number < 1 << 53:
        raise UsageError(field, f"{field} must be a whole number of at least 0, not {value!r}.")
    return number


def number_of(value: Any) -> float | int | None:
    """`value` as a number where its meaning is plain, else None."""
    value = _scalar(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (str, bytes)) or hasattr(value, "__float__"):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return None
    return None


def _scalar(value: Any) -> Any:
    """What a 0-d array, a tensor of one element or a NumPy scalar holds; everything else as it is."""
    item = getattr(value, "item", None)
    if item is None or isinstance(value, (int, float, str)):
        # np.float64 is a float that msgspec does not take for one.
        return float(value) if isinstance(value, float) and type(value) is not float else value
    try:
        return item()
    except (TypeError, ValueError, RuntimeError):
        return value


def plain_json(value: Any) -> Any:
    """`value` as something that has a JSON form; what has none becomes its `repr`."""
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int:
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(plain_json(key)): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_json(item) for item in value]
    scalar = _scalar(value)
    if scalar is not value:
        return plain_json(scalar)
    tolist = getattr(value, "tolist", None)
    if tolist is not None and getattr(value, "size", _LARGEST_LIST + 1) <= _LARGEST_LIST:
        return plain_json(tolist())
    return repr(value)[:_LONGEST_TEXT]


_warned: set[tuple[str, str]] = set()


def warn_once(field: str, problem: str) -> None:
    """Say on the log, once per process, that `field` has a problem."""
    if (field, problem) not in _warned:
        _warned.add((field, problem))
        logger.warning("fedsight: %s %s", field, problem)


class Sorted:
    """What one call's keyword arguments come to: known fields, further numbers, the rest."""

    __slots__ = ("extra", "known", "metrics")

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.metrics: dict[str, float] | None = None
        self.extra: dict[str, Any] | None = None


def sort_fields(fields: dict[str, Any], numbers: frozenset[str], texts: frozenset[str]) -> Sorted:
    """Put each field where it belongs; None is left out, for missing is absent.

    numbers, texts: the names that the event itself has, by type.
    """
    out = Sorted()
    known = out.known
    for name, value in fields.items():
        kind = type(value)
        if kind is float:
            if name in numbers:
                known[name] = value
                continue
        elif value is None:
            continue
        elif kind is str and name in texts:
            known[name] = value
            continue
        _sort_one(out, name, value, numbers, texts)
    return out


def _sort_one(out: Sorted, name: str, value: Any, numbers: frozenset[str], texts: frozenset[str]) -> None:
    if name in texts:
        out.known[name] = str(value)
        return
    is_text = isinstance(value, (str, bytes))
    number = number_of(value) if (name in numbers or not (is_text or isinstance(value, bool))) else None
    if number is not None:
        try:
            number = float(number)
        except OverflowError:
            number = None
    if number is not None:
        if name in numbers:
            out.known[name] = number
        else:
            if out.metrics is None:
                out.metrics = {}
            out.metrics[name] = number
        return
    if name in numbers:
        warn_once(name, f"should be a number, not {type(value).__name__}: kept as it is, under `extra`.")
    if out.extra is None:
        out.extra = {}
    out.extra[name] = plain_json(value)
