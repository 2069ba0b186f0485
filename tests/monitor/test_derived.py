"""From two readings to the contract's figures."""

from __future__ import annotations

import os

import pytest

from fedsight.monitor.derived import Deriver
from fedsight.monitor.probes.probe import key

USER, SYSTEM = key("process.cpu.time", cpu_mode="user"), key("process.cpu.time", cpu_mode="system")


def io(interface: str, direction: str) -> str:
    return key("system.network.io", network_interface_name=interface, network_io_direction=direction)


def test_cpu_is_what_was_used_over_the_interval_as_cores_and_as_a_share_of_the_machine() -> None:
    deriver = Deriver()
    assert "cpu_pct" not in deriver.derive({USER: 1.0, SYSTEM: 0.5, "fedsight.cpu.available": 0.5}, None)
    figures = deriver.derive({USER: 3.0, SYSTEM: 1.5, "fedsight.cpu.available": 0.5}, 10.0)
    assert figures["cpu_cores"] == pytest.approx(0.3)
    assert figures["cpu_pct"] == pytest.approx(30 / (os.cpu_count() or 1))
    assert figures["cpu_utilization_pct"] == pytest.approx(60)


def test_a_metric_that_was_off_meanwhile_has_no_figure_for_that_interval() -> None:
    deriver = Deriver()
    deriver.derive({USER: 1.0}, None)
    deriver.derive({}, 1.0)
    assert "cpu_pct" not in deriver.derive({USER: 9.0}, 1.0)


def test_traffic_is_summed_over_interfaces_without_the_loopback() -> None:
    deriver = Deriver()
    deriver.derive({io("eth0", "transmit"): 10.0, io("eth0", "receive"): 5.0, io("lo", "transmit"): 100.0}, None)
    figures = deriver.derive(
        {
            io("eth0", "transmit"): 17.0,
            io("eth0", "receive"): 5.0,
            io("lo", "transmit"): 900.0,
            io("usb0", "transmit"): 3.0,
        },
        1.0,
    )
    assert (figures["bytes_sent"], figures["bytes_received"]) == (10.0, 0.0)


def test_memory_is_a_share_of_the_limit_that_holds_for_the_process() -> None:
    figures = Deriver().derive({"process.memory.usage": 250e6, "system.memory.limit": 1e9}, None)
    assert (figures["ram_mb"], figures["memory_pct"]) == (250.0, 25.0)


def test_a_counted_energy_stands_before_one_that_is_integrated() -> None:
    gpu = {"hw_id": "gpu-0", "hw_type": "gpu"}
    deriver = Deriver()
    deriver.derive({key("hw.energy", **gpu): 0.0, key("hw.power", **gpu): 50.0}, None)
    figures = deriver.derive({key("hw.energy", **gpu): 90.0, key("hw.power", **gpu): 70.0}, 2.0)
    assert (figures["energy_j"], figures["power_w"]) == (90.0, 45.0)


def test_power_without_a_counter_is_integrated_over_the_interval() -> None:
    gpu = {"hw_id": "gpu-0", "hw_type": "gpu"}
    deriver = Deriver()
    deriver.derive({key("hw.power", **gpu): 50.0}, None)
    assert deriver.derive({key("hw.power", **gpu): 70.0}, 2.0)["energy_j"] == 120.0


def test_the_rails_of_a_jetson_are_told_in_milliwatts_and_their_energy_in_millijoules() -> None:
    def reading(watts: float, joules: float) -> dict[str, float]:
        rails = {"VDD_IN": watts, "VDD_CPU_GPU_CV": watts / 2}
        found = {key("hw.power", hw_id=name, hw_type="power_supply"): w for name, w in rails.items()}
        return {**found, "hw.host.power": watts, "hw.host.energy": joules}

    deriver = Deriver()
    assert deriver.derive(reading(10.0, 0.0), None)["power_vdd_in_mw"] == 10_000
    figures = deriver.derive(reading(20.0, 31.0), 2.0)
    assert figures["energy_vdd_in_mj"] == 31_000, "counted by the probe, more often than it is read"
    assert figures["energy_vdd_cpu_gpu_cv_mj"] == 15_000
    assert "energy_vdd_soc_mj" not in figures
    assert figures["energy_j"] == 31.0


def test_no_power_is_told_where_none_is_measured() -> None:
    deriver = Deriver()
    deriver.derive({USER: 0.0}, None)
    assert not {"power_w", "energy_j"} & deriver.derive({USER: 1.0}, 1.0).keys()
