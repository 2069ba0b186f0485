"""What `watch` refuses, and how large a model is: without APPFL."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedsight import Run, UsageError
from fedsight.integrations.appfl import watch
from fedsight.integrations.appfl.model_bytes import model_bytes


class Mean:
    """An aggregator."""

    def aggregate(self, local_models: dict[str, Any]) -> dict[str, Any]:
        return local_models


def an_agent() -> SimpleNamespace:
    """What of a server agent `watch` looks at."""
    nothing = lambda *_, **__: None  # noqa: E731
    calls = dict.fromkeys(("global_update", "get_parameters", "server_validate", "clean_up"), nothing)
    return SimpleNamespace(scheduler=SimpleNamespace(schedule=nothing), aggregator=Mean(), **calls)


def test_what_is_no_server_agent_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="it has no global_update"):
        watch(object())
    agent = an_agent()
    agent.scheduler = None
    with pytest.raises(UsageError, match=r"it has no scheduler\.schedule"):
        watch(agent)


def test_an_agent_is_watched_once_and_a_given_run_stays_the_givers(tmp_path: Path) -> None:
    agent = an_agent()
    with Run("r1", runs_dir=tmp_path, verbose=False) as run:
        with pytest.raises(UsageError, match=r"either a run or the parameters of fedsight\.init\(\) \(project\)"):
            watch(agent, run, project="ward")
        assert watch(agent, run) is run
        with pytest.raises(UsageError, match="watched already"):
            watch(agent, run)
        agent.clean_up()
        assert run.status is None


def test_algorithm_and_framework_are_the_agents_unless_given(tmp_path: Path) -> None:
    run = watch(an_agent(), runs_dir=tmp_path, verbose=False)
    assert run.algorithm == "Mean"
    run.finish()
    run = watch(an_agent(), runs_dir=tmp_path, verbose=False, algorithm="FedProx")
    assert run.algorithm == "FedProx"
    run.finish()


class Tensor:
    """As PyTorch's before 2.1: no nbytes."""

    def element_size(self) -> int:
        return 4

    def numel(self) -> int:
        return 10


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (b"12345", 5),
        (np.zeros(3, dtype=np.float64), 24),
        (Tensor(), 40),
        (OrderedDict(a=np.zeros(2, dtype=np.float32), b=[Tensor(), "name"]), 48),
        (({"a": np.zeros(1)}, {"local_steps": 3}), 8),
        ({"lr": 0.1}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_model_is_as_large_as_its_parts(model: Any, size: int | None) -> None:
    assert model_bytes(model) == size
