"""The configuration of `fedsight serve`: flags over environment over `.env` over a TOML file over defaults.

All of them say the same things. A value in the file is an environment variable that is written elsewhere:
`port` is FEDSIGHT_PORT, `host` in the table `[redis]` is REDIS_HOST. `settings.py` reads the result.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fedsight.collector.options import ELSEWHERE, LOG_LEVELS, OPTIONS, Option
from fedsight.collector.settings import ConfigValue, Settings, serve_settings
from fedsight.collector.sources.config import build, masked, nearest, resolve
from fedsight.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the same, for Python 3.10

DEFAULT_FILE = "fedsight.toml"

_BY_KEY = {option.key: option for option in OPTIONS}
_SWITCHES = {"1": "1", "true": "1", "yes": "1", "on": "1", "0": "0", "false": "0", "no": "0", "off": "0"}


class Configuration(msgspec.Struct):
    """What is in force. environ: for `serve_settings`. tables: the sources'. notes: what a person should be told."""

    environ: dict[str, str]
    values: list[ConfigValue]
    tables: list[dict[str, Any]]
    notes: list[str]

    def origin(self, key: str) -> str:
        """Where the value of `key` comes from."""
        return next(value.origin for value in self.values if value.key == key)


def read_configuration(
    file: Path | None = None,
    flags: Mapping[str, str | None] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Configuration:
    """Read everything there is. file: of `--config`. flags: by key. folder: the working folder, for `.env`.

    Raises `UsageError` naming the value, where it stands, and what is allowed instead.
    """
    folder = folder or Path()
    dotenv = read_dotenv(folder / ".env")
    path = _file(file, environ, dotenv, folder)
    from_file, tables = _read_toml(path) if path is not None else ({}, [])
    visible = {**dotenv, **{k: v for k, v in environ.items() if v}}
    merged = {k: v for k, v in environ.items() if not any(k in option.variables for option in OPTIONS)}
    values, notes = [], _misspelt_variables(visible)
    for option in OPTIONS:
        text, origin = _choose(option, flags or {}, environ, dotenv, from_file, path)
        if text is None:
            values.append(ConfigValue(option.key, _shown(option, option.default), "default"))
            continue
        text = _checked(option, resolve(text, option.key, visible), origin)
        merged[option.variables[0]] = text
        note = "not part of this version yet: it does nothing" if option.not_yet else None
        if note is not None:
            notes.append(f"{option.key} ({origin}) is {note}")
        values.append(ConfigValue(option.key, _shown(option, text), origin, note))
    merged.update({k: v for k, v in dotenv.items() if k not in merged and not _is_option(k)})
    return Configuration(merged, values, [*tables, *_from_variables(merged)], notes)


def settings_of(configuration: Configuration) -> Settings:
    """The settings of a collector that runs with this configuration.

    Raises `UsageError` for a value that can't be meant, sources' values among them.
    """
    environ = configuration.environ
    settings = msgspec.structs.replace(
        serve_settings(environ=environ),
        log_level=environ.get("FEDSIGHT_LOG_LEVEL", "warning"),
        collection_interval_sec=float(environ.get("FEDSIGHT_COLLECTION_INTERVAL", "5")),
        source_tables=tuple(configuration.tables),
        variables=environ,
        in_force=tuple(configuration.values),
    )
    build(settings.source_tables, interval_sec=settings.collection_interval_sec, environ=environ)
    return settings


def shown(configuration: Configuration) -> str:
    """The configuration in force, as `--print-config` shows it."""
    width = max(len(value.key) for value in configuration.values)
    lines = ["# Configuration in force. Secrets are masked."]
    for value in configuration.values:
        text = "(unset)" if value.value is None else msgspec.json.encode(value.value).decode()
        note = f"; {value.note}" if value.note else ""
        lines.append(f"{value.key:<{width}} = {text:<24} # {value.origin}{note}")
    for table in configuration.tables:
        lines.append("\n[[source]]")
        lines.extend(
            f"{key} = {msgspec.json.encode(masked(value, key)).decode()}"
            for key, value in table.items()
            if value is not None
        )
    lines.extend(f"# Note: {note}" for note in configuration.notes)
    return "\n".join(lines)


# ── where values stand ────────────────────────────────────────────────────────────────────────


def _choose(
    option: Option,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    dotenv: Mapping[str, str],
    from_file: Mapping[str, str],
    path: Path | None,
) -> tuple[str | None, str]:
    if (text := flags.get(option.key)) is not None:
        return text, f"--{re.sub('[_.]', '-', option.key)}"
    for where, origin in ((environ, "environment"), (dotenv, ".env")):
        for variable in option.variables:
            if text := where.get(variable):
                return text, f"{variable}, {origin}"
    if (text := from_file.get(option.key)) is not None:
        return text, str(path)
    return None, "default"


def _shown(option: Option, text: str | None) -> Any:
    # `tokens` is the name of a file.
    return masked(text, "" if option.key == "tokens" else option.key)


def _checked(option: Option, text: str, origin: str) -> str:
    name = origin.partition(",")[0] if "," in origin else option.key
    said = repr(text) if _shown(option, text) == text else "hidden"
    if option.kind == "switch":
        if text.lower() not in _SWITCHES:
            raise UsageError(name, f"{name} is {said} ({origin}); allowed: 1 or 0 (also true, false, yes, no, on, off)")
        return _SWITCHES[text.lower()]
    if option.kind == "level":
        if text.lower() not in LOG_LEVELS:
            raise UsageError(name, f"{name} is {said} ({origin}); allowed: {', '.join(LOG_LEVELS)}")
        return text.lower()
    if option.kind == "number":
        whole = float(option.least).is_integer()
        pattern = r"\d{1,12}" if whole else r"\d{1,12}(\.\d{1,9})?"
        if not re.fullmatch(pattern, text, re.ASCII) or not option.least <= float(text) <= option.most:
            what = "a whole number" if whole else "a number"
            raise UsageError(
                name, f"{name} is {said} ({origin}); allowed: {what} from {option.least:g} to {option.most:g}"
            )
    return text


def _file(given: Path | None, environ: Mapping[str, str], dotenv: Mapping[str, str], folder: Path) -> Path | None:
    named = given or environ.get("FEDSIGHT_CONFIG") or dotenv.get("FEDSIGHT_CONFIG")
    if named:
        path = Path(named)
        if not path.is_file():
            raise UsageError("config", f"{path} is no file; --config and FEDSIGHT_CONFIG name a TOML file")
        return path
    return default if (default := folder / DEFAULT_FILE).is_file() else None


def _read_toml(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("config", f"{path} is no TOML: {error}") from error
    tables = content.pop("source", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError("source", f"{path}: `source` must be written as tables, each under [[source]]")
    groups = {key.partition(".")[0] for key in _BY_KEY if "." in key}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and key in groups:
            flat.update({f"{key}.{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    return {key: _text_of(key, value, path) for key, value in flat.items()}, tables


def _text_of(key: str, value: Any, path: Path) -> str:
    if key not in _BY_KEY:
        raise UsageError(
            key,
            f"{path}: there is no {key!r}{nearest(key, [*_BY_KEY, 'source'])}; docs/settings.md lists what there is",
        )
    if isinstance(value, bool):
        if _BY_KEY[key].kind != "switch":
            raise UsageError(key, f"{path}: {key} is {str(value).lower()}, but it is nothing to switch on or off")
        return "1" if value else "0"
    if isinstance(value, (int, float, str)):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise UsageError(
        key, f"{path}: {key} is {masked(value, key)!r}; allowed: a text, a number, true or false, a list of texts"
    )


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables in a `.env` file (NAME=value lines, quotes and comments allowed); none where there is no file.

    Raises `UsageError` naming the line that is no such line.
    """
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = re.fullmatch(r"(?:export\s+)?([A-Za-z_]\w*)\s*(?:=\s*(.*))?", text)
        if match is not None and match[2] is None:
            continue  # a name alone: what Compose passes on from outside
        if match is None:
            raise UsageError(".env", f"{path}, line {number}: NAME=value was expected")
        value = match[2]
        if quoted := re.fullmatch(r"""(["'])(.*)\1(?:\s+#.*)?""", value):
            value = quoted[2]
        else:
            value = re.sub(r"(?:^|\s+)#.*$", "", value)
        if value:
            found[match[1]] = value
    return found


def _is_option(variable: str) -> bool:
    return any(variable in option.variables for option in OPTIONS)


def _misspelt_variables(visible: Mapping[str, str]) -> list[str]:
    known = [variable for option in OPTIONS for variable in option.variables]
    notes = []
    for name in sorted(visible):
        if name.startswith("FEDSIGHT_") and name not in known and name not in ELSEWHERE:
            near = difflib.get_close_matches(name, known, 1, 0.85)
            notes += [f"{name} is not known; did you mean {near[0]}?"] if near else []
    return notes


# ── sources by variable ───────────────────────────────────────────────────────────────────────

_BY_VARIABLE = (
    ("FL_SERVER", "fl_server", "fl-server", 8080),
    ("POLICY_ENGINE", "policy", "policy-engine", 5000),
    ("SDN_CONTROLLER", "onos", "sdn-controller", 8181),
)
"""Start of the variables, kind, name, port where only a host is given."""


def _from_variables(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The sources that the FLOPY-NET variables name: nothing is asked where none of them is set."""
    tables = []
    for prefix, kind, name, port in _BY_VARIABLE:
        url = environ.get(f"{prefix}_URL")
        if url is None and (host := environ.get(f"{prefix}_HOST")):
            url = f"http://{f'[{host}]' if ':' in host else host}:{environ.get(f'{prefix}_PORT', port)}"
        if url is None or (prefix == "SDN_CONTROLLER" and environ.get("NETWORK_MONITOR_ENABLED") == "0"):
            continue
        tables.append({"kind": environ.get(f"{prefix}_KIND", kind), "name": name, "url": url})
    return tables
