"""Matrix products against the machine's own peaks, as ratios measured in one run.

    python benchmarks/gemm_ratio.py [--against PYTHON] [--rounds N] [--only TEXT]

Two peaks are measured. The GEMM peak is what a matrix product library reaches: numpy's fp32 product of
4096 x 4096 matrices on every core (OpenBLAS, or Accelerate on a Mac). The FMA peak is fused multiply-adds in
registers on every core, which no product of matrices in memory reaches. Each round measures both, a case of
this package's emulator, for an int8 case its fp16 counterpart, and with --against the same case in the
interpreter of another environment, whose aneperf may be another version. The table has medians over the
rounds of ratios within a round, since what else the machine does then weighs on both sides. Needs a C++
compiler ($CXX, or c++).
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import aneperf
from aneperf import mil
from child import SECONDS, median_time

# FLOP, what to compute, and the shapes of its inputs.
Case = tuple[int, Callable[..., Any], list[tuple[int, ...]]]


def halves(seed: int, *shape: int, scale: float = 1.0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape, np.float32) * scale).astype(np.float16)


def conv(
    channels: int, outputs: int, height: int, width: int, kernel: int = 1, groups: int = 1, stride: int = 1
) -> Case:
    inputs = channels // groups
    weight = halves(1, outputs, inputs, kernel, kernel, scale=(inputs * kernel**2) ** -0.5)
    flops = 2 * weight.size * height * width // stride**2

    def define(x: Any) -> Any:
        return mil.conv(x, weight, pad_type="same", groups=groups, strides=(stride, stride))

    return flops, define, [(1, channels, height, width)]


def stack(depth: int, height: int, width: int) -> Case:
    weights = [halves(i, 512, 512, 1, 1, scale=512**-0.5) for i in range(depth)]

    def define(x: Any) -> Any:
        for weight in weights:
            x = mil.conv(x, weight)
        return x

    return 2 * depth * 512**2 * height * width, define, [(1, 512, height, width)]


def int8_weight(seed: int, *shape: int) -> Any:
    q = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    return mil.constexpr_affine_dequantize(q, np.float16(shape[1] ** -0.5 / 74))


def int8_activation(x: Any) -> Any:
    return mil.dequantize(mil.quantize(x, 0.03125), 0.03125)


def int8_stack(depth: int, height: int, width: int) -> Case:
    """Build the published W8A8 benchmark: each layer's output is quantized, and dequantized for the next."""

    def define(x: Any) -> Any:
        x = int8_activation(x)
        for i in range(depth):
            x = int8_activation(mil.conv(x, int8_weight(i, 512, 512, 1, 1)))
        return x

    return 2 * depth * 512**2 * height * width, define, [(1, 512, height, width)]


def int8_conv(channels: int, outputs: int, height: int, width: int, kernel: int) -> Case:
    def define(x: Any) -> Any:
        weight = int8_weight(1, outputs, channels, kernel, kernel)
        return mil.conv(int8_activation(x), weight, pad_type="same")

    flops = 2 * outputs * channels * kernel**2 * height * width
    return flops, define, [(1, channels, height, width)]


def int8_linear(rows: int, inputs: int, outputs: int) -> Case:
    def define(x: Any) -> Any:
        return mil.linear(int8_activation(x), int8_weight(1, outputs, inputs))

    return 2 * rows * inputs * outputs, define, [(rows, inputs)]


def linear(rows: int, inputs: int, outputs: int) -> Case:
    weight = halves(1, outputs, inputs, scale=inputs**-0.5)
    return 2 * rows * inputs * outputs, lambda x: mil.linear(x, weight), [(rows, inputs)]


def matmul(batch: int, rows: int, inner: int, columns: int, transposed: bool = False) -> Case:
    shapes = [(batch, rows, inner), (batch, columns, inner) if transposed else (batch, inner, columns)]
    flops = 2 * batch * rows * inner * columns
    return flops, lambda a, b: mil.matmul(a, b, transpose_y=transposed), shapes


def attention(heads: int, length: int, features: int) -> Case:
    flops = 4 * heads * length**2 * features
    return flops, mil.scaled_dot_product_attention, [(1, heads, length, features)] * 3


CASES: dict[str, Callable[[], Case]] = {
    "128x conv 512ch sp64": lambda: stack(128, 1, 64),
    "128x conv 512ch 64x64": lambda: stack(128, 64, 64),
    "conv 2048->512 sp64": lambda: conv(2048, 512, 1, 64),
    "conv 768->32000 sp256": lambda: conv(768, 32000, 1, 256),
    "conv 512->512 sp1": lambda: conv(512, 512, 1, 1),
    "conv 32->32 sp32": lambda: conv(32, 32, 1, 32),
    "conv 3x3 256ch 64x64": lambda: conv(256, 256, 64, 64, kernel=3),
    "conv 3x3 stride 2 64ch 112x112": lambda: conv(64, 64, 112, 112, kernel=3, stride=2),
    "conv 3x3 depthwise 256ch 64x64": lambda: conv(256, 256, 64, 64, kernel=3, groups=256),
    "conv 8 groups 512ch 32x32": lambda: conv(512, 512, 32, 32, groups=8),
    "linear 256x768x2048": lambda: linear(256, 768, 2048),
    "linear 1x768x2048": lambda: linear(1, 768, 2048),
    "matmul 1024x1024x1024": lambda: matmul(1, 1024, 1024, 1024),
    "matmul 512x8192x512": lambda: matmul(1, 512, 8192, 512),
    "matmul 12 of 256x64x256, y transposed": lambda: matmul(12, 256, 64, 256, transposed=True),
    "matmul 12 of 256x256x64": lambda: matmul(12, 256, 256, 64),
    "matmul 1x4096x4096": lambda: matmul(1, 1, 4096, 4096),
    "attention 12 heads 256x64": lambda: attention(12, 256, 64),
    "attention 8 heads 1024x64": lambda: attention(8, 1024, 64),
    "int8 128x conv 512ch sp64": lambda: int8_stack(128, 1, 64),
    "int8 128x conv 512ch 64x64": lambda: int8_stack(128, 64, 64),
    "int8 conv 3x3 256ch 64x64": lambda: int8_conv(256, 256, 64, 64, kernel=3),
    "int8 linear 256x768x2048": lambda: int8_linear(256, 768, 2048),
    "int8 linear 1x768x2048": lambda: int8_linear(1, 768, 2048),
}
INT8 = "int8 "  # before the name of the same case in fp16


def open_emulator(chip: str = "none") -> aneperf.Device:
    """Open the emulator. Profile "none" computes in fp32, as what it is compared with does."""
    return aneperf.open("emulator", chip=chip, compile_budget=aneperf.CompileBudget(10**9, 10**9))


@functools.lru_cache(2)  # a case and its counterpart
def compiled(name: str) -> tuple[int, Callable[[], Any]]:
    """Return the FLOP of an evaluation, and a function that evaluates."""
    flops, define, shapes = CASES[name]()
    builder, device = mil.Builder(), open_emulator()
    builder.output("y", define(*(builder.input(f"x{i}", shape) for i, shape in enumerate(shapes))))
    program = builder.build().compile(device)
    inputs = {port.name: device.make_surface(port) for port in program.inputs}
    outputs = {port.name: device.make_surface(port) for port in program.outputs}
    for i, shape in enumerate(shapes):
        inputs[f"x{i}"].write(halves(100 + i, *shape, scale=0.1))
    evaluate = program.bind(inputs, outputs).evaluate
    evaluate()
    return flops, evaluate


def serve() -> None:
    """Answer each line, a case's name, with FLOP and seconds of an evaluation."""
    for line in sys.stdin:
        flops, evaluate = compiled(line.strip())
        print(json.dumps((flops, median_time(evaluate))), flush=True)


class Server:
    """This script in a process of its own, with the emulator of some environment."""

    def __init__(self, python: str) -> None:
        command = [python, __file__, "--serve"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def speed(self, name: str) -> float:
        """Return GFLOP/s."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        flops, seconds = json.loads(self.process.stdout.readline())
        return float(flops / seconds / 1e9)


def peak_loop(cores: int) -> Callable[[], float]:
    """Return the GFLOP/s of all cores at once."""
    source = Path(__file__).with_name("fma_peak.cpp")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "fma_peak.so")
        flags = ["-O3", "-std=c++17", "-march=native", "-mprefer-vector-width=512", "-ffp-contract=fast"]
        if sys.platform == "darwin":
            flags.remove("-mprefer-vector-width=512")
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, *flags, "-shared", "-fPIC", source, "-o", library], check=True)
        peak = ctypes.CDLL(str(library)).fma_peak
    peak.restype, peak.argtypes = ctypes.c_double, [ctypes.c_double]
    threads = ThreadPoolExecutor(cores)
    return lambda: sum(threads.map(peak, [SECONDS] * cores))


def main() -> None:
    parser = argparse.ArgumentParser(description="Matrix products as ratios of the machine's peaks.")
    parser.add_argument("--against", metavar="PYTHON", help="interpreter of another environment with aneperf")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this in it")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    facts = dict(open_emulator().info())
    settings = {k: v for k, v in os.environ.items() if k.startswith(("ANEPERF_", "OPENBLAS_"))}
    print(", ".join(f"{k} {v}" for k, v in {**facts, **settings}.items()))
    peak, ours = peak_loop(int(facts["threads"])), Server(sys.executable)
    other = Server(options.against) if options.against else None
    a, b = (halves(i, 4096, 4096).astype(np.float32) for i in range(2))
    columns = ["GFLOP/s", "of GEMM", "of FMA", "GEMM of FMA", "of fp16", "of other"]
    print(f"{'':38} {' '.join(f'{column:>11}' for column in columns)}  5 % to 95 %")
    for name in (name for name in CASES if options.only in name):
        rows = []
        for _ in range(options.rounds + 1):
            fma = peak()
            speed = ours.speed(name)
            fp16 = ours.speed(name.removeprefix(INT8)) if name.startswith(INT8) else float("nan")
            fma = (fma + peak()) / 2
            other_speed = other.speed(name) if other else float("nan")
            gemm = 2 * 4096**3 / median_time(lambda: a @ b) / 1e9
            time.sleep(0.1)  # its threads spin for a while
            rows.append((speed, speed / gemm, speed / fma, gemm / fma, speed / fp16, speed / other_speed))
        rows = rows[1:]  # the first round warms up
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        shown = ["" if math.isnan(m) else f"{m:.{2 if i else 1}f}" for i, m in enumerate(medians)]
        line = f"{name:38} {' '.join(f'{text:>11}' for text in shown)}"
        if other:
            spread = statistics.quantiles([row[-1] for row in rows], n=20)
            line += f"  {spread[0]:.2f} to {spread[-1]:.2f}"
        print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
