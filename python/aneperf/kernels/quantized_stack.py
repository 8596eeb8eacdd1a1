"""A deep stack of 1x1 convolutions in W8A8: int8 weights, and activations that pass through int8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import mil
from ..errors import ArgumentError
from .conv_stack import ConvStack

_STEPS = 32  # of int8, in one standard deviation: 4 deviations fit, and half a step is 1/64 of one
_SCALE = 1 / _STEPS


@dataclass(frozen=True)
class QuantizedStack(ConvStack):
    """A chain of `depth` 1x1 convolutions from C to C channels, quantized as the published benchmark does.

    A layer's weights are int8, dequantized when they are read; between two layers, activations are quantized
    to int8 and dequantized. Scales are constants: powers of two for activations, 1 / (32 sqrt(C)) for
    weights. Values keep their size at any depth. Ports are fp16.
    """

    port_dtype: Literal["fp32", "fp16"] = "fp16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port_dtype != "fp16":
            raise ArgumentError("quantized stack: ports are fp16")

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all int8 weights."""
        return self.depth * self.channels**2

    @property
    def tolerance(self) -> float:
        """Return the largest relative error, in the norm of a column, that fp16 and int8 rounding explain.

        Where an engine rounds one value differently from the reference, the two quantizers diverge: at worst
        each layer adds two independent roundings, each of variance 1/12 step squared. Twice that leaves
        room for the spread between columns. One wrong layer gives an error near 1.4.
        """
        return super().tolerance + 2 * math.sqrt((self.depth - 1) / 6) / _STEPS

    def build(self, dialect: Literal["ios18", "ios16"] = "ios18") -> mil.Program:
        """Return the program, with ports "x" and "y"."""
        builder = mil.Builder(dialect)
        y = builder.input("x", self.shape)
        for layer in range(self.depth):
            if layer:
                y = mil.dequantize(mil.quantize(y, _SCALE), _SCALE)
            stored = self._steps(layer)[:, :, None, None]
            y = mil.conv(y, mil.constexpr_affine_dequantize(stored, self._weight_scale))
        builder.output("y", y)
        return builder.build()

    def reference(self, columns: Sequence[int]) -> NDArray[np.float64]:
        """Compute the output at some positions of the flattened H x W: [C, len(columns)].

        Sums are float64. The input and each layer's output are rounded to fp16, and then to int8.
        """
        y = self._columns(self.input().astype(np.float16), columns)
        for layer in range(self.depth):
            if layer:
                y = np.clip(np.rint(y.astype(np.float16) / _SCALE), -128, 127).astype(np.float64) * _SCALE
            y = self._weight_scale * (self._steps(layer).astype(np.float64) @ y)
        return y

    @property
    def _weight_scale(self) -> float:
        return float(np.float16(1 / (_STEPS * self.channels**0.5)))

    def _steps(self, layer: int) -> NDArray[np.int8]:
        """Return a layer's stored weight [C, C]: one orthogonal matrix's rows, permuted, with random signs.

        Quantization noise has a fixed size. A signal that random matrices had made small would drown in it.
        Orthogonal layers keep the norm of both.
        """
        random = np.random.default_rng((self.seed, self.depth, layer))
        steps = _orthogonal_steps(self.channels, self.seed)
        signs = random.choice(np.array([-1, 1], np.int8), size=(self.channels, 1))
        shuffled: NDArray[np.int8] = steps[random.permutation(self.channels)] * signs
        return shuffled


@lru_cache(maxsize=1)
def _orthogonal_steps(channels: int, seed: int) -> NDArray[np.int8]:
    """Return a random orthogonal matrix [C, C] in steps of 1 / (32 sqrt(C))."""
    random = np.random.default_rng((seed, channels))
    orthogonal, _ = np.linalg.qr(random.standard_normal((channels, channels), np.float32))
    steps: NDArray[np.int8] = np.clip(np.rint(orthogonal * (_STEPS * channels**0.5)), -127, 127).astype(
        np.int8
    )
    return steps
