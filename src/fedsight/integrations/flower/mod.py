"""The client's side: a mod that measures the ClientApp's work and sends that along with the reply."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import psutil

from fedsight.integrations.flower.guard import Guard

REPORT_KEY = "fedsight"
"""Name of the ConfigRecord in a reply. Flower's strategies look at no ConfigRecord of a reply; the server takes it out."""

_MEASURED = ("train", "evaluate")

guard = Guard()


def fedsight_mod(message: Any, context: Any, call_next: Callable[[Any, Any], Any]) -> Any:
    """A Flower mod: `ClientApp(mods=[fedsight_mod])`, first in the list, so that it measures the other mods too.

    It adds a ConfigRecord `fedsight` to replies to train and evaluate messages: seconds, CPU
    seconds and memory of the work, the partition, and the client's name. The rest of the reply, and an
    exception of the ClientApp, pass through untouched.
    """
    wall_sec, cpu_sec = time.perf_counter(), time.process_time()
    reply = call_next(message, context)
    with guard("measuring the ClientApp"):
        wall_sec, cpu_sec = time.perf_counter() - wall_sec, time.process_time() - cpu_sec
        if message.metadata.message_type.split(".")[0] in _MEASURED and reply.has_content():
            from flwr.app import ConfigRecord

            reply.content[REPORT_KEY] = ConfigRecord(report(context.node_config, wall_sec, cpu_sec))
    return reply


def report(node_config: Any, wall_sec: float, cpu_sec: float) -> dict[str, int | float | str]:
    """What the mod sends.

    node_config: the SuperNode's, as of `flower-supernode --node-config`; `name` is what the client
    is called, else its `partition-id` names it.
    """
    memory_bytes = psutil.Process(os.getpid()).memory_info().rss
    said: dict[str, int | float | str] = {"wall_sec": wall_sec, "cpu_sec": cpu_sec, "ram_mb": memory_bytes / 2**20}
    name, partition = node_config.get("name"), node_config.get("partition-id")
    if partition is not None:
        said["partition_id"] = str(partition)
    if name not in (None, ""):
        said["name"] = str(name)
    elif partition is not None:
        said["name"] = f"partition-{partition}"
    return said
