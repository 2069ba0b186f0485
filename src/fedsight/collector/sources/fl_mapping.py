"""Any JSON as an FL server's rounds: each figure by a JMESPath expression (jmespath.org) from the configuration.

`round` is the last finished round; it is told once, when it first appears with what it then has. Where one
answer holds many rounds, `rounds` finds a list of objects with the names below, in `expressions` of the same names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from fedsight.collector.sources.source import SourceDown, checked_rows
from fedsight.collector.sources.times import epoch_sec, number, numbers_in, whole
from fedsight.errors import UsageError
from fedsight.events import ClientUpdate, RoundEnd

_CLIENT_NAMES = {
    "id": "client_id",
    "accuracy": "local_accuracy",
    "loss": "local_loss",
    "training_time": "train_time_sec",
    "data_samples": "num_samples",
    "comm_bytes": "bytes_sent",
    "communication_bytes": "bytes_sent",
}
_ROUND_NAMES = {
    "accuracy": "global_accuracy",
    "loss": "global_loss",
    "aggregation_time": "aggregation_time_sec",
    "training_duration": "round_duration_sec",
    "round_duration": "round_duration_sec",
}
"""The FLOPY-NET text's names → ours; our own names are taken as they are."""

_OF_THE_RUN = ("run_id", "start_time", "finished", "rounds", "sample")
_NOT_FIGURES = frozenset({"round", "ts", "clients"})


class Mapping(msgspec.Struct):
    """Compiled expressions: of the whole answer, of one round, of samples."""

    whole: dict[str, Callable[[Any], Any]]
    round: dict[str, Callable[[Any], Any]]
    sample: dict[str, Callable[[Any], Any]]


class MappedRound(msgspec.Struct):
    """A finished round and what its clients did."""

    end: RoundEnd
    clients: list[ClientUpdate]


class Snapshot(msgspec.Struct):
    """What one answer says."""

    run_id: str | None
    start_time: float | None
    finished: bool
    rounds: list[MappedRound]
    numbers: dict[str, float]


def compile_mapping(table: dict[str, Any]) -> Mapping:
    """Raises `UsageError` naming the expression that is none."""
    sample = table.get("sample", {})
    if not isinstance(sample, dict):
        raise UsageError("source.mapping.sample", "mapping.sample must be a table of names and expressions")
    if "round" not in table:
        raise UsageError("source.mapping.round", "mapping needs `round`: the expression that finds the round's number")
    return Mapping(
        whole={key: _compiled(key, table[key]) for key in _OF_THE_RUN if key in table and key != "sample"},
        round={key: _compiled(key, text) for key, text in table.items() if key not in _OF_THE_RUN},
        sample={key: _compiled(f"sample.{key}", text) for key, text in sample.items()},
    )


def _compiled(key: str, text: Any) -> Callable[[Any], Any]:
    if not isinstance(text, str):
        raise UsageError(f"source.mapping.{key}", f"mapping.{key} is {text!r}; allowed: a JMESPath expression, a text")
    try:
        found: Callable[[Any], Any] = jmespath.compile(text).search
    except JMESPathError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"source.mapping.{key}", f"mapping.{key} is {text!r}, which is no JMESPath: {reason}"
        ) from error
    return found


def snapshot(mapping: Mapping, answer: Any) -> Snapshot:
    """What the answer says by the mapping; what is not there is absent. Raises `SourceDown` where it can't be applied."""
    try:
        about = {key: find(answer) for key, find in mapping.whole.items()}
        of_rounds = about.get("rounds") if "rounds" in mapping.whole else [answer]
        if isinstance(of_rounds, list):
            checked_rows(of_rounds, "mapping.rounds")
        rounds = [{key: find(one) for key, find in mapping.round.items()} for one in of_rounds or ()]
        sampled = {key: find(answer) for key, find in mapping.sample.items()}
    except (JMESPathError, TypeError) as error:
        raise SourceDown(f"the mapping does not fit the answer ({type(error).__name__})") from error
    run_id = about.get("run_id")
    now = time.time()
    return Snapshot(
        run_id=str(run_id)
        if isinstance(run_id, (str, int)) and not isinstance(run_id, bool) and run_id != ""
        else None,
        start_time=epoch_sec(about.get("start_time")),
        finished=about.get("finished") is True,
        rounds=[mapped for one in rounds if (mapped := _round(one, now)) is not None],
        numbers={key: value for key, text in sampled.items() if (value := number(text)) is not None},
    )


def _round(found: dict[str, Any], now: float) -> MappedRound | None:
    number_of = whole(found.get("round"))
    if number_of is None or number_of < 0:
        return None
    ts = epoch_sec(found.get("ts"))
    known, metrics, _ = _sorted_out(found, _ROUND_NAMES, RoundEnd, _NOT_FIGURES)
    if not known and not metrics and not found.get("clients"):
        # The round has a number and nothing else yet.
        return None
    end = RoundEnd(ts=now if ts is None else ts, round=number_of, metrics=metrics or None, **known)
    return MappedRound(end, _clients(found.get("clients"), end))


def _clients(found: Any, end: RoundEnd) -> list[ClientUpdate]:
    """From a list of objects with an id each, or from an object of them by id."""
    if isinstance(found, dict):
        found = [{"id": key, **value} for key, value in found.items() if isinstance(value, dict)]
    updates = []
    for one in checked_rows(found, "mapping.clients") if isinstance(found, list) else ():
        if not isinstance(one, dict):
            continue
        client_id = one.get("client_id", one.get("id"))
        if not isinstance(client_id, (str, int)) or isinstance(client_id, bool) or client_id == "":
            continue
        known, metrics, extra = _sorted_out(one, _CLIENT_NAMES, ClientUpdate, frozenset({"id", "client_id", "round"}))
        updates.append(
            ClientUpdate(
                ts=end.ts,
                client_id=str(client_id),
                round=end.round,
                base_round=whole(one.get("base_round")),
                metrics=metrics or None,
                extra=extra or None,
                **known,
            )
        )
    return updates


_TEXTS = frozenset({"status", "city", "country"})


def _sorted_out(
    found: dict[str, Any], names: dict[str, str], to: type[RoundEnd] | type[ClientUpdate], skip: frozenset[str]
) -> tuple[dict[str, Any], dict[str, float], dict[str, Any]]:
    """Fields that the event has, numbers that it has not, and all else."""
    fields = frozenset(to.__struct_fields__) - {"ts", "extra", "metrics", "round", "base_round", "algorithm_metadata"}
    known: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    extra: dict[str, Any] = {}
    for key, value in found.items():
        name = names.get(key, key)
        if key in skip or value is None or key == "base_round":
            continue
        figure = number(value)
        if name in _TEXTS and isinstance(value, str) and name in fields:
            known[name] = value
        elif name in fields and name not in _TEXTS and figure is not None:
            known[name] = figure
        elif figure is not None and not isinstance(value, str):
            metrics[key] = figure
        elif isinstance(value, dict):
            metrics |= {f"{key}.{inner}": item for inner, item in numbers_in(value).items()}
        else:
            extra[key] = value
    return known, metrics, extra
