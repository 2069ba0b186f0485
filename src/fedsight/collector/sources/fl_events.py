"""What an FL server of the FLOPY-NET kind tells, as events: rounds from `/rounds`, log lines from `/events`.

That server writes 0 where it does not know (no evaluation, no duration); here that is absent.
"""

from __future__ import annotations

from typing import Any

from fedsight.collector.sources.times import epoch_sec, number, numbers_in, whole
from fedsight.events import Log, RoundEnd, RoundStart

_WARNINGS = (
    "DENIED",
    "PAUSED",
    "STOPPED",
    "TIMEOUT",
    "DISCONNECTED",
    "SLOW",
    "LOW_",
    "VIOLATION",
    "UNAUTHORIZED",
    "WARN",
)
_ERRORS = ("ERROR", "FAIL", "EXCEPTION")

_ROUND_FIELDS = frozenset(
    {"round", "timestamp", "accuracy", "loss", "training_duration", "model_size_mb", "clients", "status"}
)


def type_of(event: dict[str, Any]) -> str:
    """What kind of event it is, such as "ROUND_STARTED"."""
    return str(event.get("event_type") or event.get("type") or "EVENT")


def log_of(event: dict[str, Any], component: str, now: float) -> Log:
    """A training event as a line of the system's log; its details stay as they are."""
    kind = type_of(event)
    details = event.get("details")
    return Log(
        ts=_time(event.get("timestamp"), now),
        component=component,
        event=kind.lower(),
        message=_message(kind, details),
        level=level_of(kind),
        extra={"id": event.get("event_id", event.get("id")), "details": details},
    )


def level_of(kind: str) -> Any:
    """How bad an event of that name is."""
    name = kind.upper()
    if any(word in name for word in _ERRORS):
        return "error"
    return "warning" if any(word in name for word in _WARNINGS) else "info"


def _message(kind: str, details: Any) -> str:
    text = kind.replace("_", " ").lower()
    if not isinstance(details, dict):
        return text
    if (number_of := whole(details.get("round"))) is not None:
        text += f" (round {number_of})"
    reason = details.get("reason") or details.get("message") or details.get("error")
    return f"{text}: {reason}"[:500] if isinstance(reason, str) else text


def round_start_of(event: dict[str, Any], now: float) -> RoundStart | None:
    """The round that a ROUND_STARTED event begins."""
    details = event.get("details")
    if not isinstance(details, dict) or (number_of := whole(details.get("round"))) is None or number_of < 0:
        return None
    return RoundStart(
        ts=_time(event.get("timestamp"), now), round=number_of, num_selected=whole(details.get("selected_clients"))
    )


def round_end_of(row: dict[str, Any], now: float) -> RoundEnd | None:
    """The end of the round that a row of `/rounds` describes."""
    if (number_of := whole(row.get("round"))) is None or number_of < 0:
        return None
    raw = _object(row.get("raw_metrics"))
    phases = _object(raw.get("phase_durations"))
    evaluated = raw.get("evaluation_results_count") != 0
    has_loss = evaluated and ("aggregated_loss" not in raw or raw["aggregated_loss"] is not None)
    metrics = numbers_in(row, _ROUND_FIELDS)
    timing = _object(raw.get("client_timing_stats"))
    for name, value in (
        ("participants", number(row.get("clients"))),
        ("model_size_mb", known(row.get("model_size_mb"))),
        ("evaluation_time_sec", known(phases.get("evaluation"))),
        *_client_times("train", _object(timing.get("training", timing))),
        *_client_times("evaluation", _object(timing.get("evaluation"))),
    ):
        if value is not None:
            metrics[name] = value
    return RoundEnd(
        ts=_time(row.get("timestamp"), now),
        round=number_of,
        global_accuracy=number(row.get("accuracy")) if evaluated else None,
        global_loss=number(row.get("loss")) if has_loss else None,
        aggregation_time_sec=known(phases.get("aggregation")),
        round_duration_sec=known(row.get("training_duration")),
        metrics=metrics or None,
    )


def _client_times(phase: str, stats: dict[str, Any]) -> list[tuple[str, float | None]]:
    if not number(stats.get("count")):
        return []
    return [
        (f"client_{phase}_time_{ours}_sec", known(stats.get(f"{theirs}_time")))
        for ours, theirs in (("mean", "average"), ("min", "min"), ("max", "max"))
    ]


def known(value: Any) -> float | None:
    """A duration or size, where it was measured: the server writes 0 for "not known"."""
    return number(value) or None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(value: Any, now: float) -> float:
    found = epoch_sec(value)
    return now if found is None else found
