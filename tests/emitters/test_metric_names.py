import math

import pytest

from fedsight.emitters.batching import count_alone
from fedsight.emitters.destination import Totals
from fedsight.emitters.metric_names import (
    counted,
    counters,
    id_part,
    point_name,
    round_metrics,
    sample_metrics,
    update_metrics,
)
from fedsight.events import Checkpoint, ClientEvent, ClientUpdate, Metric, Sample
from fedsight.summary import RoundSummary


def test_an_updates_numbers_are_named_as_hivewatch_named_them() -> None:
    update = ClientUpdate(
        ts=1.0,
        client_id="site-1",
        round=5,
        base_round=3,
        status="idle",
        local_accuracy=0.9,
        local_loss=0.1,
        num_samples=600,
        gradient_norm=1.5,
        gradient_magnitude=0.01,
        sparsity=0.2,
        compression_ratio=4.0,
        bytes_sent=2_500_000,
        bytes_received=1_000_000,
        network_latency_ms=30,
        train_time_sec=2.0,
        cpu_pct=50,
        ram_mb=800,
        gpu_util_pct=70,
        gpu_vram_mb=2000,
        lat=1.0,
        lng=2.0,
        metrics={"auc": 0.8},
    )
    assert update_metrics(update) == {
        "client/site-1/accuracy": 0.9,
        "client/site-1/loss": 0.1,
        "client/site-1/num_samples": 600,
        "client/site-1/gradient_norm": 1.5,
        "client/site-1/gradient_magnitude": 0.01,
        "client/site-1/sparsity": 0.2,
        "client/site-1/compression_ratio": 4.0,
        "client/site-1/network_latency_ms": 30,
        "client/site-1/train_time_sec": 2.0,
        "client/site-1/staleness": 2,
        "client/site-1/bytes_sent_mb": 2.5,
        "client/site-1/bytes_received_mb": 1.0,
        "client/site-1/status": 1,
        "client/site-1/auc": 0.8,
        "sys/site-1/cpu_pct": 50,
        "sys/site-1/ram_mb": 800,
        "sys/site-1/gpu_util_pct": 70,
        "sys/site-1/gpu_vram_mb": 2000,
    }


def test_what_was_not_reported_is_left_out() -> None:
    assert update_metrics(ClientUpdate(ts=1.0, client_id="a", round=0)) == {}
    assert update_metrics(ClientUpdate(ts=1.0, client_id="a", status="resting")) == {}


def test_zero_and_nan_are_values() -> None:
    found = update_metrics(ClientUpdate(ts=1.0, client_id="a", local_loss=math.nan, bytes_sent=0))
    assert found["client/a/bytes_sent_mb"] == 0.0
    assert math.isnan(found["client/a/loss"])


def test_per_client_and_system_series_have_a_switch_each() -> None:
    update = ClientUpdate(ts=1.0, client_id="a", local_accuracy=0.5, cpu_pct=10, metrics={"auc": 0.8})
    assert update_metrics(update, per_client=False) == {"sys/a/cpu_pct": 10}
    assert update_metrics(update, system=False) == {"client/a/accuracy": 0.5, "client/a/auc": 0.8}


def test_a_custom_number_never_hides_a_known_one() -> None:
    both = ClientUpdate(ts=1.0, client_id="a", local_accuracy=0.5, metrics={"accuracy": 0.9})
    assert update_metrics(both) == {"client/a/accuracy": 0.5, "client/a/custom/accuracy": 0.9}


@pytest.mark.parametrize(
    ("client_id", "part"),
    [("site-1", "site-1"), ("Toulouse, FR", "Toulouse, FR"), ("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb")],
)
def test_only_what_would_split_a_name_is_escaped_in_an_id(client_id: str, part: str) -> None:
    assert id_part(client_id) == part


def test_a_rounds_figures_are_named_as_hivewatch_named_them() -> None:
    summary = RoundSummary(
        round=2,
        global_accuracy=0.7,
        global_loss=0.3,
        num_selected=4,
        num_completed=3,
        num_dropouts=1,
        num_failures=0,
        num_stragglers=1,
        participation_rate=0.75,
        round_duration_sec=8.0,
        aggregation_time_sec=0.5,
        total_bytes_up=3_000_000,
        total_bytes_down=1_000_000,
        bytes_per_client=1_000_000,
        gradient_norm_dispersion=0.25,
        mean_staleness=0.5,
        max_staleness=1,
        algorithm_metadata={"mu": 0.1, "server": {"lr": 1}, "name": "FedProx"},
        metrics={"auc": 0.8, "accuracy": 0.1},
    )
    assert round_metrics(summary) == {
        "round/accuracy": 0.7,
        "round/loss": 0.3,
        "round/participation_rate": 0.75,
        "round/num_selected": 4,
        "round/num_completed": 3,
        "round/num_stragglers": 1,
        "round/num_failures": 0,
        "round/num_dropouts": 1,
        "round/num_late": 0,
        "round/duration_sec": 8.0,
        "round/mean_staleness": 0.5,
        "round/max_staleness": 1,
        "round/auc": 0.8,
        "round/custom/accuracy": 0.1,
        "comm/total_bytes_up_mb": 3.0,
        "comm/total_bytes_down_mb": 1.0,
        "comm/total_bytes_mb": 4.0,
        "comm/bytes_per_client_mb": 1.0,
        "agg/aggregation_time_sec": 0.5,
        "agg/gradient_norm_dispersion": 0.25,
        "agg/gradient_divergence": 0.25,
        "agg/algo/mu": 0.1,
        "agg/algo/server/lr": 1.0,
    }


def test_the_total_volume_is_that_of_the_known_way() -> None:
    found = round_metrics(RoundSummary(round=0, total_bytes_up=2_000_000))
    assert found["comm/total_bytes_mb"] == 2.0
    assert "comm/total_bytes_down_mb" not in found


def test_step_level_points_keep_their_key_under_the_site_that_logged_them() -> None:
    assert point_name(Metric(ts=1.0, key="train/loss", value=1.0)) == "train/loss"
    assert point_name(Metric(ts=1.0, key="loss", value=1.0, client_id="a")) == "client/a/loss"


def test_a_monitors_sample_is_of_its_node() -> None:
    assert sample_metrics(Sample(ts=1.0, node="edge", metrics={"power_w": 4.0})) == {"sys/edge/power_w": 4.0}


def test_counters_count_over_the_run() -> None:
    totals = Totals(num_dropouts=4)
    dropout = ClientEvent(ts=1.0, client_id="a", event="dropout", round=0)
    count_alone(totals, dropout)
    assert counted(dropout, totals) == {"event/client_dropout": 5}
    assert counters(totals) == {"event/client_dropout": 5, "event/comm_failure": 0}
    assert counted(ClientEvent(ts=1.0, client_id="a", event="joined"), totals) == {}


def test_a_checkpoint_counts_once_though_the_journal_tells_of_it_twice() -> None:
    totals = Totals()
    count_alone(totals, Checkpoint(ts=1.0, path="m.pt", round=0))
    count_alone(totals, Checkpoint(ts=2.0, path="m.pt", round=0, sha256="ba78"))
    assert totals.num_checkpoints == 1
