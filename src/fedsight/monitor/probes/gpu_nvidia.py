"""NVIDIA GPUs, through NVML (package nvidia-ml-py): each device as a whole, and the process's share of its memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

from fedsight.monitor.family import descendants
from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key


class NvidiaGpuProbe:
    """All NVIDIA GPUs that this process may see. What a GPU doesn't support is left out of its figures."""

    name: ClassVar[str] = "gpu_nvidia"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("hw.gpu.utilization", "1", "gauge", "Share of the last moment in which the GPU worked"),
        MetricInfo("hw.gpu.memory.usage", "By", "gauge", "Device memory in use, by anybody"),
        MetricInfo("hw.gpu.memory.limit", "By", "gauge", "Device memory there is"),
        MetricInfo("fedsight.process.gpu.memory.usage", "By", "gauge", "Device memory of the process and its children"),
        MetricInfo("hw.power", "W", "gauge", "Power of the GPU now"),
        MetricInfo("hw.energy", "J", "counter", "Energy of the GPU, counted by itself"),
        MetricInfo("hw.temperature", "Cel", "gauge", "Temperature of the GPU"),
        MetricInfo("fedsight.gpu.clock", "Hz", "gauge", "Clock of the streaming multiprocessors"),
    )

    def __init__(self, target: Target, *, library: Any = None) -> None:
        self._nvml = library or _nvml()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise Unavailable(f"no NVIDIA driver answers ({error})") from error
        self._target = target
        self._gpus = [
            _Gpu(self._nvml, self._nvml.nvmlDeviceGetHandleByIndex(number))
            for number in range(self._nvml.nvmlDeviceGetCount())
        ]
        if not self._gpus:
            self._nvml.nvmlShutdown()
            raise Unavailable("the NVIDIA driver sees no GPU")

    def read(self, values: dict[str, float]) -> None:
        """The devices now, and the family's memory on them."""
        pids = {self._target.pid, *descendants(self._target.pid)}
        for gpu in self._gpus:
            gpu.read(values, pids)

    def close(self) -> None:
        """Let the library go."""
        self._nvml.nvmlShutdown()


class _Gpu:
    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._id = nvml.nvmlDeviceGetUUID(handle)
        self._unsupported: set[str] = set()
        self._energy_before_mj = self._ask("nvmlDeviceGetTotalEnergyConsumption")

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What the driver answers; None where this GPU can't tell (that isn't asked again), or can't just now."""
        if function in self._unsupported:
            return None
        call: Callable[..., Any] = getattr(self._nvml, function)
        try:
            return call(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value == self._nvml.NVML_ERROR_NOT_SUPPORTED:
                self._unsupported.add(function)
            return None

    def read(self, values: dict[str, float], pids: set[int]) -> None:
        gpu = {"hw_id": self._id}
        if (rates := self._ask("nvmlDeviceGetUtilizationRates")) is not None:
            values[key("hw.gpu.utilization", **gpu)] = rates.gpu / 100
        if (memory := self._ask("nvmlDeviceGetMemoryInfo")) is not None:
            values[key("hw.gpu.memory.usage", **gpu)] = float(memory.used)
            values[key("hw.gpu.memory.limit", **gpu)] = float(memory.total)
        if (milliwatts := self._ask("nvmlDeviceGetPowerUsage")) is not None:
            values[key("hw.power", **gpu, hw_type="gpu")] = milliwatts / 1000
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        if millijoules is not None and self._energy_before_mj is not None:
            values[key("hw.energy", **gpu, hw_type="gpu")] = (millijoules - self._energy_before_mj) / 1000
        if (celsius := self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)) is not None:
            values[key("hw.temperature", **gpu)] = float(celsius)
        if (megahertz := self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)) is not None:
            values[key("fedsight.gpu.clock", **gpu)] = megahertz * 1e6
        if (processes := self._ask("nvmlDeviceGetComputeRunningProcesses")) is not None:
            # In a container the driver may name pids of the host, which aren't ours: then there is no figure.
            own = [process.usedGpuMemory for process in processes if process.pid in pids]
            if own and None not in own:
                values[key("fedsight.process.gpu.memory.usage", **gpu)] = float(sum(own))


def _nvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise Unavailable("nvidia-ml-py is not installed. Install it with: pip install 'fedsight[gpu]'") from error
