"""Casts, quantization, and weights that are stored compressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mil.types import check_dtype, numpy_dtype

Array = NDArray[Any]


def cast(x: Array, dtype: str) -> Array:
    """To fp16 by rounding to nearest even, which fp32 needs not; to integers towards zero, clamped."""
    if dtype == "fp32":
        return x.astype(np.float64)
    target = numpy_dtype(check_dtype(dtype))
    if target.kind in "iu" and x.dtype.kind == "f":
        limits = np.iinfo(target)
        return np.clip(np.trunc(x), limits.min, limits.max).astype(target)
    return x.astype(target).astype(np.float64) if target.kind == "f" else x.astype(target)


def _along(parameter: Array, axis: Any, rank: int) -> Array:
    """One element for each index of `axis`, shaped so that it broadcasts."""
    if np.ndim(parameter) == 0:
        return parameter
    return parameter.reshape([-1 if i == int(axis) % rank else 1 for i in range(rank)])


def quantize(
    input: Array, scale: Array, output_dtype: str, zero_point: Array | None = None, axis: Any = 0
) -> Array:
    """round(x / scale) + zero_point, clamped; halves away from zero."""
    quotient = input / _along(scale, axis, input.ndim)
    nearest = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)
    if zero_point is not None:
        nearest = nearest + _along(zero_point, axis, input.ndim)
    limits = np.iinfo(output_dtype)
    return np.clip(nearest, limits.min, limits.max).astype(output_dtype)


def dequantize(input: Array, scale: Array, zero_point: Array | None = None, axis: Any = 0) -> Array:
    """(x - zero_point) scale."""
    values = input.astype(np.float64)
    if zero_point is not None:
        values = values - _along(zero_point, axis, values.ndim)
    return values * _along(scale, axis, values.ndim)


def _lut_to_dense(indices: Array, lut: Array, vector_axis: Any = None) -> Array:
    """Element i of the table of its block, whose vector goes along `vector_axis`."""
    blocks = lut.shape[: indices.ndim]
    spread = lut
    for axis, (size, count) in enumerate(zip(indices.shape, blocks, strict=True)):
        spread = spread.repeat(size // count, axis)
    found = np.take_along_axis(spread, indices[..., None, None].astype(np.intp), -2)[..., 0, :]
    if found.shape[-1] == 1:
        return found[..., 0]
    at = int(vector_axis) % indices.ndim
    return np.concatenate(np.split(np.moveaxis(found, -1, at + 1), 1), 0).reshape(
        [size * (found.shape[-1] if axis == at else 1) for axis, size in enumerate(indices.shape)]
    )


def _sparse_to_dense(nonzero_data: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape)
    dense[mask.astype(bool)] = nonzero_data
    return dense


def _blockwise(data: Array, scale: Array, offset: Array | None = None) -> Array:
    def spread(parameter: Array) -> Array:
        for axis, (size, count) in enumerate(zip(data.shape, parameter.shape, strict=True)):
            parameter = parameter.repeat(size // count, axis)
        return parameter

    values = data.astype(np.float64)
    return (values if offset is None else values - spread(offset)) * spread(scale)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "cast": cast,
    "quantize": quantize,
    "dequantize": dequantize,
    "constexpr_affine_dequantize": lambda quantized_data, scale, zero_point, axis: dequantize(
        quantized_data, scale, zero_point, axis
    ),
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "constexpr_blockwise_shift_scale": _blockwise,
}
