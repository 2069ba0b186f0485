"""A client's reply as the bridge sees it, read from a Flower message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fedsight.integrations.flower.mod import REPORT_KEY

Phase = Literal["train", "evaluate"]

NO_REPLY = "NO_REPLY"
_UNREACHABLE = frozenset({"MESSAGE_UNAVAILABLE", "REPLY_MESSAGE_UNAVAILABLE", "NODE_UNAVAILABLE", NO_REPLY})
_LONGEST_REASON = 1000


@dataclass
class Failure:
    """Why there is no result: Flower's error code by number and name, and the reason as Flower told it.

    code: None where nothing came, name: then `NO_REPLY`.
    """

    code: int | None
    name: str
    reason: str

    @property
    def is_unreachable(self) -> bool:
        """The node, or its answer, could not be reached; else its ClientApp failed."""
        return self.name in _UNREACHABLE

    def __str__(self) -> str:
        code = "" if self.code is None else f" (code {self.code})"
        return f"{self.name}{code}" + (f": {self.reason}" if self.reason else "")


@dataclass
class Reply:
    """One client's reply in one phase.

    node: Flower's node id. bytes_up: of its records. report: what `fedsight_mod` measured there.
    metrics: name → number, or a list of numbers.
    """

    node: str
    failure: Failure | None = None
    bytes_up: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def phase_of(message: Any) -> Phase | None:
    """The phase that a message belongs to; None: neither (a query, say). "train.my_action" is of "train"."""
    kind = message.metadata.message_type.split(".")[0]
    return kind if kind in ("train", "evaluate") else None


def read_reply(message: Any, node: str) -> Reply:
    """Read `message` as the reply of `node`, and take the mod's report out of it."""
    if message.has_error():
        return Reply(node, failure=failure_of(message.error))
    report = take_report(message)
    return Reply(node, None, bytes_of(message.content), metrics_of(message.content), report)


def take_report(message: Any) -> dict[str, Any]:
    """What the mod sent along with a reply; it is out of the message afterwards."""
    if not message.has_content() or REPORT_KEY not in message.content:
        return {}
    return dict(message.content.pop(REPORT_KEY))


def failure_of(error: Any) -> Failure:
    """Flower's error, its code by name."""
    from flwr.common.constant import ErrorCode

    names = {value: name for name, value in vars(ErrorCode).items() if isinstance(value, int)}
    return Failure(int(error.code), names.get(error.code, "ERROR"), (error.reason or "").strip()[-_LONGEST_REASON:])


def metrics_of(content: Any) -> dict[str, Any]:
    """The metrics of all MetricRecords; of several, each name has its record's before it: `<record>/<name>`."""
    from flwr.app import MetricRecord

    # Flower's own view of them, content.metric_records, is a copy that checks each one anew.
    records = {name: record for name, record in content.items() if isinstance(record, MetricRecord)}
    if len(records) == 1:
        (record,) = records.values()
        return dict(record)
    return {f"{name}/{key}": value for name, record in records.items() for key, value in record.items()}


def bytes_of(content: Any) -> int:
    """Bytes of the records, as Flower counts them: values and keys, without what serialising adds."""
    from flwr.app import ConfigRecord

    return sum(
        _bytes_of_config(record) if isinstance(record, ConfigRecord) else record.count_bytes()
        for record in content.values()
    )


def _bytes_of_config(record: Any) -> int:
    """Flower's own count raises on an empty text."""
    num_bytes = 0
    for key, value in record.items():
        for each in value if isinstance(value, list) else (value,):
            num_bytes += len(each) if isinstance(each, (str, bytes)) else 1 if isinstance(each, bool) else 8
        num_bytes += len(key)
    return num_bytes
