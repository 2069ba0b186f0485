# ruff: noqa: N802 (the names are NVML's)
"""GPUs, from stand-ins of the vendors' libraries: no GPU is here. The real libraries must say so."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from fedsight.monitor.probes.gpu_amd import AmdGpuProbe
from fedsight.monitor.probes.gpu_nvidia import NvidiaGpuProbe
from fedsight.monitor.probes.probe import Target, Unavailable

TARGET = Target(pid=os.getpid())


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


class Nvml:
    """One GPU, as NVML answers for it; energy grows by what `spend` says."""

    NVMLError = NvmlError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1

    def __init__(self, processes: list[Any] | None = None, *, has_energy: bool = True) -> None:
        self.millijoules = 10_000
        self.processes = processes or []
        self.has_energy = has_energy
        self.energy_calls = 0
        self.is_open = False

    def nvmlInit(self) -> None:
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, gpu: int) -> str:
        return "GPU-1"

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> Any:
        return SimpleNamespace(gpu=73, memory=20)

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> Any:
        return SimpleNamespace(used=2 << 30, total=8 << 30)

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:
        return 151_500

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: int) -> int:
        self.energy_calls += 1
        if not self.has_energy:
            raise NvmlError(3)
        return self.millijoules

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:
        return 61

    def nvmlDeviceGetClockInfo(self, gpu: int, clock: int) -> int:
        return 1_410

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: int) -> list[Any]:
        return self.processes


def read(probe: NvidiaGpuProbe | AmdGpuProbe) -> dict[str, float]:
    values: dict[str, float] = {}
    probe.read(values)
    return values


def test_a_gpu_tells_its_work_memory_power_and_energy() -> None:
    nvml = Nvml([SimpleNamespace(pid=os.getpid(), usedGpuMemory=1 << 30), SimpleNamespace(pid=1, usedGpuMemory=5)])
    probe = NvidiaGpuProbe(TARGET, library=nvml)
    nvml.millijoules += 2_500
    assert read(probe) == {
        "hw.gpu.utilization{hw.id=GPU-1}": 0.73,
        "hw.gpu.memory.usage{hw.id=GPU-1}": float(2 << 30),
        "hw.gpu.memory.limit{hw.id=GPU-1}": float(8 << 30),
        "hw.power{hw.id=GPU-1,hw.type=gpu}": 151.5,
        "hw.energy{hw.id=GPU-1,hw.type=gpu}": 2.5,
        "hw.temperature{hw.id=GPU-1}": 61.0,
        "fedsight.gpu.clock{hw.id=GPU-1}": 1.41e9,
        "fedsight.process.gpu.memory.usage{hw.id=GPU-1}": float(1 << 30),
    }
    probe.close()
    assert not nvml.is_open


def test_memory_of_processes_that_are_not_ours_is_no_figure_of_ours() -> None:
    probe = NvidiaGpuProbe(TARGET, library=Nvml([SimpleNamespace(pid=1, usedGpuMemory=5)]))
    assert not any("process" in key for key in read(probe))


def test_what_a_gpu_does_not_support_is_left_out_and_asked_once() -> None:
    nvml = Nvml(has_energy=False)
    probe = NvidiaGpuProbe(TARGET, library=nvml)
    assert not any("energy" in key for key in [*read(probe), *read(probe)])
    assert nvml.energy_calls == 1


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="an NVIDIA driver is here")  # noqa: PTH110
def test_without_a_driver_the_real_library_makes_it_unavailable() -> None:
    with pytest.raises(Unavailable, match="NVIDIA"):
        NvidiaGpuProbe(TARGET)


@pytest.mark.skipif(os.path.exists("/dev/kfd"), reason="ROCm's driver is here")  # noqa: PTH110
def test_without_rocm_amd_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="ROCm"):
        AmdGpuProbe(TARGET)


class Smi:
    """One GPU, as amdsmi answers for it."""

    class AmdSmiException(Exception):
        pass

    AmdSmiTemperatureType = SimpleNamespace(EDGE=0)
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)
    ticks = 1_000_000

    def amdsmi_init(self) -> None: ...

    def amdsmi_shut_down(self) -> None: ...

    def amdsmi_get_processor_handles(self) -> list[int]:
        return [0]

    def amdsmi_get_gpu_device_uuid(self, gpu: int) -> str:
        return "amd-1"

    def amdsmi_get_gpu_activity(self, gpu: int) -> dict[str, Any]:
        return {"gfx_activity": 40, "umc_activity": "N/A"}

    def amdsmi_get_gpu_vram_usage(self, gpu: int) -> dict[str, Any]:
        return {"vram_total": 16_000, "vram_used": 1_000}

    def amdsmi_get_power_info(self, gpu: int) -> dict[str, Any]:
        return {"current_socket_power": "N/A", "average_socket_power": 90}

    def amdsmi_get_temp_metric(self, gpu: int, sensor: int, metric: int) -> int:
        raise self.AmdSmiException("not supported")

    def amdsmi_get_energy_count(self, gpu: int) -> dict[str, Any]:
        return {"energy_accumulator": self.ticks, "counter_resolution": 15.3}


def test_an_amd_gpu_tells_what_it_can() -> None:
    smi = Smi()
    probe = AmdGpuProbe(TARGET, library=smi)
    smi.ticks += 100_000
    assert read(probe) == {
        "hw.gpu.utilization{hw.id=amd-1}": 0.4,
        "hw.gpu.memory.usage{hw.id=amd-1}": 1_000.0 * (1 << 20),
        "hw.gpu.memory.limit{hw.id=amd-1}": 16_000.0 * (1 << 20),
        "hw.power{hw.id=amd-1,hw.type=gpu}": 90.0,
        "hw.energy{hw.id=amd-1,hw.type=gpu}": pytest.approx(1.53),
    }
