"""What heflwr's RemoteMonitors and its logger post: forms with a line of prose in them.

`POST /simple_log`: `identifier` and `message`, such as
`Cpu Usage: 0.0%, Memory Usage: 0.1079%, Bytes Sent: 285531, Bytes Recv: 285531, `.
`POST /log`: a whole Python log record, with `created` beside those two. Format: heflwr 0.1.91.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping

from fedsight.events import Log, Sample

MAX_IDENTIFIER = 200

_PART = re.compile(r"(?:^|,)\s*([A-Za-z_]+(?: [A-Za-z_]+)*): (-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(%?)(?=,|\s*$)")

_NAMES = {
    # heflwr's CPU usage is the share of one core, whatever its documentation says.
    "cpu usage": ("cpu_cores", 0.01),
    "memory usage": ("memory_pct", 1.0),
    "bytes sent": ("bytes_sent", 1.0),
    "bytes recv": ("bytes_received", 1.0),
    "vdd in": ("power_vdd_in_mw", 1.0),
    "vdd cpu_gpu_cv": ("power_vdd_cpu_gpu_cv_mw", 1.0),
    "vdd soc": ("power_vdd_soc_mw", 1.0),
}


def event_of(form: Mapping[str, str]) -> Sample | Log:
    """The sample that a post is; any other message is a log line.

    Raises `ValueError` naming the field that is missing or can't be meant.
    """
    identifier, message = form.get("identifier", ""), form.get("message") or form.get("msg", "")
    if not identifier or len(identifier) > MAX_IDENTIFIER:
        raise ValueError(f"identifier: a text of 1 to {MAX_IDENTIFIER} characters is needed, not {identifier[:50]!r}")
    if not message:
        raise ValueError("message: it is missing or empty")
    ts = _created(form.get("created"))
    metrics = {}
    for name, number, _ in _PART.findall(message):
        known = _NAMES.get(name.lower())
        if known is None:
            break
        metrics[known[0]] = float(number) * known[1]
    else:
        if metrics:
            return Sample(ts=ts, node=identifier, metrics=metrics)
    level = form.get("levelname", "INFO").lower()
    return Log(
        ts=ts,
        component=identifier,
        event="message",
        message=message[:10_000],
        level="error" if level in ("error", "critical") else "warning" if level == "warning" else "info",
    )


def _created(text: str | None) -> float:
    """The record's own time where it has one; simple posts have none, so the time of arrival is taken."""
    try:
        created = float(text) if text else math.nan
    except ValueError:
        created = math.nan
    return created if math.isfinite(created) and created > 0 else time.time()
