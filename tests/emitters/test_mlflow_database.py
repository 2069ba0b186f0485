"""A SQLite file of MLflow's is there as a whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from following_fixtures import wait_until
from mlflow import MlflowClient

from fedsight.emitters.mlflow.database import create_where_missing
from fedsight.emitters.mlflow.tracking import Tracking

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

OPEN = "import sys; from fedsight.emitters.mlflow.tracking import Tracking; Tracking(sys.argv[1])"
OPEN += ".experiment_id('ward')"


def test_a_kill_amid_its_creation_leaves_nothing_that_mlflow_can_not_go_on_with(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with subprocess.Popen([sys.executable, "-c", OPEN, uri], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: any(file.stat().st_size for file in tmp_path.iterdir()))
        process.kill()
    assert not (tmp_path / "mlflow.db").exists()
    assert Tracking(uri).experiment_id("ward") == "1"


def test_processes_that_begin_at_once_share_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    both = [subprocess.Popen([sys.executable, "-c", OPEN, uri], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]
    assert MlflowClient(tracking_uri=uri).get_experiment_by_name("ward") is not None


def test_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"")
    for uri in (f"sqlite:///{tmp_path / 'mlflow.db'}", "sqlite:///:memory:", "http://127.0.0.1:1"):
        create_where_missing(uri)
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("mlflow.db", 0)]
