"""Time the compiles of the sixty kernels with weights of a Stories110M training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aneperf
from aneperf.kernels import TransformerConfig, schedule
from aneperf.kernels.config import layer_shapes
from aneperf.kernels.presets import PRESETS

STORIES110M = PRESETS["stories110m"]


def layer_parameters(config: TransformerConfig, layer: int) -> dict[str, Any]:
    """Draw uniform fp32 weights that keep the size of a product's input. Every layer has its own."""
    random = np.random.default_rng(layer)

    def values(shape: tuple[int, ...]) -> NDArray[np.float32]:
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        return (random.random(shape, np.float32) - np.float32(0.5)) * np.float32((12 / shape[1]) ** 0.5)

    return {f"layers.{layer}.{name}": values(shape) for name, shape in layer_shapes(config).items()}


def memory(field: str) -> int | None:
    """Return the bytes of this process: "VmRSS" now, "VmHWM" at its highest. Only Linux tells."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in status.splitlines())
    return int(values[field].split()[0]) * 1024


def compile_all(device: aneperf.Device) -> dict[str, Any]:
    """Return the seconds of each stage over all kernels, and bytes of what they hold. For a new process.

    "weights" rounds to fp16 and transposes, "build" makes kernels, "bake" gives them new weights, which is
    all that a training step repeats before "compile".
    """
    seconds = dict.fromkeys(("weights", "build", "bake", "compile", "first evaluation"), 0.0)

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[stage] += time.perf_counter() - start
        return result

    config, before, count, programs = STORIES110M, memory("VmRSS"), 0, []
    kernels = [kernel for kernel in schedule(config) if kernel.parameters]
    for layer in range(config.layers):
        parameters = layer_parameters(config, layer)
        for each in (each for each in kernels if each.name.startswith(f"layers.{layer}.")):
            weights = timed("weights", partial(each.weights, parameters))
            count += sum(array.size for array in weights.values())
            kernel = timed("build", partial(each.family, config, **weights))
            programs.append(timed("bake", partial(kernel.bake, **weights)))
    del parameters, weights, kernel
    compiled = [timed("compile", partial(program.compile, device)) for program in programs]
    compile_peak = memory("VmHWM")
    for program in compiled:
        inputs = {port.name: device.make_surface(port) for port in program.inputs}
        outputs = {port.name: device.make_surface(port) for port in program.outputs}
        timed("first evaluation", program.bind(inputs, outputs).evaluate)
    stats = [program.stats for program in compiled]
    return {
        "kernels": len(compiled),
        "parameters": count,
        "seconds": seconds,
        "file_bytes": sum(len(data) for program in programs for data in program.weights.values()),
        "weight_bytes": sum(stat.weight_bytes or 0 for stat in stats),
        "activation_bytes": sum(stat.activation_bytes or 0 for stat in stats),
        "compile_peak_bytes": None if before is None else compile_peak - before,
        "evaluated_peak_bytes": None if before is None else memory("VmHWM") - before,
    }
