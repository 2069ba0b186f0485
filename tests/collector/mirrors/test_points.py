"""What each kind of event is as a point."""

from __future__ import annotations

from typing import Any

from fedsight.collector.mirrors.points import JournalPoints
from fedsight.events import (
    ClientUpdate,
    Event,
    JournalHeader,
    Metric,
    Policy,
    RoundEnd,
    RoundStart,
    Sample,
    SourceState,
    Topology,
    decode_block,
    encode,
)


def points(*events: Event, **header: Any) -> list[str]:
    told = JournalPoints(JournalHeader(ts=0.0, version=1, journal="j", **({"role": "server", "run_id": "r"} | header)))
    block = decode_block(b"".join(map(encode, events)), 0)
    return [line.decode().removesuffix("\n") for line in told.take(block)]


def test_an_update_is_a_point_of_fl_training_with_the_round_as_a_field() -> None:
    update = ClientUpdate(
        ts=1.0,
        client_id="c 1",
        round=3,
        local_accuracy=0.5,
        train_time_sec=2.0,
        num_samples=100,
        bytes_sent=10,
        bytes_received=5,
        lat=52.5,
        metrics={"model_size": 7.0},
    )
    [point] = points(update)
    assert point == (
        r"fl_training,client_id=c\ 1,experiment_id=r,role=server model_size=7.0,local_accuracy=0.5,training_time=2.0,"
        "data_samples=100.0,round=3.0,bytes_sent=10.0,bytes_received=5.0,communication_bytes=15.0 1000000000"
    )


def test_communication_bytes_are_unknown_where_one_way_is() -> None:
    [point] = points(ClientUpdate(ts=1.0, client_id="a", bytes_sent=10))
    assert "communication_bytes" not in point


def test_a_rounds_end_counts_the_participants_that_were_heard_of() -> None:
    told = points(
        RoundStart(ts=1.0, round=0, selected=["a", "b", "c"]),
        ClientUpdate(ts=2.0, client_id="a", round=0),
        ClientUpdate(ts=2.0, client_id="b", round=0, status="dropout"),
        RoundEnd(ts=3.0, round=0, global_accuracy=0.75, aggregation_time_sec=0.5),
        RoundEnd(ts=4.0, round=1, global_loss=float("nan")),
    )
    assert told[-2:] == [
        "fl_training_global,experiment_id=r global_accuracy=0.75,aggregation_time=0.5,round=0.0,participants=1.0 3000000003",
        "fl_training_global,experiment_id=r round=1.0 4000000004",
    ]


def test_a_curves_point_has_its_key_as_field() -> None:
    [point] = points(Metric(ts=1.0, key="loss", value=0.5, step=7), role="client", client_id="a")
    assert point == "fl_training_steps,client_id=a,experiment_id=r loss=0.5,step=7.0 1000000000"


def test_a_monitors_samples_are_system_metrics() -> None:
    [point] = points(
        Sample(ts=1.0, node="n", metrics={"cpu_pct": 5.0, "process.cpu.time{cpu.mode=user}": 2.0}),
        role="monitor",
        client_id="a",
    )
    assert point == (
        r"system_metrics,client_id=a,experiment_id=r,node=n cpu_pct=5.0,process.cpu.time{cpu.mode\=user}=2.0 1000000000"
    )


def test_a_network_sources_samples_and_topology_are_network_performance() -> None:
    told = points(
        Sample(ts=1.0, node="s1/2", metrics={"latency_ms": 3.0}),
        Topology(
            ts=2.0, source="net", devices=[{"id": "s1"}], links=[{"id": "l", "up": True}, {"id": "m", "up": False}]
        ),
        SourceState(ts=2.0, source="net", type="onos", state="up"),
        role="source",
        run_id=None,
    )
    assert told == [
        "network_performance,node=s1/2 latency_ms=3.0 1000000000",
        "network_performance,source=net devices=1.0,hosts=0.0,links=2.0,links_up=1.0 2000000001",
        "system_metrics,source=net,type=onos up=1.0 2000000002",
    ]


def test_switches_that_prometheus_tells_of_are_network_performance_a_policy_engines_figures_policy_events() -> None:
    def measurement(kind: str, **metrics: float) -> str:
        told = [Sample(ts=1.0, node="n", metrics=metrics), SourceState(ts=1.0, source="s", type=kind, state="up")]
        return points(*told, role="source", run_id=None)[0].partition(",")[0]

    assert measurement("prometheus", rx_bps=1.0) == "network_performance"
    assert measurement("prometheus", go_goroutines=1.0) == "system_metrics"
    assert measurement("policy", compliance_rate=1.0) == "policy_events"
    assert measurement("onos", up=1.0) == "network_performance"


def test_a_policy_event_keeps_its_words() -> None:
    [point] = points(
        Policy(ts=1.0, type="decision", component="fl", client_id="a", result="denied", reason="no", trust_score=0.5)
    )
    assert point == (
        "policy_events,client_id=a,component=fl,experiment_id=r,result=denied,type=decision "
        'trust_score=0.5,reason="no",events=1.0 1000000000'
    )


def test_an_applications_number_never_takes_the_place_of_a_text_or_of_the_time() -> None:
    [point] = points(ClientUpdate(ts=1.0, client_id="a", status="active", metrics={"status": 1.0, "time": 2.0}))
    assert 'status_value=1.0,time_value=2.0,status="active"' in point


def test_an_event_without_a_time_that_can_be_written_is_counted() -> None:
    told = JournalPoints(JournalHeader(ts=0.0, version=1, journal="j", role="server"))
    assert told.take(decode_block(encode(Sample(ts=float("nan"), node="n", metrics={"a": 1.0})), 0)) == []
    assert told.num_untimed == 1


def test_a_new_process_folds_from_where_the_open_round_began() -> None:
    header = JournalHeader(ts=0.0, version=1, journal="j", role="server", run_id="r")
    before = b"".join(
        map(
            encode,
            [RoundEnd(ts=1.0, round=0), RoundStart(ts=2.0, round=1), ClientUpdate(ts=3.0, client_id="a", round=1)],
        )
    )
    after = encode(ClientUpdate(ts=4.0, client_id="b", round=1)) + encode(RoundEnd(ts=5.0, round=1))
    first = JournalPoints(header)
    first.take(decode_block(before, 0))
    start = first.fold_from(len(before))
    assert before[start:].startswith(b'{"kind":"round_start"')
    second = JournalPoints(header, num_lines=3)
    second.fold(decode_block(before[start:], start))
    told = second.take(decode_block(after, len(before)))
    assert told == first.take(decode_block(after, len(before)))
    assert b"participants=2.0" in told[-1]


def test_what_is_not_the_journals_to_say_is_no_point() -> None:
    forged = (
        RoundStart(ts=1.0, round=0, selected=["a"]),
        RoundEnd(ts=2.0, round=0, global_accuracy=0.99),
        ClientUpdate(ts=1.0, client_id="b", round=0, local_accuracy=0.99),
        SourceState(ts=3.0, source="onos", type="onos", state="down"),
        Topology(ts=3.0, source="onos"),
        Policy(ts=3.0, type="violation", source="pe"),
    )
    own = ClientUpdate(ts=4.0, client_id="a", round=0, local_accuracy=0.5)
    [point] = points(*forged, own, role="client", client_id="a")
    assert "client_id=a," in point
    assert "local_accuracy=0.5" in point
