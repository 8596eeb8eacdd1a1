"""Change element types: casts, quantization, and weights stored in compressed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mil import const
from ..mil.types import TensorType, check_dtype, numpy_dtype, unpack
from .operation import Reference, integers, weights

Array = NDArray[Any]


def cast(x: Array, dtype: str) -> Array:
    """Round to fp16 to nearest even, or to integers toward zero, clamped; fp32 keeps every value."""
    if dtype == "fp32":
        return x.astype(np.float64)
    target = numpy_dtype(check_dtype(dtype))
    if target.kind in "iu" and x.dtype.kind == "f":
        limits = np.iinfo(target)
        return np.clip(np.trunc(x), limits.min, limits.max).astype(target)
    return x.astype(target).astype(np.float64) if target.kind == "f" else x.astype(target)


def _along(parameter: Array, axis: Any, rank: int) -> Array:
    """Shape one element for each index of `axis` so that it broadcasts."""
    if np.ndim(parameter) == 0:
        return parameter
    return parameter.reshape([-1 if i == int(axis) % rank else 1 for i in range(rank)])


def quantize(
    input: Array, scale: Array, output_dtype: str, zero_point: Array | None = None, axis: Any = 0
) -> Array:
    """Return round(x / scale) + zero_point, clamped, with halves rounded away from zero."""
    quotient = input / _along(scale, axis, input.ndim)
    nearest = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)
    if zero_point is not None:
        nearest = nearest + _along(zero_point, axis, input.ndim)
    limits = np.iinfo(output_dtype)
    return np.clip(nearest, limits.min, limits.max).astype(output_dtype)


def dequantize(input: Array, scale: Array, zero_point: Array | None = None, axis: Any = 0) -> Array:
    """Return (x - zero_point) scale."""
    values = input.astype(np.float64)
    if zero_point is not None:
        values = values - _along(zero_point, axis, values.ndim)
    return values * _along(scale, axis, values.ndim)


def _unpacked(data: Array, bits: int, shape: Array) -> Array:
    """Return the elements of the form before ios18: bytes that hold `bits` for each element of a shape."""
    dtype = check_dtype(f"uint{bits}")
    return unpack(data.tobytes(), TensorType(dtype, tuple(int(size) for size in shape)))


def _lut_to_dense(indices: Array, lut: Array, vector_axis: Any = None, shape: Array | None = None) -> Array:
    """Look each index up in the table of its block; the vectors lie along `vector_axis`."""
    if shape is not None:
        found: Array = lut[_unpacked(indices, len(lut).bit_length() - 1, shape)]
        return found
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


def _sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    if shape is not None:
        mask = _unpacked(mask, 1, shape)
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


_LEVELS = (integers(255, 32, 32, 1, 1).astype(np.int16) - 127).astype(np.int8)
_MASK = integers(2, 32, 32, 1, 1)

OPERATIONS: dict[str, Reference] = {
    "cast": Reference(cast, {"dtype": "fp32"}, values="grid", exact=True),
    "quantize": Reference(quantize, {"scale": 0.0625}, values="grid", exact=True),
    "dequantize": Reference(dequantize, {"scale": 0.0625}, values="grid", exact=True),
    "constexpr_affine_dequantize": Reference(
        lambda quantized_data, **how: dequantize(quantized_data, **how),
        {"quantized_data": _LEVELS, "scale": np.full(32, 2.0**-9), "zero_point": np.full(32, 3, np.int8)},
    ),
    "constexpr_lut_to_dense": Reference(
        _lut_to_dense,
        {"indices": const(integers(16, 32, 32, 1, 1), "uint4"), "lut": weights(1, 1, 1, 1, 16, 1)},
    ),
    "constexpr_sparse_to_dense": Reference(
        _sparse_to_dense, {"nonzero_data": weights(int(_MASK.sum())), "mask": _MASK}
    ),
    "constexpr_blockwise_shift_scale": Reference(
        _blockwise, {"data": _LEVELS, "scale": np.ldexp(2.0**-10, integers(3, 32, 2, 1, 1))}
    ),
}
