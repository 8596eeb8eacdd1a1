"""Build and run programs in one line, and define a varied set, to compare runs under other settings.

    python -m support.programs RESULTS.npz

evaluates the varied set and saves every output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aneperf
from aneperf import mil

NO_BUDGET = aneperf.CompileBudget(10**9, 10**9)

Build = Callable[..., "mil.Tensor | tuple[mil.Tensor, ...]"]


def build(define: Build, *arrays: NDArray[Any]) -> mil.Program:
    """Return a program with an input x0, x1, ... for each array; `define` returns its outputs y0, y1, ..."""
    b = mil.Builder()
    dtypes = {np.dtype(np.float16): "fp16", np.dtype(np.float32): "fp32"}
    results = define(*(b.input(f"x{i}", array.shape, dtypes[array.dtype]) for i, array in enumerate(arrays)))
    for i, result in enumerate(results if isinstance(results, tuple) else (results,)):
        b.output(f"y{i}", result)
    return b.build()


def run(program: aneperf.Program, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    outputs = program.run(**{f"x{i}": array for i, array in enumerate(arrays)})
    return tuple(outputs[f"y{i}"] for i in range(len(outputs)))


def evaluate(device: aneperf.Device, define: Build, *arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return run(build(define, *arrays).compile(device), *arrays)


def any_halves(seed: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Return any fp16 but NaN, all as likely: every magnitude, subnormals, zeros and infinities."""
    random = np.random.default_rng(seed)
    array = random.integers(0, 1 << 16, shape, np.uint16).view(np.float16)
    rare = random.choice(np.array([0.0, -0.0, np.inf, -np.inf, 65504.0, 6e-8], np.float16), shape)
    return np.where(np.isnan(array), rare, array)


def normal_halves(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> NDArray[np.float16]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float16)


def _conv_stack(x: mil.Tensor) -> mil.Tensor:
    channels = x.channels
    for layer in range(4):
        x = mil.conv(x, normal_halves(layer, (channels, channels, 1, 1), channels**-0.5))
    return x


def _integer_conv(x: mil.Tensor) -> mil.Tensor:
    weight = np.random.default_rng(4).integers(-128, 128, (130, x.channels, 3, 3)).astype(np.int8)
    y = mil.conv(
        mil.dequantize(mil.quantize(x, 0.03), 0.03),
        mil.constexpr_affine_dequantize(weight, 0.001, -5),
        pad_type="same",
    )
    return mil.cast(mil.quantize(y, 0.02), "fp16")


def _long_integer_conv(x: mil.Tensor) -> mil.Tensor:
    """Sum more products than 32 bits are sure to hold."""
    weight = np.random.default_rng(5).integers(0, 256, (9, x.channels, 1, 1)).astype(np.uint8)
    seen = mil.dequantize(mil.quantize(x, 0.02, np.uint8(99), output_dtype="uint8"), 0.02, np.uint8(99))
    return mil.conv(seen, mil.constexpr_affine_dequantize(weight, 0.001, np.arange(9).astype(np.uint8)))


def _decomposed_attention(x: mil.Tensor) -> mil.Tensor:
    scores = mil.mul(mil.matmul(x, x, transpose_y=True), 0.125)
    return mil.matmul(mil.softmax(scores), x)


# By name: a computation and the shape of its input of normal numbers. Each of PRODUCTS is one product,
# CHAINS have several, and VECTORS none.
CONV_WEIGHT = normal_halves(0, (200, 96, 3, 3), 0.03)
GROUPED_WEIGHT = normal_halves(1, (96, 24, 2, 3), 0.1)
LINEAR_WEIGHT, LINEAR_BIAS = normal_halves(2, (130, 300), 0.1), normal_halves(3, (130,))
Case = tuple[Build, tuple[int, ...]]
PRODUCTS: dict[str, Case] = {
    "conv": (lambda x: mil.conv(x, CONV_WEIGHT, pad_type="same"), (2, 96, 9, 67)),
    "grouped_conv": (
        lambda x: mil.conv(x, GROUPED_WEIGHT, groups=4, strides=(2, 1), dilations=(1, 2)),
        (2, 96, 9, 67),
    ),
    "conv_transpose": (
        lambda x: mil.conv_transpose(x, GROUPED_WEIGHT, groups=4, strides=(2, 3), pad_type="same"),
        (2, 96, 9, 67),
    ),
    "integer_conv": (_integer_conv, (2, 70, 9, 67)),
    "long_integer_conv": (_long_integer_conv, (1, 33100, 1, 35)),
    "matmul": (lambda x: mil.matmul(x, x, transpose_x=True), (3, 77, 601)),
    "einsum": (lambda x: mil.einsum([x, mil.transpose(x, [0, 3, 2, 1])]), (2, 60, 5, 200)),
    "linear": (lambda x: mil.linear(x, LINEAR_WEIGHT, LINEAR_BIAS), (1, 1, 259, 300)),
    "attention": (lambda x: mil.scaled_dot_product_attention(x, x, x), (1, 3, 200, 64)),
}
CHAINS: dict[str, Case] = {
    "conv_stack": (_conv_stack, (1, 256, 1, 1100)),
    "decomposed_attention": (_decomposed_attention, (1, 3, 200, 64)),
}
VECTORS: dict[str, Case] = {
    "unary": (
        lambda x: (
            *(f(x) for f in (mil.exp, mil.log, mil.rsqrt, mil.sigmoid, mil.silu, mil.tanh, mil.gelu)),
            mil.gelu(x, "TANH_APPROXIMATION"),
            mil.gelu(x, "SIGMOID_APPROXIMATION"),
            mil.sqrt(mil.abs(x)),
            mil.relu(mil.square(x)),
            *(f(x) for f in (mil.atan, mil.cos, mil.erf, mil.exp2, mil.round, mil.sin, mil.softplus)),
            mil.elu(x, 0.7),
            mil.scaled_tanh(x, 1.7, 0.6),
        ),
        (1, 5, 33, 101),
    ),
    "binary": (
        lambda x: (
            mil.real_div(mil.add(x, 1.5), x),
            mil.floor_div(x, 0.3),
            mil.select(mil.less(x, 0.5), mil.softsign(x), -1),
            mil.pow(mil.abs(x), mil.reduce_max(x, [1])),
            mil.maximum(mil.sub(x, mil.reduce_mean(x, [3])), mil.minimum(x, mil.mul(x, x))),
        ),
        (1, 37, 5, 111),
    ),
    "reductions": (
        lambda x: tuple(
            reduce(x, axes)
            for reduce in (mil.reduce_sum, mil.reduce_mean, mil.reduce_max, mil.reduce_min)
            for axes in ([3], [1], [1, 3], [0, 1, 2, 3])
        ),
        (2, 45, 3, 307),
    ),
    "softmax": (lambda x: tuple(mil.softmax(x, axis) for axis in range(4)), (2, 45, 3, 207)),
    "norms": (
        lambda x: (
            mil.layer_norm(x, [3], normal_halves(0, (207,)), normal_halves(1, (207,))),
            mil.layer_norm(x, [1]),
            mil.layer_norm(x, [1, 3]),
            mil.instance_norm(x),
            mil.l2_norm(x),
            mil.local_response_norm(x, 5),
            mil.avg_pool(x, (3, 3), pad_type="same"),
            mil.avg_pool(x, (3, 7), (3, 2)),
            mil.l2_pool(x, (2, 5), (1, 3)),
            mil.reduce_log_sum_exp(x, [1, 3]),
        ),
        (2, 45, 3, 207),
    ),
    "quantization": (
        lambda x: (
            mil.dequantize(mil.quantize(x, 0.03125), 0.03125),
            mil.cast(
                mil.quantize(x, np.full(45, 0.1, np.float16), np.full(45, 7, np.uint8), "uint8", axis=1),
                "fp16",
            ),
        ),
        (1, 45, 3, 207),
    ),
    "shapes": (
        lambda x: (
            mil.transpose(x, [3, 0, 2, 1]),
            mil.concat([*mil.split(x, 3, 1), mil.slice_by_size(x, [0, 9, 0, 0], [2, 13, 3, 207])], 1),
            mil.concat([x, mil.relu(x)], 1, interleave=True),
            mil.reverse(mil.pad(x, [1, 2, 0, 5], "reflect"), [3]),
            mil.max_pool(x, (2, 3), (1, 2), "custom", (1, 1, 1, 1)),
            mil.space_to_batch(x, (2, 5), ((1, 0), (0, 3))),
            mil.resize_bilinear(x, 7, 100),
            mil.resize_bilinear(x, 6, 500, "UNALIGN_CORNERS"),
            mil.affine(x, np.array([[0.5, 0.3, 0.1, -0.4, 1.1, -0.2]]), 9, 100),
            mil.topk(x, 5, 1)[0],
        ),
        (2, 45, 3, 207),
    ),
}


VARIED = {**PRODUCTS, **CHAINS, **VECTORS}


def input_of(name: str) -> NDArray[np.float16]:
    return normal_halves(99, VARIED[name][1])


def compile_varied(device: aneperf.Device) -> dict[str, tuple[aneperf.Program, NDArray[np.float16]]]:
    """Return the varied programs with their inputs, by name."""
    return {
        name: (build(define, input_of(name)).compile(device), input_of(name))
        for name, (define, _) in VARIED.items()
    }


def main(path: str) -> None:
    device = aneperf.open("emulator:h16", compile_budget=NO_BUDGET)
    results = {
        f"{name}/{i}": output
        for name, (program, x) in compile_varied(device).items()
        for i, output in enumerate(run(program, x))
    }
    np.savez(path, info=np.array([f"{k}={v}" for k, v in device.info().items()]), **results)


if __name__ == "__main__":
    main(sys.argv[1])
