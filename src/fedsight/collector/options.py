"""Everything that `fedsight serve` can be told: its key in the configuration file, its variables, what is allowed."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class Option(msgspec.Struct, frozen=True):
    """One thing to set. key: in the file ("redis.host"). variables: in the environment, the first wins over the second.

    kind: what a text from the environment must be. not_yet: accepted, and without effect in this version.
    """

    key: str
    variables: tuple[str, ...]
    default: str | None = None
    kind: Literal["text", "number", "switch", "level"] = "text"
    least: float = 0
    most: float = 1 << 20
    not_yet: bool = False


def _own(key: str, default: str | None = None, **rest: Any) -> Option:
    return Option(key, (f"FEDSIGHT_{key.upper()}",), default, **rest)


OPTIONS: tuple[Option, ...] = (
    Option("data", ("FEDSIGHT_DATA",), "fedsight-data"),
    Option("host", ("FEDSIGHT_HOST",), "127.0.0.1"),
    Option("port", ("FEDSIGHT_PORT", "COLLECTOR_PORT"), "8083", "number", 0, 65_535),
    _own("tokens"),
    _own("open_reads", "1", kind="switch"),
    _own("open_logs", "0", kind="switch"),
    _own("max_body_mb", "8", kind="number", least=1, most=1024),
    _own("max_decoded_mb", "64", kind="number", least=1, most=4096),
    _own("max_queue_mb", "32", kind="number", least=1, most=4096),
    _own("max_backlog_mb", "512", kind="number", least=1),
    _own("memory_limit_mb", "256", kind="number", least=64),
    _own("cors_origins"),
    _own("max_writes_per_sec", "2000", kind="number", least=1, most=1_000_000),
    _own("max_logins_per_min", "20", kind="number", least=1, most=10_000),
    Option("tls.cert", ("FEDSIGHT_TLS_CERT",)),
    Option("tls.key", ("FEDSIGHT_TLS_KEY",)),
    Option("log_level", ("FEDSIGHT_LOG_LEVEL", "LOG_LEVEL"), "warning", "level"),
    Option(
        "collection_interval_sec",
        ("FEDSIGHT_COLLECTION_INTERVAL", "COLLECTION_INTERVAL"),
        "5",
        "number",
        0.01,
        86_400,
    ),
    Option("fl_server.url", ("FL_SERVER_URL",)),
    Option("fl_server.host", ("FL_SERVER_HOST",)),
    Option("fl_server.port", ("FL_SERVER_PORT",), None, "number", 1, 65_535),
    Option("policy_engine.url", ("POLICY_ENGINE_URL",)),
    Option("policy_engine.host", ("POLICY_ENGINE_HOST",)),
    Option("policy_engine.port", ("POLICY_ENGINE_PORT",), None, "number", 1, 65_535),
    Option("sdn_controller.url", ("SDN_CONTROLLER_URL",)),
    Option("sdn_controller.host", ("SDN_CONTROLLER_HOST",)),
    Option("sdn_controller.port", ("SDN_CONTROLLER_PORT",), None, "number", 1, 65_535),
    Option("sdn_controller.kind", ("SDN_CONTROLLER_KIND",)),
    Option("network_monitor_enabled", ("NETWORK_MONITOR_ENABLED",), "1", "switch"),
    Option("influxdb.url", ("FEDSIGHT_INFLUXDB_URL", "INFLUXDB_URL")),
    Option("influxdb.host", ("FEDSIGHT_INFLUXDB_HOST", "INFLUXDB_HOST")),
    Option("influxdb.port", ("FEDSIGHT_INFLUXDB_PORT", "INFLUXDB_PORT"), "8086", "number", 1, 65_535),
    Option("influxdb.database", ("FEDSIGHT_INFLUXDB_DATABASE", "INFLUXDB_DATABASE"), "flopynet_metrics"),
    Option("influxdb.username", ("FEDSIGHT_INFLUXDB_USERNAME", "INFLUXDB_USERNAME")),
    Option("influxdb.password", ("FEDSIGHT_INFLUXDB_PASSWORD", "INFLUXDB_PASSWORD")),
    Option("redis.url", ("FEDSIGHT_REDIS_URL", "REDIS_URL")),
    Option("redis.host", ("FEDSIGHT_REDIS_HOST", "REDIS_HOST")),
    Option("redis.port", ("FEDSIGHT_REDIS_PORT", "REDIS_PORT"), "6379", "number", 1, 65_535),
    Option("redis.password", ("FEDSIGHT_REDIS_PASSWORD", "REDIS_PASSWORD")),
    Option("enable_anomaly_detection", ("ENABLE_ANOMALY_DETECTION",), None, "switch", not_yet=True),
    Option("export_retention_days", ("EXPORT_RETENTION_DAYS",), None, "number", 0, 36_500, not_yet=True),
)

ELSEWHERE = frozenset({"FEDSIGHT_COLLECTOR", "FEDSIGHT_TOKEN", "FEDSIGHT_CONFIG", "FEDSIGHT_SKIP_UI"})
"""Variables of ours that a collector does not read."""
