"""Compare weights of int8 with weights of fp16: their size, the result's error, and the time."""

import argparse

import numpy as np

import aneperf
from aneperf import mil

CHANNELS, POSITIONS = 256, 64
WEIGHT = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS)) / CHANNELS**0.5


def layer(dtype: str) -> mil.Builder:
    """Build a linear layer, as a 1x1 convolution."""
    b = mil.Builder()
    x = b.input("x", (1, CHANNELS, 1, POSITIONS))
    weight: object = WEIGHT[:, :, None, None]
    if dtype == "int8":
        scales = np.abs(WEIGHT).max(axis=1) / 127  # one for each output channel
        codes = np.round(WEIGHT / scales[:, None]).astype(np.int8)[:, :, None, None]
        weight = mil.constexpr_blockwise_shift_scale(codes, scales.astype(np.float16)[:, None, None, None])
    b.output("y", mil.conv(x, weight))
    return b


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    device = aneperf.open()
    x = np.random.default_rng(1).standard_normal((1, CHANNELS, 1, POSITIONS)).astype(np.float16)
    exact = WEIGHT @ x[0, :, 0].astype(np.float64)
    for dtype in ("fp16", "int8"):
        program = layer(dtype).build()
        y = program.compile(device).run(x=x)["y"][0, :, 0]
        error = np.linalg.norm(y - exact) / np.linalg.norm(exact)
        stored = sum(map(len, program.weights.values()))
        print(f"{dtype}: {stored:,} bytes of weights, result off by {error:.2%}")
    print(aneperf.bench(layer, device, axes={"dtype": ["fp16", "int8"]}, budget=seconds))
