"""What a server agent's configuration says of the run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

logger = logging.getLogger("fedsight")

_SERVER = ("num_clients", "num_global_epochs", "scheduler", "scheduler_kwargs", "aggregator", "aggregator_kwargs")
_NOT_HYPERPARAMETERS = ("_source", "_path", "_dirname", "_filename")


def described(server_agent: Any) -> dict[str, Any]:
    """`algorithm`, `framework` and `config` for `fedsight.init`.

    Sources of models, paths and everything about connections (they may hold credentials) are left out.
    """
    config: dict[str, Any] = {}
    try:
        config = _config(server_agent.server_agent_config)
    except Exception:  # OmegaConf raises for values that are missing, or can't be interpolated
        logger.warning("fedsight: APPFL's configuration can't be read; the run goes without it.", exc_info=True)
    with contextlib.suppress(metadata.PackageNotFoundError):  # APPFL from a checkout
        config["appfl_version"] = metadata.version("appfl")
    algorithm = type(server_agent.aggregator).__name__.removesuffix("Aggregator")
    return {"algorithm": algorithm, "framework": "APPFL", "config": config or None}


def _config(whole: Any) -> dict[str, Any]:
    config = {name: _plain(getattr(whole.server_configs, name, None)) for name in _SERVER}
    config["train_configs"] = _plain(getattr(whole.client_configs, "train_configs", None))
    return {name: value for name, value in config.items() if value not in (None, {})}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if not str(key).endswith(_NOT_HYPERPARAMETERS)}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value
