"""Eight-bit integers."""

import numpy as np
from numpy.typing import NDArray

from .rounding import Array


def along(parameter: NDArray | float, axis: int | None, rank: int) -> Array:
    """Reshape to one element for each index of `axis`, so that it broadcasts."""
    parameter = np.asarray(parameter, np.float64)
    if parameter.ndim == 0:
        return parameter
    assert axis is not None
    return parameter.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


@np.errstate(all="ignore")
def quantize(
    x: NDArray, scale: NDArray | float, zero_point: NDArray | float, dtype: str, axis: int | None
) -> Array:
    x = np.asarray(x, np.float64)
    quotient = x / along(scale, axis, x.ndim)
    nearest = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)  # half away from zero
    limits = np.iinfo(dtype)
    return np.clip(nearest + along(zero_point, axis, x.ndim), limits.min, limits.max)


def dequantize(q: NDArray, scale: NDArray | float, zero_point: NDArray | float, axis: int | None) -> Array:
    q = np.asarray(q, np.float64)
    return (q - along(zero_point, axis, q.ndim)) * along(scale, axis, q.ndim)


def to_integers(x: NDArray, dtype: str) -> Array:
    """Convert as cast does: toward zero, clamped."""
    limits = np.iinfo(dtype)
    return np.clip(np.trunc(np.asarray(x, np.float64)), limits.min, limits.max)
