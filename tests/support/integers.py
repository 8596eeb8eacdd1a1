"""Define quantized operands, and the exact products of their integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aneperf import mil
from support import oracle


class Quantized(NamedTuple):
    """Hold q, int8 or uint8, which means (q - zero_point) scale; both are scalars, or one a channel."""

    q: NDArray[Any]
    scale: Any
    zero_point: Any = 0
    axis: int | None = None

    def activation(self, port: mil.Tensor) -> mil.Tensor:
        """Return the dequantized tensor of a port that holds q in fp16."""
        dtype: Any = self.q.dtype.name
        zero_point = self._zero_point()
        return mil.dequantize(
            mil.quantize(port, 1.0, output_dtype=dtype), self.scale, zero_point, axis=self.axis
        )

    def constant(self) -> mil.Tensor:
        axis = 0 if self.axis is None else self.axis
        return mil.constexpr_affine_dequantize(self.q, self.scale, self._zero_point(), axis)

    def port(self) -> NDArray[np.float16]:
        return self.q.astype(np.float16)

    def differences(self) -> oracle.Array:
        """Return q - zero_point in float64, which holds these and all their sums here exactly."""
        return self.q - oracle.along(self.zero_point, self.axis, self.q.ndim)

    def _zero_point(self) -> NDArray[Any]:
        return np.asarray(self.zero_point).astype(self.q.dtype)


def full_range(seed: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def product(
    multiply: Callable[..., oracle.Expected],
    x: Quantized,
    weight: Quantized,
    output_axis: int,
    bias: NDArray[np.float16] | None = None,
    ties_away: bool = True,
) -> NDArray[np.float16]:
    """Return the exact sums times both scales, with the bias, rounded once to fp16.

    `multiply` is of the differences, as an oracle gives it; the weight's scales lie along the result's
    `output_axis`. The engine is taken to round ties away from zero. Of a sum that exceeds 32 bits it makes
    infinity.
    """
    sums = multiply(x.differences(), weight.differences()).value
    scale = oracle.along(weight.scale, output_axis, sums.ndim)
    values = np.where(np.abs(sums) < 2**31, sums * (np.float64(x.scale) * scale), np.copysign(np.inf, sums))
    if bias is not None:
        values = values + oracle.along(bias, output_axis, sums.ndim)
    return oracle.rounded(values, ties_away=ties_away)
