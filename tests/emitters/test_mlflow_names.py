"""Names as MLflow takes them, and back."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from fedsight.emitters.mlflow import mlflow_name, original_name
from fedsight.emitters.mlflow.names import full_name_tag

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TRICKY = st.text(alphabet="_x40afe@/.: -%é\n", max_size=40) | st.text(max_size=40)


@pytest.mark.parametrize(
    "name", ["round/accuracy", "client.site-1.bytes_sent_mb", "train_xent", "a b", "max_x", "client.Zürich.loss", "x_"]
)
def test_a_name_that_mlflow_takes_is_left_as_it_is(name: str) -> None:
    assert mlflow_name(name) == name


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("client.a@b.loss", "client.a_x40_b.loss"),
        ("acc,top#1", "acc_x2c_top_x23_1"),
        ("a//b", "a/_x2f_b"),
        ("/a/", "_x2f_a_x2f_"),
        ("a/../b", "a/_x2e_./b"),
        (".", "_x2e_"),
        ("", "_x_"),
        ("_x40_", "_x5f_x40_"),
    ],
)
def test_what_mlflow_forbids_is_escaped(name: str, escaped: str) -> None:
    assert mlflow_name(name) == escaped
    assert original_name(escaped) == name


@settings(max_examples=400, deadline=None)
@given(TRICKY)
@example("_x4@")
@example("@x41_")
@example("_x/")
@example("_xa/.")
def test_every_name_comes_back_and_mlflow_takes_it(name: str) -> None:
    escaped = mlflow_name(name)
    _validate_metric_name(escaped)
    assert len(escaped) <= 250
    assert original_name(escaped, dict([tag] if (tag := full_name_tag(name)) else [])) == name


@settings(max_examples=200, deadline=None)
@given(st.lists(TRICKY, unique=True, max_size=20))
def test_two_names_stay_two(names: list[str]) -> None:
    assert len({mlflow_name(name) for name in names}) == len(names)


def test_a_name_that_is_too_long_is_cut_and_its_whole_kept_in_a_tag() -> None:
    name, other = "client." + "hospital-" * 60 + ".loss", "client." + "hospital-" * 60 + ".accuracy"
    short = mlflow_name(name)
    assert len(short) == 250
    assert short != mlflow_name(other)
    tag = full_name_tag(name)
    assert tag is not None
    assert original_name(short, dict([tag])) == name
    assert original_name(short) == short
    assert full_name_tag("round/loss") is None
