"""AMD GPUs, through the amdsmi library that ROCm brings."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any, ClassVar

from fedsight.monitor.probes.probe import MetricInfo, Target, Unavailable, key

_BYTES_PER_MB = 1 << 20
_DRIVER = Path("/dev/kfd")


class AmdGpuProbe:
    """All AMD GPUs that amdsmi finds. What a GPU doesn't tell is left out."""

    name: ClassVar[str] = "gpu_amd"
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo("hw.gpu.utilization", "1", "gauge", "Share of the last moment in which the GPU worked"),
        MetricInfo("hw.gpu.memory.usage", "By", "gauge", "Device memory in use, by anybody"),
        MetricInfo("hw.gpu.memory.limit", "By", "gauge", "Device memory there is"),
        MetricInfo("hw.power", "W", "gauge", "Power of the GPU's socket"),
        MetricInfo("hw.energy", "J", "counter", "Energy of the GPU, counted by itself"),
        MetricInfo("hw.temperature", "Cel", "gauge", "Temperature of the GPU's edge"),
    )

    def __init__(self, target: Target, *, library: Any = None) -> None:
        self._smi = library or _amdsmi()
        try:
            self._smi.amdsmi_init()
            handles = self._smi.amdsmi_get_processor_handles()
        except self._smi.AmdSmiException as error:
            raise Unavailable(f"amdsmi finds no AMD GPU ({error})") from error
        if not handles:
            self._smi.amdsmi_shut_down()
            raise Unavailable("amdsmi finds no AMD GPU")
        self._gpus = {str(self._smi.amdsmi_get_gpu_device_uuid(handle)): handle for handle in handles}
        self._energy_before_j = {gpu: self._joules(handle) for gpu, handle in self._gpus.items()}

    def read(self, values: dict[str, float]) -> None:
        """The devices now."""
        smi = self._smi
        for gpu, handle in self._gpus.items():
            with contextlib.suppress(smi.AmdSmiException):  # not told by this GPU
                busy_pct = _number(smi.amdsmi_get_gpu_activity(handle).get("gfx_activity"))
                if busy_pct is not None:
                    values[key("hw.gpu.utilization", hw_id=gpu)] = busy_pct / 100
            with contextlib.suppress(smi.AmdSmiException):
                memory = smi.amdsmi_get_gpu_vram_usage(handle)
                values[key("hw.gpu.memory.usage", hw_id=gpu)] = float(memory["vram_used"]) * _BYTES_PER_MB
                values[key("hw.gpu.memory.limit", hw_id=gpu)] = float(memory["vram_total"]) * _BYTES_PER_MB
            with contextlib.suppress(smi.AmdSmiException):
                power = smi.amdsmi_get_power_info(handle)
                told = [_number(power.get(name)) for name in ("current_socket_power", "average_socket_power")]
                watts = next((number for number in told if number is not None), None)
                if watts is not None:
                    values[key("hw.power", hw_id=gpu, hw_type="gpu")] = watts
            with contextlib.suppress(smi.AmdSmiException):
                celsius = smi.amdsmi_get_temp_metric(
                    handle, smi.AmdSmiTemperatureType.EDGE, smi.AmdSmiTemperatureMetric.CURRENT
                )
                values[key("hw.temperature", hw_id=gpu)] = float(celsius)
            joules, before_j = self._joules(handle), self._energy_before_j[gpu]
            if joules is not None and before_j is not None:
                values[key("hw.energy", hw_id=gpu, hw_type="gpu")] = joules - before_j

    def _joules(self, handle: Any) -> float | None:
        try:
            told = self._smi.amdsmi_get_energy_count(handle)
        except self._smi.AmdSmiException:
            return None
        ticks = told.get("energy_accumulator", told.get("power"))  # named `power` before ROCm 6.1
        return None if ticks is None else float(ticks) * float(told["counter_resolution"]) * 1e-6

    def close(self) -> None:
        """Let the library go."""
        self._smi.amdsmi_shut_down()


def _number(value: Any) -> float | None:
    """A number that amdsmi tells; it says "N/A" for what it doesn't know."""
    return float(value) if isinstance(value, (int, float)) else None


def _amdsmi() -> Any:
    # The package prints and throws KeyError where ROCm is missing: so its driver is looked for first.
    if not _DRIVER.exists():
        raise Unavailable(f"no AMD GPU with ROCm's driver ({_DRIVER} is not there)")
    try:
        return importlib.import_module("amdsmi")
    except (ImportError, KeyError, OSError) as error:
        raise Unavailable(f"the package amdsmi can't be used ({error!r}); it comes with ROCm") from error
