"""The read API over HTTP: shapes, spelled-out numbers, encoded ids, faults by field."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from collector.harness import Collector, a_round, a_run, header, lines, run_start
from fedsight.collector.api import schemas
from fedsight.events import ClientUpdate, Metric, RoundEnd, RoundStart
from fedsight.store.queries.snapshot import to_cursor

DEEP_CURSOR = base64.urlsafe_b64encode(b"[" * 3_000 + b"]" * 3_000).decode()
ODD_RUN = "proj/run 1?#%é"
ODD_CLIENT = "site/a b+c%2F"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("reads")) as running:
        running.post("j1", 0, a_run(rounds=40, clients=tuple(f"c{n:02}" for n in range(30))))
        odd = header("odd", run_id=ODD_RUN) + run_start(ODD_RUN)
        odd += lines(
            RoundStart(ts=1.0, round=0),
            ClientUpdate(
                ts=2.0, client_id=ODD_CLIENT, round=0, local_loss=math.nan, metrics={"mine": math.inf, "own": 2.0}
            ),
            RoundEnd(ts=3.0, round=0, global_loss=-math.inf, global_accuracy=math.nan),
            Metric(ts=4.0, key="loss", value=math.nan, step=1),
        )
        running.post("odd", 0, odd)
        running.post("jx", 0, header("jx", run_id="broken") + b"no event\n")
        running.settled()
        yield running


def odd(path: str = "") -> str:
    return f"/api/v1/runs/proj%2Frun%201%3F%23%25%C3%A9{path}"


TABLES = [
    ("/api/v1/runs", schemas.RunsTable),
    ("/api/v1/runs/r1/rounds", schemas.RoundsTable),
    ("/api/v1/runs/r1/clients", schemas.ClientsTable),
    ("/api/v1/runs/r1/clients?sparkline=local_accuracy", schemas.ClientsTable),
    ("/api/v1/runs/r1/updates", schemas.UpdatesTable),
    ("/api/v1/runs/r1/series?scope=global&metric=global_accuracy", schemas.SeriesTable),
    ("/api/v1/runs/r1/series?scope=client&client_id=c01&metric=local_accuracy", schemas.SeriesTable),
    ("/api/v1/runs/r1/series?scope=clients&metric=local_accuracy", schemas.SeriesTable),
    (odd("/series?scope=step&metric=loss"), schemas.SeriesTable),
    (odd("/rounds"), schemas.RoundsTable),
    (odd("/clients"), schemas.ClientsTable),
    (odd("/updates"), schemas.UpdatesTable),
    ("/api/v1/runs/r1/events", schemas.EventsTable),
    ("/api/v1/dead-letters", schemas.DeadLettersTable),
]


@pytest.mark.parametrize(("path", "shape"), TABLES, ids=[p for p, _ in TABLES])
def test_every_table_is_columnar_and_what_the_document_says(
    collector: Collector, path: str, shape: type[msgspec.Struct]
) -> None:
    answer = collector.http.get(path)
    assert answer.status_code == 200, answer.text
    strict = msgspec.defstruct("Strict", [], bases=(shape,), forbid_unknown_fields=True)
    msgspec.json.decode(answer.content, type=strict)
    columns = answer.json()["columns"]
    if shape is not schemas.SeriesTable:
        documented = shape.__annotations__["columns"]
        expected = set(getattr(schemas, documented).__struct_fields__)
        assert set(columns) | {"sparkline"} == expected | {"sparkline"}
    assert len({len(values) for values in columns.values()}) == 1
    assert len(next(iter(columns.values()))) > 0


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/api/v1/status", schemas.StatusAnswer),
        ("/api/v1/runs/r1", schemas.RunAnswer),
        ("/api/v1/runs/r1/metrics", schemas.MetricNamesAnswer),
        ("/api/v1/runs/r1/clients/c01", schemas.ClientAnswer),
    ],
)
def test_every_object_is_what_the_document_says(collector: Collector, path: str, shape: type[msgspec.Struct]) -> None:
    answer = collector.http.get(path)
    assert answer.status_code == 200, answer.text
    msgspec.json.decode(answer.content, type=shape)


def test_ids_with_slashes_and_the_like_are_percent_encoded(collector: Collector) -> None:
    assert collector.get(odd())["run"]["run_id"] == ODD_RUN
    assert collector.get(odd("/clients/site%2Fa%20b%2Bc%252F"))["client"]["client_id"] == ODD_CLIENT
    assert collector.get(odd("/updates"), client_id=ODD_CLIENT)["columns"]["client_id"] == [ODD_CLIENT]


def test_an_id_that_is_no_utf8_is_refused(collector: Collector) -> None:
    answer = collector.http.get("/api/v1/runs/%FF")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "run_id")


def test_numbers_that_json_lacks_are_spelled_out_wherever_they_stand(collector: Collector) -> None:
    rounds = collector.get(odd("/rounds"))["columns"]
    assert (rounds["global_loss"], rounds["global_accuracy"]) == (["-Infinity"], ["NaN"])
    updates = collector.get(odd("/updates"))["columns"]
    assert updates["local_loss"] == ["NaN"]
    assert updates["metrics"] == [{"mine": "Infinity", "own": 2.0}]
    assert collector.get(odd())["run"]["global_loss"] == "-Infinity"
    assert collector.get(odd("/clients/site%2Fa%20b%2Bc%252F"))["client"]["local_loss"] == "NaN"
    assert collector.get(odd("/series"), scope="step", metric="loss")["columns"]["value"] == ["NaN"]


def test_missing_is_null_never_0(collector: Collector) -> None:
    updates = collector.get(odd("/updates"))["columns"]
    assert updates["local_accuracy"] == [None]
    assert updates["num_samples"] == [None]


def test_a_table_is_read_page_by_page_without_a_gap(collector: Collector) -> None:
    seen: list[tuple[int, str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = collector.get("/api/v1/runs/r1/updates", limit=170, fields="round,client_id", **cursor)
        seen += zip(page["columns"]["round"], page["columns"]["client_id"], strict=True)
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [row for row in seen if row[0] < 40] == [
        (r, f"c{n:02}") for r in range(40) for n in range(30)
    ]  # others add round 40


@pytest.mark.parametrize(
    "path",
    ["", "/rounds", "/clients", "/clients/a", "/updates", "/metrics", "/events", "/series?scope=global&metric=x"],
)
def test_an_unknown_run_is_404_by_name(collector: Collector, path: str) -> None:
    answer = collector.http.get(f"/api/v1/runs/no%20such{path}")
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "not_found", "message": "There is no run 'no such'.", "field": "run_id"}}


def test_an_unknown_client_is_404_by_name(collector: Collector) -> None:
    answer = collector.http.get("/api/v1/runs/r1/clients/nobody")
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "client_id")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/runs?limit=0", "limit"),
        ("/api/v1/runs?limit=10001", "limit"),
        ("/api/v1/runs?limit=many", "limit"),
        ("/api/v1/runs?sort=nothing", "sort"),
        ("/api/v1/runs?order=up", "order"),
        ("/api/v1/runs?state=asleep", "state"),
        ("/api/v1/runs?cursor=nonsense", "cursor"),
        (f"/api/v1/runs?cursor={to_cursor(10**40)}", "cursor"),
        (f"/api/v1/runs?cursor={to_cursor(True)}", "cursor"),
        (f"/api/v1/runs?cursor={DEEP_CURSOR}", "cursor"),
        (f"/api/v1/runs/r1/clients?cursor={to_cursor(10**400)}", "cursor"),
        (f"/api/v1/runs/r1/events?cursor={to_cursor(math.nan, 'j', 0)}", "cursor"),
        (f"/api/v1/runs/r1/events?cursor={to_cursor(1.0, chr(0xD800), 0)}", "cursor"),
        (f"/api/v1/runs/r1/rounds?from={10**40}", "from"),
        (f"/api/v1/runs/r1/updates?to=-{10**400}", "to"),
        ("/api/v1/runs/r1/events?from=nan", "from"),
        ("/api/v1/runs/r1/events?to=inf", "to"),
        ("/api/v1/runs/r1/rounds?from=x", "from"),
        ("/api/v1/runs/r1/clients?status=asleep", "status"),
        ("/api/v1/runs/r1/clients?sparkline=nothing", "sparkline"),
        ("/api/v1/runs/r1/updates?fields=nothing", "fields"),
        ("/api/v1/runs/r1/series?metric=loss", "scope"),
        ("/api/v1/runs/r1/series?scope=galaxy&metric=loss", "scope"),
        ("/api/v1/runs/r1/series?scope=global", "metric"),
        ("/api/v1/runs/r1/series?scope=global&metric=nothing", "metric"),
        ("/api/v1/runs/r1/series?scope=global&metric=global_loss&max_points=1", "max_points"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(collector: Collector, path: str, field: str) -> None:
    answer = collector.http.get(path)
    assert (answer.status_code, answer.json()["error"].get("field")) == (400, field), answer.text
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/v1/nothing", 404), ("DELETE", "/api/v1/runs", 405)]
)
def test_what_is_not_there_is_a_json_error_too(collector: Collector, method: str, path: str, status: int) -> None:
    answer = collector.http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] in ("not_found", "method_not_allowed")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity", "gzip;q=0, identity"])
def test_large_answers_are_packed_as_the_caller_likes(collector: Collector, encoding: str) -> None:
    plain = collector.http.get("/api/v1/runs/r1/updates", headers={"accept-encoding": "identity"}).json()
    answer = collector.http.get("/api/v1/runs/r1/updates", headers={"accept-encoding": encoding})
    assert answer.headers.get("content-encoding") == (encoding if encoding in ("gzip", "zstd") else None)
    assert answer.json() == plain


def test_the_document_describes_every_parameter_and_every_answer(collector: Collector) -> None:
    document = collector.get("/api/openapi.json")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("summary"), (path, method)
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (path, parameter["name"])
            for status, answer in operation["responses"].items():
                assert answer.get("description"), (path, status)
                for content in (answer.get("content") or {}).values():
                    assert content["schema"], (path, status)


def test_the_page_of_the_api_names_every_path_and_loads_nothing(collector: Collector) -> None:
    answer = collector.http.get("/api/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path in collector.get("/api/openapi.json")["paths"]:
        assert path in answer.text
    for foreign in ("src=", "http://", "https://", "@import", "<script"):
        assert foreign not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_head_request_is_answered_like_a_get_without_its_body(collector: Collector) -> None:
    assert collector.http.head("/").content == b""


def test_as_of_of_an_answer_resumes_the_stream(collector: Collector) -> None:
    as_of = collector.get("/api/v1/runs/r1/rounds")["as_of"]
    with httpx.Client(timeout=15, trust_env=False).stream(
        "GET", f"{collector.url}/api/v1/stream", params={"run_id": "r1", "since": as_of}
    ) as answer:
        body = a_round(40, "c00")
        end = len(a_run(rounds=40, clients=tuple(f"c{n:02}" for n in range(30))))
        assert collector.post("j1", end, body).status_code == 200
        first = next(line for line in answer.iter_lines() if line.startswith("data:"))
        message = msgspec.json.decode(first[5:])
        assert message["type"] == "rows"
        assert message["rounds"]["columns"]["round"] == [40]


def test_a_position_before_the_first_row_is_the_first_row(collector: Collector) -> None:
    for path, cursor in (("/api/v1/runs", to_cursor(-5)), ("/api/v1/runs/r1/updates", to_cursor(None, "", -5))):
        assert collector.http.get(path, params={"cursor": cursor}).status_code == 200


def test_kinds_of_events_may_be_repeated(collector: Collector) -> None:
    columns = collector.get("/api/v1/runs/r1/events", kind=["run_start", "run_end"])["columns"]
    assert columns["kind"] == ["run_end", "run_start"]
    columns = collector.get("/api/v1/runs/r1/events", exclude_kind=["round_start", "round_end"])["columns"]
    assert columns["kind"] == ["run_end", "run_start"]
