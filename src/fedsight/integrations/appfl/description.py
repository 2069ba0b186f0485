"""What a server agent's configuration says of the run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_SERVER = ("num_clients", "num_global_epochs", "scheduler", "scheduler_kwargs", "aggregator", "aggregator_kwargs")
_NOT_HYPERPARAMETERS = ("_source", "_path", "_dirname", "_filename")


def described(server_agent: Any) -> dict[str, Any]:
    """`algorithm`, `framework` and `config` for `fedsight.init`.

    Sources of models, paths and everything about connections (they may hold credentials) are left out.
    """
    config: dict[str, Any] = {}
    whole = getattr(server_agent, "server_agent_config", None)
    server = getattr(whole, "server_configs", None)
    for name in _SERVER:
        value = server.get(name) if isinstance(server, Mapping) else getattr(server, name, None)
        if value is not None:
            config[name] = _plain(value)
    train = getattr(getattr(whole, "client_configs", None), "train_configs", None)
    if isinstance(train, Mapping) and (plain := _plain(train)):
        config["train_configs"] = plain
    with contextlib.suppress(metadata.PackageNotFoundError):  # APPFL from a checkout
        config["appfl_version"] = metadata.version("appfl")
    algorithm = type(server_agent.aggregator).__name__.removesuffix("Aggregator")
    return {"algorithm": algorithm, "framework": "APPFL", "config": config or None}


def _plain(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {str(key): _plain(item) for key, item in value.items() if not str(key).endswith(_NOT_HYPERPARAMETERS)}
