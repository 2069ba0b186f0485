"""What a collector can be told: address, folders, limits. Every field is also an environment variable FEDSIGHT_<FIELD>."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from fedsight.collector.tls import Tls, tls_of
from fedsight.errors import UsageError

MB = 1 << 20

Mode = Literal["serve", "view"]
DEFAULT_PORT: dict[Mode, int] = {"serve": 8083, "view": 7070}


class ConfigValue(msgspec.Struct):
    """One value in force, as it may be shown (secrets are masked), and where it comes from."""

    key: str
    value: Any
    origin: str
    note: str | None = None


class Settings(msgspec.Struct, kw_only=True, frozen=True):
    """One collector's settings.

    `folder` is the data folder of `serve` (its journals, index and tokens), or the folder of
    journals of `view`, which is only read. `index` is the store's file.
    """

    mode: Mode
    folder: Path
    index: Path
    host: str = "127.0.0.1"
    port: int = 8083
    tokens: Path | None = None
    open_reads: bool = True
    open_logs: bool = False
    max_body_mb: int = 8
    max_decoded_mb: int = 64
    max_queue_mb: int = 32
    max_backlog_mb: int = 512
    memory_limit_mb: int = 256
    cors_origins: tuple[str, ...] = ()
    max_writes_per_sec: int = 2000
    max_logins_per_min: int = 20
    tls: Tls | None = None
    influxdb_url: str | None = None
    influxdb_host: str | None = None
    influxdb_port: int = 8086
    influxdb_database: str = "flopynet_metrics"
    influxdb_username: str | None = None
    influxdb_password: str | None = None
    redis_url: str | None = None
    redis_host: str | None = None
    redis_port: int = 6379
    redis_password: str | None = None
    log_level: str = "warning"
    collection_interval_sec: float = 5.0
    source_tables: tuple[dict[str, Any], ...] = ()
    """What the configuration says of each source, as it stands there."""
    variables: Mapping[str, str] = {}
    """The environment with what `.env` and the file add to it: what `env:NAME` in a source is looked up in."""
    in_force: tuple[ConfigValue, ...] = ()
    """For people: every value, and where it comes from."""

    @property
    def influxdb(self) -> str | None:
        """Where the mirror writes to; None (the default): there is no mirror."""
        if self.influxdb_url is not None or self.influxdb_host is None:
            return self.influxdb_url
        return f"http://{_in_url(self.influxdb_host)}:{self.influxdb_port}"

    @property
    def redis(self) -> str | None:
        """Where the shared cache is; None (the default): the cache is this process's memory."""
        if self.redis_url is not None or self.redis_host is None:
            return self.redis_url
        return f"redis://{_in_url(self.redis_host)}:{self.redis_port}/0"

    @property
    def on_loopback(self) -> bool:
        """Only this machine can reach the address that the collector is bound to."""
        return is_loopback(self.host)

    @property
    def journals(self) -> Path:
        """The folder that holds the journals."""
        return self.folder / "journals" if self.mode == "serve" else self.folder


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


ALLOWED_MB = {
    "max_body_mb": (1, 1024),
    "max_decoded_mb": (1, 4096),
    "max_queue_mb": (1, 4096),
    "max_backlog_mb": (1, 1 << 20),
    "memory_limit_mb": (64, 1 << 20),
}
ALLOWED_RATES = {"max_writes_per_sec": (1, 1_000_000), "max_logins_per_min": (1, 10_000)}
"""Requests of one address."""

_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def serve_settings(
    folder: Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings of `fedsight serve`: what is given, else the environment, else the defaults.

    Raises `UsageError` naming the variable, its value and what is allowed.
    """
    folder = folder or Path(environ.get("FEDSIGHT_DATA") or "fedsight-data")
    return Settings(
        mode="serve",
        folder=folder,
        index=folder / "index.duckdb",
        tokens=Path(environ.get("FEDSIGHT_TOKENS") or folder / "tokens.json"),
        host=_host(host, environ),
        port=_port("serve", port, environ),
        tls=tls_of(environ.get("FEDSIGHT_TLS_CERT"), environ.get("FEDSIGHT_TLS_KEY")),
        **_limits(environ),
        **_services(environ),
    )


def view_settings(
    folder: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings of `fedsight view`: its index lives in the user's cache, for the folder may be read-only.

    Raises `UsageError` naming the variable, its value and what is allowed.
    """
    host = _host(host, environ)
    tokens = environ.get("FEDSIGHT_TOKENS")
    if not is_loopback(host) and not tokens:
        raise UsageError(
            "host",
            f"--host {host!r} lets other machines read, which needs tokens: name the tokens file of a collector in "
            "FEDSIGHT_TOKENS (make one with `fedsight token create --role viewer`), or use 127.0.0.1",
        )
    return Settings(
        mode="view",
        folder=folder,
        index=view_index(folder, environ),
        tokens=Path(tokens) if tokens else None,
        host=host,
        port=_port("view", port, environ),
        **_limits(environ),
    )


def view_index(folder: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the index of a viewed folder is kept."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache / "fedsight" / "view" / f"{name}.duckdb"


def _host(given: str | None, environ: Mapping[str, str]) -> str:
    return given or environ.get("FEDSIGHT_HOST") or "127.0.0.1"


def _port(mode: Mode, given: int | None, environ: Mapping[str, str]) -> int:
    if given is not None:
        return given
    text = environ.get("FEDSIGHT_PORT")
    return _whole_number("FEDSIGHT_PORT", text, 0, 65535) if text else DEFAULT_PORT[mode]


def _limits(environ: Mapping[str, str]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for name, (least, most) in {**ALLOWED_MB, **ALLOWED_RATES}.items():
        variable = f"FEDSIGHT_{name.upper()}"
        if text := environ.get(variable):
            limits[name] = _whole_number(variable, text, least, most)
    for name in ("open_reads", "open_logs"):
        variable = f"FEDSIGHT_{name.upper()}"
        if text := environ.get(variable):
            if text not in ("0", "1"):
                raise UsageError(variable, f"{variable} is {text!r}; allowed: 0 or 1")
            limits[name] = text == "1"
    if text := environ.get("FEDSIGHT_CORS_ORIGINS"):
        limits["cors_origins"] = _origins("FEDSIGHT_CORS_ORIGINS", text)
    return limits


def _origins(variable: str, text: str) -> tuple[str, ...]:
    """Origins separated by commas or blanks. "*" is none: whoever may read is to be named."""
    origins = tuple(re.split(r"[,\s]+", text.strip(", \t\n")))
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise UsageError(
                variable, f"{variable} names {origin!r}; allowed: origins such as https://grafana.example.org:3000"
            )
    return origins


_SERVICES = (
    "influxdb_url",
    "influxdb_host",
    "influxdb_database",
    "influxdb_username",
    "influxdb_password",
    "redis_url",
    "redis_host",
    "redis_password",
)


def _services(environ: Mapping[str, str]) -> dict[str, Any]:
    """InfluxDB and Redis: nothing is contacted unless a variable names one. FEDSIGHT_REDIS_URL wins over REDIS_URL."""
    found: dict[str, Any] = {}
    for name in _SERVICES:
        if text := environ.get(f"FEDSIGHT_{name.upper()}") or environ.get(name.upper()):
            found[name] = text
    for name in ("influxdb_port", "redis_port"):
        for variable in (f"FEDSIGHT_{name.upper()}", name.upper()):
            if text := environ.get(variable):
                found[name] = _whole_number(variable, text, 1, 65535)
                break
    return found


def _whole_number(variable: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise UsageError(variable, f"{variable} is {text!r}; allowed: a whole number from {least} to {most}")
    return int(text)
