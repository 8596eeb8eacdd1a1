"""Element types: casts, quantization, and weights that are stored compressed."""

from __future__ import annotations

from typing import Literal

from .call import apply_one, const
from .graph import Operand, Tensor
from .types import DType


def cast(x: Tensor, dtype: DType, *, name: str | None = None) -> Tensor:
    """Convert x to `dtype`, from or to fp16."""
    return apply_one("cast", name, x=x, dtype=dtype)


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

    One scale and zero point, or one for each index of `axis`.
    """
    return apply_one(
        "quantize", name, input=x, scale=scale, zero_point=zero_point, output_dtype=output_dtype, axis=axis
    )


def dequantize(
    x: Tensor,
    scale: Operand,
    zero_point: Operand | None = None,
    axis: int | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Dequantize to (x - zero_point) scale, in fp16.

    One scale and zero point, or one for each index of `axis`.
    """
    return apply_one("dequantize", name, input=x, scale=scale, zero_point=zero_point, axis=axis)


def constexpr_affine_dequantize(
    quantized_data: Operand,
    scale: Operand,
    zero_point: Operand = 0,
    axis: int = 0,
    *,
    name: str | None = None,
) -> Tensor:
    """A weight stored in 8 bits: (quantized_data - zero_point) scale, in fp16. For use in any builder.

    `quantized_data` is an int8 or uint8 array. One scale and zero point, or one for each index of `axis`.
    """
    data = quantized_data if isinstance(quantized_data, Tensor) else const(quantized_data)
    return apply_one(
        "constexpr_affine_dequantize",
        name,
        quantized_data=data,
        zero_point=zero_point,
        scale=scale,
        axis=axis,
    )


def constexpr_lut_to_dense(
    indices: Operand, lut: Operand, vector_axis: int | None = None, *, name: str | None = None
) -> Tensor:
    """A weight stored as indices into tables, in fp16. For use in any builder.

    `indices` is a uint8 array, or a constant of uint1, uint4 or uint8. `lut` [B..., E, V] holds a table for
    each block of indices, B dividing their shape: E = 2, 16 or 256 entries of V elements, which go along
    `vector_axis`. Needs opset ios18.
    """
    stored = indices if isinstance(indices, Tensor) else const(indices)
    return apply_one("constexpr_lut_to_dense", name, indices=stored, lut=lut, vector_axis=vector_axis)


def constexpr_sparse_to_dense(nonzero_data: Operand, mask: Operand, *, name: str | None = None) -> Tensor:
    """A weight stored as its elements where `mask` is 1, in order; 0 elsewhere. For use in any builder.

    `nonzero_data` is a vector of fp16, int8 or uint8. Needs opset ios18.
    """
    stored = nonzero_data if isinstance(nonzero_data, Tensor) else const(nonzero_data)
    return apply_one("constexpr_sparse_to_dense", name, nonzero_data=stored, mask=mask)


def constexpr_blockwise_shift_scale(
    data: Operand, scale: Operand, offset: Operand | None = None, *, name: str | None = None
) -> Tensor:
    """A weight stored in 4 or 8 bits: (data - offset) scale, in fp16. For use in any builder.

    `data` is an int8 or uint8 array, or a constant of uint4. Each element of scale and offset stands for a
    block of it, their shape dividing its. Needs opset ios18.
    """
    stored = data if isinstance(data, Tensor) else const(data)
    return apply_one("constexpr_blockwise_shift_scale", name, data=stored, scale=scale, offset=offset)
