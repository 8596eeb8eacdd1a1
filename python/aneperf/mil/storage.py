# mypy: disable-error-code=empty-body
"""Change element types: casts, quantization, and weights stored in compressed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import operation
from .graph import Operand, Tensor
from .types import DType

__all__ = [
    "cast",
    "constexpr_affine_dequantize",
    "constexpr_blockwise_shift_scale",
    "constexpr_lut_to_dense",
    "constexpr_sparse_to_dense",
    "dequantize",
    "quantize",
]


@operation
def cast(x: Tensor, dtype: DType, *, name: str | None = None) -> Tensor:
    """Convert x to `dtype`. Either side is fp16."""


@operation
def quantize(
    x: Tensor,
    scale: Operand,
    zero_point: Operand | None = None,
    output_dtype: Literal["int8", "uint8"] = "int8",
    axis: int | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Quantize to round(x / scale) + zero_point, clamped to `output_dtype`.

    scale and zero_point are numbers, or vectors with one element for each index of `axis`.
    """


@operation
def dequantize(
    x: Tensor,
    scale: Operand,
    zero_point: Operand | None = None,
    axis: int | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Dequantize to (x - zero_point) scale, in fp16.

    scale and zero_point are numbers, or vectors with one element for each index of `axis`.
    """


@operation
def constexpr_affine_dequantize(
    quantized_data: Operand,
    scale: Operand,
    zero_point: Operand = 0,
    axis: int = 0,
    *,
    name: str | None = None,
) -> Tensor:
    """Make a weight stored in 8 bits: (quantized_data - zero_point) scale, in fp16. For use in any builder.

    `quantized_data` is an int8 or uint8 array. scale and zero_point are numbers, or vectors with one element
    for each index of `axis`.
    """


@operation
def constexpr_lut_to_dense(
    indices: Operand,
    lut: Operand,
    vector_axis: int | None = None,
    shape: Sequence[int] | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Make a weight stored as indices into tables, in fp16. For use in any builder.

    `indices` is a uint8 array, or a constant of uint1, uint2, uint3, uint4, uint6 or uint8. `lut`
    [B..., E, V] holds a table for each block of indices, where B divides their shape. A table has
    E = 2^bits entries of V elements, which lie along `vector_axis`. Needs opset ios18.

    Opsets before have one table, `lut` [E], and `indices` is the vector of bytes that holds the packed
    indices of a weight of `shape`.
    """


@operation
def constexpr_sparse_to_dense(
    nonzero_data: Operand, mask: Operand, shape: Sequence[int] | None = None, *, name: str | None = None
) -> Tensor:
    """Make a weight stored as its elements where `mask` is 1, in order; others are 0. For any builder.

    `nonzero_data` is a vector of fp16, int8 or uint8. Needs opset ios18. Opsets before take the weight's
    `shape`, and as mask a constant uint8 vector of the packed bits.
    """


@operation
def constexpr_blockwise_shift_scale(
    data: Operand, scale: Operand, offset: Operand | None = None, *, name: str | None = None
) -> Tensor:
    """Make a weight stored in 4 or 8 bits: (data - offset) scale, in fp16. For use in any builder.

    `data` is an int8 or uint8 array, or a constant of int4 or uint4. Each element of scale and offset belongs
    to a block of data, whose shape theirs divides. Needs opset ios18.
    """
