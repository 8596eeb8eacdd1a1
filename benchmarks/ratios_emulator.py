"""The emulator's side of ratios.py, and what the machine itself can do: a process of its own.

A case gives seconds of an evaluation and its work: FLOP, or bytes of inputs and outputs that memory has to
carry however the operations between them are computed.
"""

from __future__ import annotations

import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aneperf
import gemm_ratio
from aneperf import mil
from aneperf.kernels.norm import norm_forward
from aneperf.kernels.presets import PRESETS
from aneperf.kernels.schedule import Pipeline
from aneperf.training.accounting import step_flops
from aneperf.training.config import Hyperparameters, TrainingConfig
from aneperf.training.lora import AdaptedWeights
from aneperf.training.models import random_parameters
from aneperf.training.pipeline import open_pipeline
from child import SECONDS, SETTLE, Unavailable, median_time, serve
from compile_cost import STORIES110M, compile_all
from gemm_ratio import halves, open_emulator, peak_loop, stack

Measured = tuple[float, float]  # seconds and work of an evaluation
CALLS = 1000  # of the smallest program at a time
LOSS_SCALE = Hyperparameters().loss_scale  # at 1 the engine drops most products of gradients


class Case:
    """A compiled program with its surfaces."""

    def __init__(self, program: mil.Program, flops: float = 0, chip: str = "none") -> None:
        device = open_emulator(chip)
        compiled = program.compile(device)
        inputs = {port.name: device.make_surface(port) for port in compiled.inputs}
        outputs = {port.name: device.make_surface(port) for port in compiled.outputs}
        for i, port in enumerate(compiled.inputs):
            array = halves(100 + i, *port.shape)
            inputs[port.name].write(array.astype(np.float32) if port.dtype == "fp32" else array)
        self.request = compiled.bind(inputs, outputs)
        self.work = flops or sum(port.bytes for port in [*compiled.inputs, *compiled.outputs])
        self._calls = max(1, int(SECONDS / self.seconds(3)))

    def seconds(self, calls: int) -> float:
        return float(np.median(self.request.time(calls))) * 1e-9

    def native(self) -> Measured:
        return self.seconds(self._calls), self.work

    def from_python(self) -> Measured:
        evaluate, calls = self.request.evaluate, range(CALLS)
        times = []
        end = time.perf_counter() + SECONDS
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in calls:
                evaluate()
            times.append((time.perf_counter() - start) / CALLS)
        return statistics.median(times), self.work


def program(
    define: Callable[..., Any], shapes: list[tuple[int, ...]], dtype: mil.DType = "fp16"
) -> mil.Program:
    builder = mil.Builder()
    builder.output("y", define(*(builder.input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes))))
    return builder.build()


def fp16_stack(height: int, width: int, chip: str = "none") -> Case:
    flops, define, shapes = stack(128, height, width)
    return Case(program(define, shapes), flops, chip)


def int8_stack(height: int, width: int) -> Case:
    if aneperf.info("emulator").properties["simd"] != "avx512vnni":
        raise Unavailable("no VNNI")
    flops, define, shapes = gemm_ratio.int8_stack(128, height, width)
    return Case(program(define, shapes), flops)


class TrainingStep:
    """Forward, loss and backward of one sequence, adding to the gradients."""

    def __init__(
        self, chip: str = "none", pipeline: Pipeline = "static", lora_rank: int | None = None
    ) -> None:
        config = PRESETS["stories110m"]
        trained = parameters = random_parameters(config)
        weights: Mapping[str, NDArray[np.float32]] = parameters
        if (lora := TrainingConfig(config, lora_rank=lora_rank).lora) is not None:
            trained = lora.initial(config, seed=0)
            weights = AdaptedWeights(lora, parameters, trained)
        self._pipeline = open_pipeline(pipeline, open_emulator(chip), config, weights)
        self._pipeline.load_fixed()
        self._pipeline.load()
        # A step reads the gradients until then and writes new ones, as in training.
        self._gradients, self._base = (
            {name: np.zeros_like(value) for name, value in trained.items()} for _ in range(2)
        )
        self._tokens = np.random.default_rng(0).integers(0, config.vocab, config.seq + 1)
        self._flops = step_flops(config).total

    def native(self) -> Measured:
        return median_time(self._step), self._flops

    def _step(self) -> None:
        tokens = self._tokens
        self._pipeline.step(tokens[:-1], tokens[1:], self._gradients, base=self._base, loss_scale=LOSS_SCALE)
        self._gradients, self._base = self._base, self._gradients
        self._pipeline.take_spans()


def gated(a: Any, b: Any) -> Any:
    return mil.silu(a) * b + a


# 67 MB a tensor, and 105 MB of fp32: no cache holds them.
LARGE, CONVERTED = (1, 2048, 1, 16384), (1, 1600, 1, 16384)
CASES: dict[str, Callable[[], Case]] = {
    "stack sp64": lambda: fp16_stack(1, 64),
    "stack 64x64": lambda: fp16_stack(64, 64),
    "int8 stack 64x64": lambda: int8_stack(64, 64),
    "silu(a) b + a": lambda: Case(program(gated, [LARGE] * 2)),
    "softmax 12x256x256": lambda: Case(program(lambda x: mil.softmax(x, -1), [(1, 12, 256, 256)])),
    "RMSNorm 768x256": lambda: Case(norm_forward(STORIES110M, weight=np.ones(768)).program),
    "Stories110M training step": TrainingStep,
    "Stories110M dynamic step": lambda: TrainingStep(pipeline="dynamic"),
    "Stories110M LoRA step": lambda: TrainingStep(pipeline="dynamic", lora_rank=8),
    "h16 stack sp64": lambda: fp16_stack(1, 64, "h16"),
    "h16 stack 64x64": lambda: fp16_stack(64, 64, "h16"),
    "h16 Stories110M training step": lambda: TrainingStep("h16"),
    "fp32 to fp16": lambda: Case(program(lambda x: mil.cast(x, "fp16"), [CONVERTED], "fp32")),
    "fp16 to fp32": lambda: Case(program(lambda x: mil.cast(x, "fp32"), [CONVERTED])),
    "add": lambda: Case(program(lambda x: mil.add(x, 1.0), [(1, 32, 1, 32)])),
}


def library_product() -> Callable[[], Measured]:
    a, b = (halves(i, 4096, 4096).astype(np.float32) for i in range(2))

    def measure() -> Measured:
        seconds = median_time(lambda: a @ b)
        time.sleep(SETTLE)
        return seconds, 2 * 4096**3

    return measure


def registers() -> Callable[[], Measured]:
    peak = peak_loop(threads())
    return lambda: (1.0, peak() * 1e9)


def plain_copy() -> Callable[[], Measured]:
    """Copy 256 MiB with memcpy on as many threads as the emulator has; work counts reading and writing."""
    size, piece = 1 << 28, 1 << 24
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    pieces = [slice(begin, begin + piece) for begin in range(0, size, piece)]
    pool = ThreadPoolExecutor(threads())

    def copy() -> None:
        list(pool.map(lambda part: np.copyto(target[part], source[part]), pieces))

    return lambda: (median_time(copy), 2.0 * size)


LIMITS: dict[str, Callable[[], Callable[[], Measured]]] = {
    "product": library_product,
    "registers": registers,
    "copy": plain_copy,
}


def threads() -> int:
    return int(open_emulator().info()["threads"])


def blas() -> str:
    """Name numpy's BLAS, and the processor whose kernels an OpenBLAS runs."""
    name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]  # type: ignore[call-overload]
    for library in Path(np.__file__).parent.with_name("numpy.libs").glob("lib*openblas*"):
        core_name = getattr(ctypes.CDLL(str(library)), "scipy_openblas_get_corename64_", None)
        if core_name:
            core_name.restype = ctypes.c_char_p
            return f"{name}, kernels for {core_name().decode()}"
    return str(name)


def environment() -> dict[str, Any]:
    facts = aneperf.info(open_emulator()).to_dict()
    return {**facts, "numpy_blas": blas(), "machine": platform.machine(), "threads": threads()}


prepared: dict[str, Any] = {}


def answer(measure: str, case: str = "") -> Any:
    """Answer a request: "native", "python", one of LIMITS, "compile", "environment" or "forget"."""
    if measure == "environment":
        return environment()
    if measure == "compile":
        return compile_all(aneperf.open("emulator", compile_budget=1000))
    if measure == "forget":
        prepared.clear()
        return None
    key = case or measure
    if key not in prepared:
        prepared[key] = CASES[case]() if case else LIMITS[measure]()
    if not case:
        return prepared[key]()
    return prepared[key].native() if measure == "native" else prepared[key].from_python()


if __name__ == "__main__":
    serve(answer)
