"""The FLOPY-NET text's answers: a run's figures, and the collector's status."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.harness import Collector, a_run, header, lines, run_end, run_start, until
from fedsight.events import ClientUpdate, Policy, RoundEnd, RoundStart, Sample, SourceState
from fedsight.store.queries import slope

TEXT = [0.45, 0.52, 0.58, 0.63, 0.67, 0.71, 0.74, 0.76, 0.78, 0.80]
"""The accuracies of the text's example."""

NINE = 1737018000.0
"""2025-01-16T09:00:00Z"""


def rounds() -> bytes:
    """Ten rounds, ten minutes each; client-2 misses the last two, client-3 only ever drops out."""
    told = b""
    for number, accuracy in enumerate(TEXT, 1):
        ts = NINE + 600.0 * number
        told += lines(
            RoundStart(ts=ts - 500, round=number, selected=["client-1", "client-2", "client-3"]),
            ClientUpdate(
                ts=ts - 100,
                client_id="client-1",
                round=number,
                local_accuracy=accuracy,
                train_time_sec=40.0 + number,
                num_samples=1250,
            ),
            ClientUpdate(ts=ts - 90, client_id="client-3", round=number, status="dropped"),
        )
        if number <= 8:
            told += lines(
                ClientUpdate(ts=ts - 95, client_id="client-2", round=number, local_accuracy=math.nan, num_samples=980)
            )
        told += lines(
            RoundEnd(ts=ts, round=number, global_accuracy=accuracy, global_loss=1 - accuracy, round_duration_sec=120.0)
        )
    return told


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("flopynet")) as running:
        running.post("j0", 0, a_run("j0", "older", rounds=2))
        body = header(run_id="exp/1") + run_start("exp/1", NINE) + rounds() + run_end(NINE + 7000)
        assert running.post("j1", 0, body).status_code == 200
        running.settled()
        yield running


def test_rounds_are_columns_in_the_texts_names(collector: Collector) -> None:
    found = collector.get("/api/v1/fl/metrics", experiment_id="exp/1")
    assert (found["experiment_id"], found["run_id"], found["round_number"]) == ("exp/1", "exp/1", 10)
    assert found["timestamp"] == "2025-01-16T10:56:40.000Z"
    assert found["timerange"] == {"from": None, "to": None}
    told = found["global_metrics"]
    assert told["rounds"] == list(range(1, 11))
    assert told["global_accuracy"] == TEXT
    assert told["global_loss"] == [1 - a for a in TEXT]
    assert told["participants_per_round"] == [2] * 8 + [1] * 2
    assert told["round_duration_seconds"] == [120.0] * 10
    assert (told["accuracy"], told["loss"]) == (0.80, 1 - 0.80)


def test_what_each_client_contributed(collector: Collector) -> None:
    clients = collector.get("/api/v1/fl/metrics", run_id="exp/1")["client_metrics"]
    assert clients["client-1"] == {
        "participation_rate": 1.0,
        "avg_local_accuracy": pytest.approx(sum(TEXT) / 10),
        "avg_training_time": 45.5,
        "data_contribution": 1250.0,
        "local_accuracy": 0.80,
        "local_loss": None,
        "training_time": 50.0,
        "data_samples": 1250.0,
        "model_updates": 10,
    }
    # A mean is of finite values; that the last one is none is not hidden.
    assert clients["client-2"]["participation_rate"] == 0.8
    assert clients["client-2"]["avg_local_accuracy"] is None
    assert clients["client-2"]["local_accuracy"] == "NaN"
    assert clients["client-3"]["participation_rate"] == 0.0
    assert clients["client-3"]["data_contribution"] is None


def test_the_slope_of_the_texts_own_series(collector: Collector) -> None:
    told = collector.get("/api/v1/fl/metrics", run_id="exp/1")["global_metrics"]
    assert told["convergence_rate"] == pytest.approx(0.0378182, abs=1e-7)
    assert told["convergence_window"] == 10
    last = collector.get("/api/v1/fl/metrics", run_id="exp/1", window=3)["global_metrics"]
    assert last["convergence_rate"] == pytest.approx(0.02)
    assert last["convergence_window"] == 3


def test_a_slope_is_per_round_and_needs_three_of_them() -> None:
    assert slope([(1, 0.1), (2, 0.2)]) is None
    assert slope([(0, 0.1), (5, 0.2), (10, 0.3)]) == pytest.approx(0.02)
    assert slope([(3, 0.1), (3, 0.2), (3, 0.3)]) is None
    assert slope([]) is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2025-01-16T09:30:00Z", "2025-01-16T10:00:00Z"),
        (NINE + 1800, NINE + 3600),
        ("2025-01-16T10:30:00+01:00", NINE + 3600),
    ],
)
def test_a_time_range_in_either_form(collector: Collector, start: object, end: object) -> None:
    found = collector.get("/api/v1/fl/metrics", **{"run_id": "exp/1", "from": start, "to": end})
    assert found["global_metrics"]["rounds"] == [3, 4, 5, 6]
    assert found["timerange"] == {"from": "2025-01-16T09:30:00.000Z", "to": "2025-01-16T10:00:00.000Z"}
    assert found["client_metrics"]["client-1"]["model_updates"] == 4
    assert found["client_metrics"]["client-1"]["participation_rate"] == 1.0
    assert found["global_metrics"]["convergence_window"] == 4


def test_a_range_without_rounds_is_empty_and_invents_nothing(collector: Collector) -> None:
    found = collector.get("/api/v1/fl/metrics", run_id="exp/1", to=NINE)
    assert found["global_metrics"]["rounds"] == []
    assert found["global_metrics"]["convergence_rate"] is None
    assert found["client_metrics"]["client-1"]["participation_rate"] is None


def test_without_an_id_it_is_the_newest_run(collector: Collector) -> None:
    assert collector.get("/api/v1/fl/metrics")["run_id"] == "exp/1"


def test_pages_join_to_the_whole(collector: Collector) -> None:
    numbers: list[int] = []
    clients: list[str] = []
    cursor = None
    while True:
        page = collector.get("/api/v1/fl/metrics", run_id="exp/1", limit=2, **({"cursor": cursor} if cursor else {}))
        numbers += page["global_metrics"]["rounds"]
        clients += page["client_metrics"]
        assert page["global_metrics"]["convergence_rate"] == pytest.approx(0.0378182, abs=1e-7)
        if not (cursor := page["next"]):
            break
    assert numbers == list(range(1, 11))
    assert sorted(clients) == ["client-1", "client-2", "client-3"]


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"run_id": "no"}, 404, "run_id"),
        ({"run_id": "exp/1", "experiment_id": "older"}, 400, "run_id"),
        ({"from": "2025-01-16T09:30:00"}, 400, "from"),
        ({"to": "yesterday"}, 400, "to"),
        ({"window": 2}, 400, "window"),
        ({"limit": 0}, 400, "limit"),
        ({"cursor": "x"}, 400, "cursor"),
    ],
)
def test_what_is_wrong_is_named(collector: Collector, params: dict[str, object], status: int, field: str) -> None:
    answer = collector.http.get("/api/v1/fl/metrics", params=params)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)


def test_where_there_is_no_run_yet_it_says_so(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        assert collector.http.get("/api/v1/fl/metrics").status_code == 404
        status = collector.get("/api/v1/status")
        assert status["system_health"] == "healthy"
        assert {name: part["status"] for name, part in status["components"].items()} == {
            "fl_server": "unknown",
            "policy_engine": "unknown",
            "sdn_controller": "unknown",
        }


# ── unchanged answers ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/api/v1/fl/metrics", "/api/v1/runs/exp%2F1/rounds", "/api/v1/policy/events"])
def test_who_has_an_answer_already_is_told_that_it_still_holds(tmp_path: Path, path: str) -> None:
    with Collector(tmp_path) as collector:
        end = collector.post("j1", 0, header(run_id="exp/1") + run_start("exp/1", NINE)).json()["offset"]
        collector.settled()
        first = collector.http.get(path)
        tag = first.headers["etag"]
        again = collector.http.get(path, headers={"if-none-match": f'"other", {tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        collector.post("j1", end, rounds())
        collector.settled()
        changed = collector.http.get(path, headers={"if-none-match": tag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != tag


def test_an_answer_may_be_kept_but_not_used_unasked(collector: Collector) -> None:
    assert collector.http.get("/api/v1/fl/metrics").headers["cache-control"] == "private, no-cache"
    assert collector.http.get("/api/v1/status").headers["cache-control"] == "no-store"


# ── status ────────────────────────────────────────────────────────────────────────────────────


def test_the_status_tells_of_the_systems_around(tmp_path: Path) -> None:
    with Collector(tmp_path) as collector:
        collector.post("j1", 0, header() + run_start() + rounds())
        engine = lines(
            SourceState(ts=1.0, source="pe", type="policy", state="up"),
            Sample(ts=2.0, node="pe", metrics={"enabled_policy_count": 12.0}),
            *(Policy(ts=NINE, type="decision", source="pe", id=str(n)) for n in range(3)),
        )
        collector.post("s1", 0, header("s1", "source", run_id=None) + engine)
        network = lines(
            SourceState(ts=1.0, source="lab", type="onos", state="up"),
            Sample(ts=NINE, node="lab", metrics={"devices": 5.0, "flows": 127.0}),
            Sample(ts=NINE, node="of:1", metrics={"flows": 60.0}),
        )
        end = collector.post("s2", 0, header("s2", "source", run_id=None) + network).json()["offset"]
        collector.settled()
        status = collector.get("/api/v1/status")
        assert status["name"] == "fedsight"
        assert status["system_health"] == "healthy"
        assert status["timestamp"].endswith("Z")
        assert status["components"] == {
            "fl_server": {
                "status": "training",
                "run_id": "r1",
                "current_round": 10,
                "active_clients": 2,
                "last_update": "2025-01-16T10:40:00.000Z",
            },
            "policy_engine": {
                "status": "active",
                "active_policies": 12,
                "events_per_minute": 0.0,
                "last_update": "2025-01-16T09:00:00.000Z",
            },
            "sdn_controller": {
                "status": "connected",
                "managed_devices": 5,
                "active_flows": 127,
                "last_update": "2025-01-16T09:00:00.000Z",
            },
        }
        collector.post("s2", end, lines(SourceState(ts=3.0, source="lab", type="onos", state="down", error="refused")))

        def is_down() -> bool:
            status = collector.get("/api/v1/status")
            return bool(status["components"]["sdn_controller"]["status"] == "down")

        until(is_down, "the controller is down")
        assert collector.get("/api/v1/status")["system_health"] == "degraded"
