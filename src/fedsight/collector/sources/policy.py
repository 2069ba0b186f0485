"""A policy engine of the FLOPY-NET kind: decisions, violations, audit trail, trust scores, compliance rate.

Asks `/events` (its audit trail), `/api/v1/policy_decisions`, `/api/v1/policy_metrics` (hours) and `/metrics`. What guards
from doubles: of events the last one delivered; of decisions the newest time and which ones bore it; of hours the last
one told. An hour is told when it is over.
"""

from __future__ import annotations

import hashlib
import time
from operator import itemgetter
from typing import Any, ClassVar

import msgspec

from fedsight.collector.sources.fl_events import level_of, log_of, type_of
from fedsight.collector.sources.paging import event_id, new_events
from fedsight.collector.sources.source import Polled, SourceConfig, SourceDown, Web, checked_rows
from fedsight.collector.sources.times import epoch_sec, number, numbers_in
from fedsight.collector.sources.web import if_there
from fedsight.events import Event, Log, Policy, Sample

HOUR_SEC = 3600
FIRST_LOOK_BACK_SEC = 24 * HOUR_SEC
DECISIONS_A_PAGE = 1000
"""So many are what the engine keeps."""

_CLIENT_KEYS = ("client_id", "requester_id", "client")
_VIOLATIONS = ("VIOLATION", "DENIED", "BREACH", "UNAUTHORIZED")
_SYSTEM = ("ENGINE_START", "ENGINE_STOP", "SERVER_START", "SERVER_STOP", "STARTUP", "SHUTDOWN")


class PolicyConfig(SourceConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """url: of the engine, "http://127.0.0.1:5000"."""


class Cursor(msgspec.Struct, omit_defaults=True):
    """How far the engine has been told.

    events: ids of the last two delivered. decisions_at: time of the newest decision delivered; decisions: which ones bore
    that time. hour: start of the last hour told. uptime_sec, seen_at: to notice that the engine was started anew.
    """

    events: list[str] = []
    decisions_at: float | None = None
    decisions: list[str] = []
    hour: int | None = None
    started_at: float | None = None


class PolicyEngine:
    """One policy engine."""

    kind: ClassVar[str] = "policy"

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config

    async def poll(self, web: Web, cursor: dict[str, Any] | None) -> Polled:
        """Ask once. Raises `SourceDown`."""
        until = time.monotonic() + self.config.timeout_sec / 2
        at = msgspec.convert(cursor or {}, Cursor)
        now = time.time()
        metrics = await if_there(web.json("/metrics"))
        page = await if_there(new_events(web, "/events", at.events, until))
        decisions = await if_there(self._new_decisions(web, at))
        if metrics is None and page is None and decisions is None:
            raise SourceDown(
                "it has neither /metrics nor /events nor /api/v1/policy_decisions: is this a policy engine?"
            )
        events: list[Event] = []
        if metrics is not None:
            events += self._take_metrics(metrics, at, now)
        if page is not None:
            if page.gap and not any(isinstance(event, Log) for event in events):
                events.append(
                    self._log(now, "events_missing", "the engine's event buffer has lost events not read yet")
                )
            events += [self._event_of(event, now) for event in page.events]
            at.events = page.ids
        events += [self._decision_of(row, now) for row in decisions or ()]
        events += await if_there(self._hours(web, at, now)) or []
        return Polled(events=events, cursor=msgspec.to_builtins(at))

    def _log(self, ts: float, event: str, message: str) -> Log:
        return Log(ts=ts, component=self.config.name, event=event, message=message, level="warning")

    # ── counters ──────────────────────────────────────────────────────────────────────────────

    def _take_metrics(self, reply: Any, at: Cursor, now: float) -> list[Event]:
        if not isinstance(reply, dict):
            raise SourceDown("GET /metrics answered no object")
        numbers = numbers_in(reply, frozenset({"latest_application_timestamp"}))
        rate = compliance_rate(numbers)
        if rate is not None:
            numbers.setdefault("compliance_rate", rate)
        events: list[Event] = [Sample(ts=now, node=self.config.name, metrics=numbers)] if numbers else []
        uptime_sec = number(reply.get("uptime_seconds"))
        if uptime_sec is not None and uptime_sec > 0:
            started_at = now - uptime_sec
            # Its uptime and our clock differ by what the answer took; a restart is later by more than that.
            if at.started_at is not None and started_at > at.started_at + 2 * self.config.timeout_sec:
                events.append(self._log(now, "restarted", f"{self.config.name} was started anew"))
                at.started_at = started_at
            elif at.started_at is None:
                at.started_at = started_at
        return events

    # ── events ────────────────────────────────────────────────────────────────────────────────

    def _event_of(self, event: dict[str, Any], now: float) -> Event:
        kind = type_of(event)
        if any(word in kind.upper() for word in _SYSTEM):
            return log_of(event, self.config.name, now)
        details = event.get("details")
        found = details if isinstance(details, dict) else {}
        return self._policy(
            found, event, kind=type_of_policy(kind, found), ident=event_id(event), action=kind.lower(), now=now
        )

    # ── decisions ─────────────────────────────────────────────────────────────────────────────

    async def _new_decisions(self, web: Web, at: Cursor) -> list[dict[str, Any]]:
        """Decisions that were not delivered yet, oldest first. The engine gives the newest first, and cuts the oldest off."""
        found: dict[str, dict[str, Any]] = {}
        end: float | None = None
        while True:
            reply = await web.json(
                "/api/v1/policy_decisions", start_time=at.decisions_at, end_time=end, limit=DECISIONS_A_PAGE
            )
            rows = reply.get("decisions") if isinstance(reply, dict) else reply
            if not isinstance(rows, list):
                raise SourceDown("GET /api/v1/policy_decisions answered without a list")
            rows = [row for row in checked_rows(rows, "GET /api/v1/policy_decisions") if isinstance(row, dict)]
            before = len(found)
            found |= {ident: row for row in rows if (ident := decision_id(row)) not in found}
            times = [ts for row in rows if (ts := epoch_sec(row.get("timestamp"))) is not None]
            if len(rows) < DECISIONS_A_PAGE or len(found) == before or not times or end == min(times):
                break
            end = min(times)
        # What bears no time can't be told from what came before.
        fresh = [
            (ts, ident, row)
            for ident, row in found.items()
            if (ts := epoch_sec(row.get("timestamp"))) is not None
            and (at.decisions_at is None or ts >= at.decisions_at)
            and ident not in at.decisions
        ]
        fresh.sort(key=itemgetter(0))
        newest = max((ts for ts, _, _ in fresh), default=None)
        if newest is not None:
            same = [ident for ts, ident, _ in fresh if ts == newest]
            at.decisions = [*at.decisions, *same] if newest == at.decisions_at else same
            at.decisions_at = newest
        return [row for _, _, row in fresh]

    def _decision_of(self, row: dict[str, Any], now: float) -> Policy:
        return self._policy(row, row, kind="decision", ident=decision_id(row), action=_text(row.get("action")), now=now)

    def _policy(
        self, found: dict[str, Any], event: dict[str, Any], *, kind: str, ident: str, action: str | None, now: float
    ) -> Policy:
        context = found.get("context")
        places = [found, context] if isinstance(context, dict) else [found]
        result = found.get("result", found.get("allowed"))
        ts = epoch_sec(event.get("timestamp"))
        return Policy(
            ts=now if ts is None else ts,
            type=kind,
            source=self.config.name,
            id=ident or None,
            component=_first(places, ("component", "server_id")) or _text(event.get("source")),
            client_id=_first(places, _CLIENT_KEYS),
            policy_id=_first(places, ("policy_id", "policy_name", "policy_type")),
            action=action or _first(places, ("action", "operation", "decision")),
            result=("allowed" if result else "denied") if isinstance(result, bool) else _text(result),
            reason=_first(places, ("reason", "message", "description")),
            trust_score=next((s for place in places if (s := number(place.get("trust_score"))) is not None), None),
            metrics=numbers_in(found, frozenset({"timestamp", "trust_score"})) or None,
            extra={"details": found, "level": level_of(kind)} if found else None,
        )

    # ── hours ─────────────────────────────────────────────────────────────────────────────────

    async def _hours(self, web: Web, at: Cursor, now: float) -> list[Event]:
        """What the engine counted in each full hour, once."""
        last = int(now // HOUR_SEC) * HOUR_SEC - HOUR_SEC
        first = at.hour + HOUR_SEC if at.hour is not None else last + HOUR_SEC - FIRST_LOOK_BACK_SEC
        if first > last:
            return []
        reply = await web.json("/api/v1/policy_metrics", start_time=first, end_time=last)
        rows = reply.get("metrics") if isinstance(reply, dict) else reply
        if not isinstance(rows, list):
            raise SourceDown("GET /api/v1/policy_metrics answered without a list")
        hours: dict[float, dict[str, float]] = {}
        for row in checked_rows(rows, "GET /api/v1/policy_metrics"):
            ts = epoch_sec(row.get("timestamp")) if isinstance(row, dict) else None
            # How many policies there are now says nothing about an hour that is over.
            if ts is None or not first <= ts <= last or row.get("metric_type") == "policy_count":
                continue
            hours.setdefault(ts, {}).update(_figures(row))
        at.hour = last
        return [
            Sample(ts=ts, node=f"{self.config.name}/hourly", metrics=figures)
            for ts, figures in sorted(hours.items())
            if figures
        ]


def _figures(row: dict[str, Any]) -> dict[str, float]:
    figures = numbers_in(row, frozenset({"timestamp", "metric_value"}))
    value = number(row.get("metric_value"))
    if value is not None:
        figures[str(row.get("metric_name") or row.get("metric_type") or "value")] = value
    allowed, denied = figures.get("allowed_count"), figures.get("denied_count")
    if allowed is not None and denied is not None and allowed + denied > 0:
        figures["compliance_rate"] = allowed / (allowed + denied)
    return figures


def compliance_rate(numbers: dict[str, float]) -> float | None:
    """Share of the checks that were allowed, 0 to 1; None where nothing was checked."""
    total, allowed = numbers.get("policy_checks_total"), numbers.get("policy_checks_allowed")
    if total is None or allowed is None or not total > 0:
        return None
    return allowed / total


def type_of_policy(kind: str, details: dict[str, Any]) -> str:
    """What an engine's event is: a violation, a trust score, a decision, or else part of the audit trail."""
    name = kind.upper()
    denied = details.get("result", details.get("allowed")) is False
    if any(word in name for word in _VIOLATIONS) or ("CHECK" in name and denied):
        return "violation"
    if "TRUST" in name:
        return "trust_score"
    return "decision" if "DECISION" in name or "CHECK" in name else "audit"


def decision_id(row: dict[str, Any]) -> str:
    """The engine's own name of a decision; where it gives none, one made of all that it says."""
    for key in ("id", "decision_id", "event_id", "request_id"):
        if isinstance(row.get(key), (str, int)):
            return str(row[key])
    return hashlib.sha256(msgspec.json.encode(row, order="deterministic")).hexdigest()[:24]


def _first(places: list[dict[str, Any]], keys: tuple[str, ...]) -> str | None:
    return next((text for place in places for key in keys if (text := _text(place.get(key)))), None)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or value is None or value == "":
        return None
    return str(value)[:2000] if isinstance(value, (str, int, float)) else None
