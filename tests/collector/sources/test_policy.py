"""A policy engine's decisions, violations, audit trail, trust scores and compliance rate: each of them once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from collector.sources.asking import Asking
from collector.sources.standins import PolicyStandin
from fedsight.collector.sources.source import SourceDown
from fedsight.events import Log, Policy, Sample

HOUR = float(int(time.time() // 3600) * 3600)


def asking(engine: PolicyStandin) -> Asking:
    return Asking(kind="policy", name="pe", url=engine.url)


def of_kind(told: Asking, kind: str) -> list[Policy]:
    return [policy for policy in told.of(Policy) if policy.type == kind]


def test_decisions_come_oldest_first_with_all_that_they_say() -> None:
    with PolicyStandin() as engine:
        engine.decide(True, 1_750_000_000.0)
        engine.decide(False, 1_750_000_001.5)
        told = asking(engine)
        told.poll()
    first, second = of_kind(told, "decision")
    assert (first.id, first.ts, first.result, first.client_id) == ("decision_1", 1_750_000_000.0, "allowed", "client-1")
    assert (second.result, second.reason, second.action) == ("denied", "outside working hours", "deny")
    assert (second.policy_id, second.component, second.source, second.trust_score) == ("p1", "fl-client", "pe", 0.9)
    assert second.metrics == {"execution_time": 0.4}


def test_asking_again_tells_no_decision_twice_though_the_engine_repeats_those_of_the_same_instant() -> None:
    with PolicyStandin() as engine:
        told = asking(engine)
        for ts in (10.0, 10.0, 10.0, 11.0, 11.0):
            for _ in range(2):
                engine.decide(True, 1_750_000_000.0 + ts)
            told.poll()
            told.poll()
    assert [policy.id for policy in of_kind(told, "decision")] == [f"decision_{n}" for n in range(1, 11)]


def test_decisions_without_ids_are_known_by_what_they_say() -> None:
    with PolicyStandin() as engine:
        engine.decide(True, 1_750_000_000.0, id=None)
        engine.decide(False, 1_750_000_000.0, id=None)
        told = asking(engine)
        told.poll()
        told.poll()
    assert sorted(str(policy.result) for policy in of_kind(told, "decision")) == ["allowed", "denied"]


def test_more_decisions_than_one_page_holds_are_read_back_to_the_last_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsight.collector.sources.policy.DECISIONS_A_PAGE", 10)
    with PolicyStandin() as engine:
        told = asking(engine)
        engine.decide(True, 1_750_000_000.0)
        told.poll()
        for n in range(1, 96):
            engine.decide(True, 1_750_000_000.0 + n // 3)
        told.poll()
    assert {policy.id for policy in of_kind(told, "decision")} == {f"decision_{n}" for n in range(1, 97)}
    assert len(of_kind(told, "decision")) == 96


def test_events_are_violations_trust_scores_or_the_audit_trail() -> None:
    with PolicyStandin() as engine:
        engine.log("POLICY_VIOLATION", {"client_id": "c1", "policy_id": "p1", "reason": "model too large"})
        engine.log("TRUST_SCORE_UPDATED", {"client_id": "c2", "trust_score": 0.42})
        engine.log("POLICY_UPDATED", {"policy_id": "p1", "action": "update"})
        engine.log("POLICY_CHECK", {"policy_type": "fl_client_training", "allowed": False})
        engine.log("ENGINE_START", {})
        told = asking(engine)
        told.poll()
        told.poll()
    assert [(p.type, p.action) for p in told.of(Policy)] == [
        ("violation", "policy_violation"),
        ("trust_score", "trust_score_updated"),
        ("audit", "policy_updated"),
        ("violation", "policy_check"),
    ]
    violation, trust = told.of(Policy)[:2]
    assert (violation.client_id, violation.policy_id, violation.reason) == ("c1", "p1", "model too large")
    assert (trust.client_id, trust.trust_score) == ("c2", 0.42)
    assert [log.event for log in told.of(Log)] == ["engine_start"]


def test_thousands_of_events_over_many_polls_come_once_each() -> None:
    with PolicyStandin() as engine:
        told = asking(engine)
        for n in range(3000):
            engine.log("POLICY_CHECK", {"n": n})
            if n % 90 == 0:
                told.poll()
        told.poll()
    assert [policy.extra["details"]["n"] for policy in told.of(Policy) if policy.extra] == list(range(3000))


def test_the_compliance_rate_is_the_share_allowed_and_absent_while_nothing_was_checked() -> None:
    with PolicyStandin() as engine:
        told = asking(engine)
        told.poll()
        assert "compliance_rate" not in told.of(Sample)[-1].metrics
        for allowed in (True, True, True, False):
            engine.decide(allowed, time.time())
        told.poll()
    sample = told.of(Sample)[-1]
    assert sample.node == "pe"
    assert sample.metrics["compliance_rate"] == 0.75
    assert sample.metrics["policy_checks_denied"] == 1.0


@pytest.mark.parametrize("bare_list", [True, False])
def test_hours_are_told_once_when_they_are_over(bare_list: bool) -> None:
    with PolicyStandin(bare_list=bare_list) as engine:
        engine.decide(True, HOUR - 7000)
        engine.decide(True, HOUR - 100)
        engine.decide(False, HOUR - 99)
        engine.decide(True, HOUR + 1)
        told = asking(engine)
        told.poll()
        told.poll()
    hours = [sample for sample in told.of(Sample) if sample.node == "pe/hourly"]
    # The clock may have passed into the next hour meanwhile.
    assert [sample.ts for sample in hours][:2] == [HOUR - 7200, HOUR - 3600]
    assert hours[1].metrics == {"total_decisions": 2, "allowed_count": 1, "denied_count": 1, "compliance_rate": 0.5}
    assert len({sample.ts for sample in hours}) == len(hours)


def test_an_engine_started_anew_is_said_to_be() -> None:
    with PolicyStandin() as engine:
        engine.began -= 1000
        engine.log("POLICY_UPDATED", {})
        engine.log("POLICY_UPDATED", {})
        told = asking(engine)
        told.poll()
        told.poll()
        assert told.of(Log) == []
        engine.kill()
        engine.boot()
        engine.start()
        engine.log("POLICY_CREATED", {})
        told.poll()
        told.poll()
    assert [log.event for log in told.of(Log)] == ["restarted"]
    assert [policy.action for policy in told.of(Policy)] == ["policy_updated", "policy_updated", "policy_created"]


def test_what_is_no_policy_engine_is_said_to_be_none() -> None:
    class Other(PolicyStandin):
        def answer(self, path: str, params: dict[str, str]) -> Any:
            return None

    with Other() as engine, pytest.raises(SourceDown, match="is this a policy engine"):
        asking(engine).poll()


@pytest.mark.parametrize("path", ["/metrics", "/events", "/api/v1/policy_decisions", "/api/v1/policy_metrics"])
@pytest.mark.parametrize("answer", [7, "text", [1, None, [], "x"], {"events": {}, "metrics": 1}, {"timestamp": []}])
def test_wrong_types_harm_nothing(path: str, answer: Any) -> None:
    class Wrong(PolicyStandin):
        def answer(self, asked: str, params: dict[str, str]) -> Any:
            return answer if asked == path else super().answer(asked, params)

    with Wrong() as engine:
        engine.decide(True, 1_750_000_000.0)
        engine.log("POLICY_CHECK", {})
        told = asking(engine)
        try:
            told.poll()
        except SourceDown as error:
            said = str(error)
        else:
            said = path
    assert path in said
