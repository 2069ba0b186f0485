"""From whatever a training loop passes to what an event holds.

Plain meanings are converted (NumPy and tensor scalars, numbers in strings); what has none is kept
as text or list under `extra` and warned about once, so that a training never stops for it. Only
who and when must be right: a client id or a round that can't be meant raises `UsageError`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import operator
from collections.abc import Mapping
from typing import Any

import msgspec

from fedsight.errors import UsageError
from fedsight.events import Event

logger = logging.getLogger("fedsight")

LARGEST_ROUND = (1 << 53) - 1
"""Beyond it, a browser could not tell two rounds apart."""

_LARGEST_INT = 1 << 63
_LONGEST_TEXT = 10_000
_LARGEST_LIST = 10_000
_DEEPEST = 50


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
    if type(value) is int and 0 <= value <= LARGEST_ROUND:
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
    if number is None or not 0 <= number <= LARGEST_ROUND:
        raise UsageError(field, f"{field} must be a whole number of at least 0 (and below 2^53), not {value!r}.")
    return number


def number_of(value: Any) -> float | int | None:
    """`value` as a number where its meaning is plain, else None."""
    value = _scalar(value)
    if isinstance(value, int):
        return _in_range(int(value))
    if isinstance(value, float):
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


def text_of(value: Any) -> str:
    """`value` as text; where its own `str` fails, what can be said of it."""
    try:
        return str(value)
    except Exception:
        return _shown(value)


def plain_json(value: Any, depth: int = 0) -> Any:
    """`value` as something that has a JSON form; what has none, or is nested too deep, becomes its `repr`."""
    if depth > _DEEPEST:
        return _shown(value)
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int:
        return value if -(1 << 63) <= value < 1 << 64 else _shown(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(plain_json(key)): plain_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_json(item, depth + 1) for item in value]
    scalar = _scalar(value)
    if scalar is not value:
        return plain_json(scalar, depth + 1)
    tolist = getattr(value, "tolist", None)
    if tolist is not None and getattr(value, "size", _LARGEST_LIST + 1) <= _LARGEST_LIST:
        return plain_json(tolist(), depth + 1)
    return _shown(value)


def _shown(value: Any) -> str:
    """Its `repr`, as far as it has one: an integer of more than 4,300 digits has none, and anybody's may fail."""
    try:
        return repr(value)[:_LONGEST_TEXT].encode("utf-8", "replace").decode()
    except Exception as error:
        return f"<{type(value).__qualname__}: {type(error).__name__}>"


def mapping_of(value: Any, field: str) -> dict[str, Any] | None:
    """`value` as a JSON object: a mapping, a Namespace, a dataclass or a struct; all else under its type's name."""
    if value is None:
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif isinstance(value, Mapping):
        value = dict(value)
    elif isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        value = vars(value)
    else:
        warn_once(field, f"should be a dict, not {type(value).__name__}: kept under {type(value).__name__!r}.")
        value = {type(value).__name__: value}
    plain: dict[str, Any] = plain_json(value)
    return plain or None


_warned: set[tuple[str, str]] = set()


def warn_once(field: str, problem: str) -> None:
    """Say on the log, once per process, that `field` has a problem."""
    if (field, problem) not in _warned:
        _warned.add((field, problem))
        logger.warning("fedsight: %s %s", field, problem)


def sort_fields(
    fields: dict[str, Any], numbers: frozenset[str], texts: frozenset[str]
) -> tuple[dict[str, Any], dict[str, float] | None, dict[str, Any] | None]:
    """Sort keyword arguments into the event's own fields, further numbers, and the rest.

    None is left out, for missing is absent. numbers, texts: the names that the event itself has.
    """
    known: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    extra: dict[str, Any] = {}
    for name, value in fields.items():
        kind = type(value)
        # The two usual cases, before anything that costs more.
        if kind is float or (kind is int and -_LARGEST_INT < value < _LARGEST_INT):
            if name in numbers:
                known[name] = value
                continue
            if name not in texts:
                metrics[name] = value
                continue
        if value is None:
            continue
        if name in texts:
            known[name] = text_of(value)
            continue
        number = _number_for(name, value, is_known=name in numbers)
        if number is None:
            extra[name] = plain_json(value)
        elif name in numbers:
            known[name] = number
        else:
            metrics[name] = number
    return known, metrics or None, extra or None


def _number_for(name: str, value: Any, *, is_known: bool) -> float | int | None:
    """The number that `value` is; a text or a truth value is one only where a number belongs."""
    if not is_known and isinstance(value, (str, bytes, bool)):
        return None
    number = number_of(value)
    if number is None and is_known:
        warn_once(name, f"should be a number, not {type(value).__name__}: kept as it is, under `extra`.")
    return number


def repair(event: Event) -> None:
    """Make an event encodable that isn't: integers beyond 64 bits become floats, broken text is mended."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name == "metrics" and value:
            setattr(event, name, {plain_json(key): _as_float(number) for key, number in value.items()})
        elif isinstance(value, int) and not isinstance(value, bool):
            setattr(event, name, _in_range(value))
        elif value is not None:
            setattr(event, name, plain_json(value))


def _in_range(number: int) -> int | float:
    """An integer beyond 64 bits as a float: not every reader takes it otherwise."""
    return number if -_LARGEST_INT < number < _LARGEST_INT else _as_float(number)


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
