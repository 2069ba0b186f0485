"""Names as MLflow takes them: metrics, params and tags share one rule.

Allowed are letters, digits, "_", "-", ".", " ", ":" and "/" (":" not on Windows), 250 characters
at most, nothing that another path would be the same as ("a//b", "a/", "./a"), and no ".." at the
beginning. Any other character is written `_x<hex of its code point>_`, as XML names do it; `original_name` turns it back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

MAX_NAME = 250
"""MLflow's limit, in characters."""

FULL_NAME_TAG = "fedsight/name."
"""A run's tag `fedsight/name.<16 hex>` holds the whole of a name that was cut and ends in these digits."""

_EMPTY = "_x_"
_NOT_ALLOWED = re.compile(r"[^/\w.\- ]")
_AMBIGUOUS_PATH = re.compile(r"^/|^\.(?=\.)|(?<=/)/|/$|(?:^|(?<=/))\.(?=\.?(?:/|$))")
_MAY_LOOK_ESCAPED = re.compile(r"_(?=x([0-9a-f]*))")
_ESCAPED = re.compile(r"_x([0-9a-f]+)_")
_CUT = re.compile(r"_cut_([0-9a-f]{16})$")


@lru_cache(maxsize=1 << 16)
def mlflow_name(name: str) -> str:
    """`name` as MLflow takes it. A longer one than MLflow allows is cut, and ends in `_cut_<hash>`."""
    escaped = escaped_name(name)
    if len(escaped) < MAX_NAME or (len(escaped) == MAX_NAME and not _CUT.search(escaped)):
        return escaped
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{escaped[: MAX_NAME - 21]}_cut_{digest}"


def escaped_name(name: str) -> str:
    """`name` with everything that MLflow forbids escaped, however long it is."""
    if not name:
        return _EMPTY
    positions = {match.start() for rule in (_NOT_ALLOWED, _AMBIGUOUS_PATH) for match in rule.finditer(name)}
    # A "/" or "." that is escaped begins with "_", too, and may complete what looks like a sequence.
    positions |= {
        match.start()
        for match in _MAY_LOOK_ESCAPED.finditer(name)
        if match.end(1) in positions or name[match.end(1) : match.end(1) + 1] == "_"
    }
    return "".join(f"_x{ord(char):x}_" if at in positions else char for at, char in enumerate(name))


def original_name(name: str, tags: Mapping[str, str] | None = None) -> str:
    """The name that `mlflow_name` was given. tags: the run's, needed for a name that was cut.

    A cut name whose tag is missing comes back as it is.
    """
    if len(name) == MAX_NAME and (cut := _CUT.search(name)):
        return (tags or {}).get(FULL_NAME_TAG + cut[1], name)
    if name == _EMPTY:
        return ""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name)


def full_name_tag(name: str) -> tuple[str, str] | None:
    """The tag that keeps the whole of `name`, where `mlflow_name` cuts it."""
    short = mlflow_name(name)
    cut = _CUT.search(short) if len(short) == MAX_NAME else None
    return None if cut is None else (FULL_NAME_TAG + cut[1], name)
