"""What a site logs through NVFLARE (`AnalyticsDataType`), as events of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from nvflare.apis.analytix import AnalyticsDataType, TrackConst
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_constant import FedEventHeader
from nvflare.apis.shareable import Shareable

from fedsight.errors import UsageError
from fedsight.fields import plain_json
from fedsight.integrations.nvflare.kept_files import keep_file
from fedsight.run import Run

COMPONENT = "nvflare"
"""Who says it, in `log` events."""

LOGGED_AT = "fedsight_logged_at"
EVENT_ID = "fedsight_event_id"
"""Headers that `FedsightSite` adds, so that the server tells of the same point with the same time and id."""

_NAMELESS = frozenset({"metrics", "params", "tags", "text"})
"""What NVFLARE's own writers put where a main tag would be."""


class Record(msgspec.Struct, frozen=True):
    """One call of a writer. logged_at: the site's clock, UTC epoch seconds; None where nobody noted it."""

    type: AnalyticsDataType | None
    tag: str
    value: Any
    step: int | None
    file: str | None
    logged_at: float | None
    event_id: str | None


def record_of(shareable: Shareable) -> Record:
    """What an analytics event carries. It is read as it is: NVFLARE's own reading refuses a record for one bad value."""
    dxo = from_shareable(shareable)
    more = dxo.data.get(TrackConst.KWARGS_KEY) or {}
    step = dxo.data.get(TrackConst.GLOBAL_STEP_KEY, more.get(TrackConst.GLOBAL_STEP_KEY))
    logged_at = shareable.get_header(LOGGED_AT) or shareable.get_header(FedEventHeader.TIMESTAMP)
    # NVFLARE has ids of events since 2.9.
    event_id = shareable.get_header(EVENT_ID) or shareable.get_header(getattr(FedEventHeader, "EVENT_ID", "_event_id"))
    return Record(
        type=dxo.get_meta_prop(TrackConst.DATA_TYPE_KEY),
        tag=str(dxo.data.get(TrackConst.TRACK_KEY)),
        value=dxo.data.get(TrackConst.TRACK_VALUE),
        step=step,
        file=dxo.data.get(TrackConst.PATH_KEY) or more.get(TrackConst.PATH_KEY),
        logged_at=logged_at,
        event_id=event_id,
    )


def write(run: Run, record: Record, client_id: str | None, *, received_at: float | None = None) -> None:
    """Append to the run what a site logged; `client_id` is None for what the server's own process logged.

    A value that can't be meant is noted, and keeps no other one back. received_at: when the server got it.
    """
    teller = _Teller(run, record, client_id, _known({"event_id": record.event_id, "received_at": received_at}))
    kind, value = record.type, record.value
    if kind in (AnalyticsDataType.SCALAR, AnalyticsDataType.METRIC):
        teller.point(record.tag, value)
    elif kind in (AnalyticsDataType.SCALARS, AnalyticsDataType.METRICS) and isinstance(value, Mapping):
        prefix = "" if record.tag in _NAMELESS else f"{record.tag}/"
        for key, number in value.items():
            teller.point(f"{prefix}{key}", number)
    elif kind is AnalyticsDataType.PARAMETER:
        teller.info(params={record.tag: value})
    elif kind in (AnalyticsDataType.PARAMETERS, AnalyticsDataType.INIT_DATA) and isinstance(value, Mapping):
        teller.info(params=value)
    elif kind is AnalyticsDataType.TAG:
        teller.info(tags={record.tag: value})
    elif kind is AnalyticsDataType.TAGS and isinstance(value, Mapping):
        teller.info(tags=value)
    elif kind in (AnalyticsDataType.TEXT, AnalyticsDataType.LOG_RECORD):
        teller.text(value)
    else:  # images, models, and what a newer NVFLARE may send
        teller.file(value)


class _Teller:
    """Tells a run what one record says."""

    def __init__(self, run: Run, record: Record, client_id: str | None, extra: dict[str, Any]) -> None:
        self._run = run
        self._record = record
        self._client_id = client_id
        self._extra = extra

    def point(self, key: str, value: Any) -> None:
        record = self._record
        try:
            self._run.log_metric(
                key, value, record.step, client_id=self._client_id, ts=record.logged_at, extra=self._extra
            )
        except UsageError as error:
            self._note("refused", f"{self._who()}: {key}: {error}", "warning", key=key, value=value, step=record.step)

    def info(self, params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None) -> None:
        if self._client_id is not None:
            self._run.log_client_info(self._client_id, params=params, tags=tags, ts=self._record.logged_at)
            return
        what = "parameters" if params is not None else "tags"
        values = plain_json(dict(params or tags or {}))
        self._note(what, f"{self._who()}: {what} {json.dumps(values)}", **{what: values})

    def text(self, value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(plain_json(value))
        extra = {"tag": None if self._record.tag in _NAMELESS else self._record.tag, "step": self._record.step}
        self._run.log_text(
            text,
            name=self._record.file,
            client_id=self._client_id,
            ts=self._record.logged_at,
            extra=_known(extra | self._extra),
        )

    def file(self, value: Any) -> None:
        """What is too large for a line stands in a file beside the journal, and is named by a note."""
        record = self._record
        kind = "value" if record.type is None else record.type.value.lower()
        kept = keep_file(_folder_of(self._run), self._client_id or "server", record.tag, record.step, value)
        self._run.log_text(
            f"{kind} {record.tag!r} is kept in {kept.path} ({kept.size_bytes} bytes)",
            client_id=self._client_id,
            ts=record.logged_at,
            extra=_known(
                {"tag": record.tag, "type": kind, "step": record.step, "file": str(kept.path), "sha256": kept.sha256}
            )
            | self._extra,
        )

    def _who(self) -> str:
        return self._client_id or "server"

    def _note(self, event: str, message: str, level: Any = "info", **values: Any) -> None:
        self._run.log_event(COMPONENT, event, message, level=level, client_id=self._client_id, **values)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _folder_of(run: Run) -> Path:
    return run.path.with_suffix(".files")
