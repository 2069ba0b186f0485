"""The mirror in real databases: InfluxDB 1 and VictoriaMetrics, there from the start, late, and gone in the midst."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.databases import Server, influxdb, victoria_metrics
from collector.harness import Collector, a_round, header, run_start, until
from fedsight.collector.journals import Journals
from fedsight.collector.mirrors.influx import InfluxMirror
from fedsight.errors import UsageError
from fedsight.events import ClientUpdate, JournalHeader, RoundEnd, decode, encode

NOW = float(int(time.time()) - 86_400)
"""A day ago: what the tests log lies before the present, where a database answers for it."""
DATABASE = "flopynet_metrics"


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[Server]:
    server = influxdb(tmp_path / "influxdb")
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Server]:
    server = victoria_metrics(tmp_path / "victoria")
    yield server
    server.stop()


class Journaled:
    """A collector's folder of journals that grows."""

    def __init__(self, folder: Path) -> None:
        self.journals = Journals(folder)

    def add(self, data: bytes, journal: str = "j1") -> None:
        copy = self.journals.get(journal)
        if copy is None:
            first = decode(data.partition(b"\n")[0])
            assert isinstance(first, JournalHeader)
            copy = self.journals.get_or_new(journal, first)
        copy.append(data)


@contextmanager
def mirror(
    server: Server, journaled: Journaled, folder: Path, journals: Journals | None = None
) -> Iterator[InfluxMirror]:
    url = f"http://127.0.0.1:{server.port}"
    following = InfluxMirror(url, DATABASE, journals or journaled.journals, folder / "mirror.json")
    following.start()
    try:
        yield following
    finally:
        following.stop()


def is_level(following: InfluxMirror) -> bool:
    state = following.state()
    return state.lag_bytes == 0 and state.is_up is True


def query(server: Server, text: str) -> list[dict[str, Any]]:
    """Rows of an InfluxQL query."""
    answer = httpx.get(
        f"http://127.0.0.1:{server.port}/query", params={"db": DATABASE, "q": text, "epoch": "ns"}, trust_env=False
    ).json()
    [result] = answer["results"]
    assert "error" not in result, result
    return [
        dict(zip(series["columns"], row, strict=True))
        for series in result.get("series", [])
        for row in series.get("values", [])
    ]


def exported(server: Server, name: str) -> list[float]:
    """All values of a metric in VictoriaMetrics, newest data included."""
    url = f"http://127.0.0.1:{server.port}"
    httpx.get(f"{url}/internal/force_flush", trust_env=False)
    answer = httpx.get(f"{url}/api/v1/export", params={"match[]": name}, trust_env=False)
    series = [json.loads(line) for line in answer.text.splitlines()]
    assert all(each["metric"]["db"] == DATABASE for each in series)
    return sorted(value for each in series for value in each["values"])


def updates(first: int, count: int, client: str = "a") -> bytes:
    return b"".join(
        encode(ClientUpdate(ts=NOW + n, client_id=client, round=n, local_loss=n / 8))
        for n in range(first, first + count)
    )


def test_influxdb_has_every_point_under_the_texts_names(influx: Server, tmp_path: Path) -> None:
    influx.start()
    journaled = Journaled(tmp_path / "journals")
    journaled.add(
        header(run_id="r=1, x")
        + encode(ClientUpdate(ts=NOW, client_id='c "1"\\', round=1, local_accuracy=1, num_samples=10))
        + encode(ClientUpdate(ts=NOW + 1, client_id='c "1"\\', round=2, local_accuracy=0.5, local_loss=float("nan")))
        + encode(RoundEnd(ts=NOW + 2, round=2, global_accuracy=0, aggregation_time_sec=0.25))
    )
    with mirror(influx, journaled, tmp_path) as following:
        until(lambda: is_level(following), "all is mirrored")
    rows = query(influx, "SELECT * FROM fl_training")
    # The second point has no loss and the first no fraction: neither makes a column of another type or a 0.
    assert [(row["round"], row["local_accuracy"], row["data_samples"]) for row in rows] == [(1, 1, 10), (2, 0.5, None)]
    assert {row["client_id"] for row in rows} == {'c "1"%5C'}
    assert {row["experiment_id"] for row in rows} == {"r=1, x"}
    assert "local_loss" not in rows[0]
    [row] = query(influx, "SELECT * FROM fl_training_global")
    assert (row["global_accuracy"], row["aggregation_time"], row["participants"]) == (0, 0.25, 1)
    assert {(r["fieldKey"], r["fieldType"]) for r in query(influx, "SHOW FIELD KEYS FROM fl_training")} >= {
        ("round", "float"),
        ("local_accuracy", "float"),
    }
    assert {row["tagKey"] for row in query(influx, "SHOW TAG KEYS FROM fl_training")} == {
        "client_id",
        "experiment_id",
        "role",
    }


def test_two_updates_of_one_client_and_instant_are_two_points(influx: Server, tmp_path: Path) -> None:
    influx.start()
    journaled = Journaled(tmp_path / "journals")
    told = [encode(ClientUpdate(ts=NOW, client_id="a", round=n)) for n in range(3)]
    journaled.add(header() + b"".join(told))
    with mirror(influx, journaled, tmp_path) as following:
        until(lambda: is_level(following), "all is mirrored")
    assert sorted(row["round"] for row in query(influx, "SELECT round FROM fl_training")) == [0, 1, 2]


def test_a_database_that_comes_late_and_is_killed_in_the_midst_loses_nothing(influx: Server, tmp_path: Path) -> None:
    journaled = Journaled(tmp_path / "journals")
    journaled.add(header() + updates(0, 7_000))
    with mirror(influx, journaled, tmp_path) as following:
        until(lambda: following.state().last_error is not None, "it is known to be away")
        state = following.state()
        assert state.is_up is False
        assert state.lag_bytes > 0
        influx.start()
        until(lambda: following.state().num_points >= 5_000, "some of it is mirrored")
        influx.stop(signal.SIGKILL)
        for first in range(7_000, 12_000, 1_000):
            journaled.add(updates(first, 1_000))
        until(lambda: following.state().is_up is False, "it is known to be away again")
        influx.start()
        until(lambda: is_level(following), "all is mirrored", 60)
        assert following.state().last_error is None
    assert query(influx, "SELECT COUNT(round), SUM(round) FROM fl_training")[0] == {
        "time": 0,
        "count": 12_000,
        "sum": sum(range(12_000)),
    }


def test_a_new_process_goes_on_where_the_last_one_stopped(influx: Server, tmp_path: Path) -> None:
    influx.start()
    journaled = Journaled(tmp_path / "journals")
    journaled.add(header() + updates(0, 100))
    with mirror(influx, journaled, tmp_path) as first:
        until(lambda: is_level(first), "all is mirrored")
    journaled.add(updates(100, 50))
    journaled.add(header("j2") + updates(0, 5, "b"), "j2")
    with mirror(influx, journaled, tmp_path) as second:
        until(lambda: is_level(second), "the rest is mirrored")
        assert second.state().num_points == 55
    assert query(influx, "SELECT COUNT(round) FROM fl_training")[0]["count"] == 155


def test_points_written_again_take_their_own_place(influx: Server, tmp_path: Path) -> None:
    influx.start()
    journaled = Journaled(tmp_path / "journals")
    journaled.add(header() + a_round(0, "a", "b") + a_round(1, "a", "b"))
    for _ in range(2):
        with mirror(influx, journaled, tmp_path) as following:
            until(lambda f=following: is_level(f), "all is mirrored")
        (tmp_path / "mirror.json").unlink()  # as after a crash before the positions were saved
    assert query(influx, "SELECT COUNT(round) FROM fl_training")[0]["count"] == 4
    assert query(influx, "SELECT COUNT(participants) FROM fl_training_global")[0]["count"] == 2


def test_points_that_the_database_refuses_hold_up_no_others(influx: Server, tmp_path: Path) -> None:
    influx.start()
    url = f"http://127.0.0.1:{influx.port}"
    httpx.post(f"{url}/query", params={"q": f"CREATE DATABASE {DATABASE}"}, trust_env=False)
    # Somebody else has made this field a text.
    written = httpx.post(
        f"{url}/write", params={"db": DATABASE}, content=f'fl_training local_loss="x" {int(NOW)}000000000'
    )
    assert written.is_success, written.text
    journaled = Journaled(tmp_path / "journals")
    journaled.add(header() + updates(0, 5) + encode(RoundEnd(ts=NOW, round=4, global_loss=1.0)))
    with mirror(influx, journaled, tmp_path) as following:
        until(lambda: is_level(following), "it goes on")
        state = following.state()
    assert state.num_refused == 5
    assert "local_loss" in (state.last_refused or "")
    assert query(influx, "SELECT global_loss FROM fl_training_global")[0]["global_loss"] == 1.0


def test_victoria_metrics_has_every_point_once_although_it_was_away(victoria: Server, tmp_path: Path) -> None:
    journaled = Journaled(tmp_path / "journals")
    journaled.add(header() + updates(0, 6_000))
    with mirror(victoria, journaled, tmp_path) as following:
        until(lambda: following.state().is_up is False, "it is known to be away")
        victoria.start()
        until(lambda: is_level(following), "all is mirrored")
        victoria.stop()
        journaled.add(updates(6_000, 1_000))
        until(lambda: following.state().is_up is False, "it is known to be away again")
        victoria.start()
        until(lambda: is_level(following), "the rest is mirrored")
    (tmp_path / "mirror.json").unlink()
    with mirror(victoria, journaled, tmp_path) as again:
        until(lambda: is_level(again), "all is mirrored once more")
    assert exported(victoria, "fl_training_round") == [float(n) for n in range(7_000)]


def test_a_database_that_wants_a_password_gets_it_and_nobody_else_is_told(influx: Server, tmp_path: Path) -> None:
    config = influx.folder / "influxdb.conf"
    config.write_text(config.read_text().replace("[http]", "[http]\n  auth-enabled = true"))
    influx.start()
    url = f"http://127.0.0.1:{influx.port}"
    command = "CREATE USER mirror WITH PASSWORD 'hunter2' WITH ALL PRIVILEGES"
    assert httpx.post(f"{url}/query", params={"q": command}, trust_env=False).is_success
    journaled = Journaled(tmp_path / "journals")
    journaled.add(header() + updates(0, 3))
    for secret, is_right in (("hunter3", False), ("hunter2", True)):
        following = InfluxMirror(
            f"http://mirror:{secret}@127.0.0.1:{influx.port}/", DATABASE, journaled.journals, tmp_path / "mirror.json"
        )
        following.start()
        until(
            lambda f=following, right=is_right: is_level(f) if right else "401" in (f.state().last_error or ""), secret
        )
        assert "hunter" not in repr(following.state())
        following.stop()


@pytest.mark.parametrize("url", ["localhost:8086", "ftp://h", "http://", "http://h:x", "x"])
def test_an_address_that_can_not_be_meant_is_refused_at_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="INFLUXDB_URL"):
        InfluxMirror(url, DATABASE, Journals(tmp_path / "journals"), tmp_path / "mirror.json")


def test_a_collector_mirrors_what_it_takes_in(influx: Server, tmp_path: Path) -> None:
    influx.start()
    environ = {"INFLUXDB_HOST": "127.0.0.1", "INFLUXDB_PORT": str(influx.port)}
    with Collector(tmp_path / "collector", environ=environ) as collector:
        assert collector.post("j1", 0, header() + run_start() + a_round(0, "a", "b")).status_code == 200

        def mirrored() -> bool:
            rows = query(influx, "SELECT participants FROM fl_training_global") if DATABASE in databases() else []
            return [row["participants"] for row in rows] == [2]

        def databases() -> list[str]:
            return [row["name"] for row in query(influx, "SHOW DATABASES")]

        until(mirrored, "the round is in InfluxDB")
