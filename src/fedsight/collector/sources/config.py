"""From a table `[[source]]` of the configuration to a source: checked by name, secrets looked up."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from fedsight.collector.sources import KINDS, load
from fedsight.collector.sources.source import Source, SourceConfig
from fedsight.errors import UsageError

SECRET = re.compile(r"password|token|secret|passphrase|api_?key|community|credential|authorization", re.IGNORECASE)
"""Names of values that are shown to nobody."""

MASK = "***"

DEFAULT_INTERVAL_SEC = 5.0
_NAME = re.compile(r"[^\s/\\\x00-\x1f][^/\\\x00-\x1f]{0,79}")
_AFTER_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to come in: HTTP Basic (username, password) or a bearer token; `ca_file` for a TLS certificate of one's own."""

    username: str | None = None
    password: str | None = None
    token: str | None = None
    ca_file: str | None = None
    max_body_mb: int = 8


class Configured(msgspec.Struct):
    """A source, and how to reach it."""

    source: Source
    access: Access


def build(
    tables: Sequence[Mapping[str, Any]],
    *,
    interval_sec: float = DEFAULT_INTERVAL_SEC,
    environ: Mapping[str, str] = os.environ,
) -> list[Configured]:
    """The sources that the tables describe. interval_sec: for those that name none of their own.

    Raises `UsageError` naming the source, the key, its value and what is allowed; `MissingExtra`.
    """
    found: dict[str, Configured] = {}
    for number, table in enumerate(tables, 1):
        configured = _build_one(dict(table), number, interval_sec, environ)
        name = configured.source.config.name
        if name in found:
            raise UsageError("source.name", f"two sources are named {name!r}; give each a name of its own")
        found[name] = configured
    return list(found.values())


def _build_one(table: dict[str, Any], number: int, interval_sec: float, environ: Mapping[str, str]) -> Configured:
    which = f"source {table.get('name') or number!r}"
    kind = table.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(
            "source.kind", f"{which}: kind is {kind!r}{nearest(str(kind), KINDS)}; allowed: {', '.join(sorted(KINDS))}"
        )
    classes = load(kind)
    table = {key: resolve(value, f"{which}: {key}", environ) for key, value in table.items()}
    table.setdefault("name", kind.replace("_", "-"))
    _add_times(table, interval_sec)
    own = set(classes.config.__struct_fields__)
    shared = set(Access.__struct_fields__)
    for key in table:
        if key not in own | shared:
            known = sorted(own | shared | {"kind"})
            raise UsageError(
                f"source.{key}", f"{which}: there is no {key!r}{nearest(key, known)}; there are: {', '.join(known)}"
            )
    config = _convert({k: v for k, v in table.items() if k in own}, classes.config, which)
    access = _convert({k: v for k, v in table.items() if k in shared}, Access, which)
    _check(config, access, which)
    return Configured(classes.source(config), access)  # type: ignore[call-arg]


def _add_times(table: dict[str, Any], interval_sec: float) -> None:
    """Where only one of the two times is given, the other one is made to fit."""
    timeout_sec = table.get("timeout_sec")
    if "interval_sec" not in table:
        table["interval_sec"] = interval_sec
    if timeout_sec is None and type(table["interval_sec"]) in (int, float):
        table["timeout_sec"] = min(4.0, 0.8 * table["interval_sec"])


def _convert(table: dict[str, Any], to: Any, which: str) -> Any:
    try:
        return msgspec.convert(table, to)
    except msgspec.ValidationError as error:
        message = str(error)
        path = match["path"] if (match := _AFTER_PATH.search(message)) else ""
        key = path.partition(".")[0].partition("[")[0]
        said = f" ({'it is hidden' if SECRET.search(key) else repr(table[key])})" if key in table else ""
        # What a kind's own check says names its key itself.
        where = f"{path}{said}: " if path else ""
        raise UsageError(f"source.{path or '?'}", f"{which}: {where}{_AFTER_PATH.sub('', message)}") from error


def _check(config: SourceConfig, access: Access, which: str) -> None:
    if not _NAME.fullmatch(config.name):
        raise UsageError("source.name", f"{which}: name is {config.name!r}; allowed: 1 to 80 characters, no slashes")
    for key in ("interval_sec", "timeout_sec"):
        value = getattr(config, key)
        if not math.isfinite(value) or not 0.01 <= value <= 86_400:
            raise UsageError(f"source.{key}", f"{which}: {key} is {value!r}; allowed: 0.01 to 86400 seconds")
    if config.timeout_sec >= config.interval_sec:
        raise UsageError(
            "source.timeout_sec",
            f"{which}: timeout_sec is {config.timeout_sec:g}; it must be below interval_sec, {config.interval_sec:g}",
        )
    is_asked_by_http = any(field.name == "url" and field.required for field in msgspec.structs.fields(config))
    if is_asked_by_http and not _is_http(config.url):
        raise UsageError(
            "source.url",
            f"{which}: url is {masked_url(config.url)!r}; it must begin with http:// or https:// and name a host",
        )
    if access.ca_file is not None and not Path(access.ca_file).is_file():
        raise UsageError("source.ca_file", f"{which}: ca_file is {access.ca_file!r}, which is no file")
    if not 1 <= access.max_body_mb <= 1024:
        raise UsageError("source.max_body_mb", f"{which}: max_body_mb is {access.max_body_mb}; allowed: 1 to 1024")


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False


def resolve(value: Any, what: str, environ: Mapping[str, str]) -> Any:
    """`env:NAME` anywhere in a value becomes what the environment has under that name.

    Raises `UsageError` where it has nothing.
    """
    if isinstance(value, str) and value.startswith("env:"):
        name = value[4:]
        if not environ.get(name):
            raise UsageError(name, f"{what} is {value!r}, and the environment has no {name}")
        return environ[name]
    if isinstance(value, dict):
        return {k: resolve(v, f"{what}.{k}", environ) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(item, what, environ) for item in value]
    return value


def nearest(name: str, known: Any) -> str:
    """("did you mean …?"), or nothing where nothing is near."""
    found = difflib.get_close_matches(name.lower(), [str(item) for item in known], 1, 0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def masked(value: Any, name: str = "") -> Any:
    """`value` as it may be shown: no passwords, no tokens, no user in a URL. `env:NAME` names a secret and is none."""
    if isinstance(value, dict):
        return {k: masked(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if value is None or value == "" or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.startswith("env:"):
        return value
    if SECRET.search(name):
        return MASK
    is_url = isinstance(value, str) and ("://" in value or (name.endswith("url") and "@" in value))
    return masked_url(value) if is_url else value


def masked_url(url: str) -> str:
    """A URL without the user and password in it, and without the values of its query."""
    if "://" not in url and "@" in url:  # none, for want of its scheme; who opens it stands in it all the same
        return f"{MASK}@{url.rpartition('@')[2]}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"{url.partition('://')[0]}://{MASK}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    where = host + (f":{port}" if port is not None else "")
    user = f"{MASK}@" if "@" in parts.netloc else ""
    query = re.sub(r"=[^&]*", f"={MASK}", parts.query)
    return urlunsplit((parts.scheme, user + where, parts.path, query, ""))
