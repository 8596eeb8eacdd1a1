"""Element types: casts, quantization, and weights that are stored compressed."""

from __future__ import annotations

from typing import Literal

from .apply import apply_one, const
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
