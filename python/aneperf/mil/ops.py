"""The operations. Each adds itself to the builder of its operands and returns its result.

An operand is a tensor, a Python number (a constant of the other operand's dtype) or a numpy array (whose
floats are rounded to the other operand's dtype). Types and shapes are checked at once: CompileError says what
the engine does not take, ArgumentError what cannot be a constant. A result is called name=, or after its
operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .apply import apply, const
from .graph import Operand, Tensor
from .types import DType


def _one(op: str, name: str | None, **arguments: object) -> Tensor:
    return apply(op, name, **arguments)[0]


# Convolution and matrix products


def conv(
    x: Tensor,
    weight: Operand,
    *,
    strides: Sequence[int] = (1, 1),
    pad_type: Literal["valid", "custom", "same"] = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    name: str | None = None,
) -> Tensor:
    """Convolution: x [N, C, H, W], weight [O, C / groups, kH, kW] -> [N, O, H', W'].

    `pad` is (top, bottom, left, right) and needs pad_type "custom". The engine takes no bias: add it.
    """
    return _one(
        "conv",
        name,
        x=x,
        weight=weight,
        strides=strides,
        pad_type=pad_type,
        pad=pad,
        dilations=dilations,
        groups=groups,
    )


def matmul(
    x: Operand, y: Operand, *, transpose_x: bool = False, transpose_y: bool = False, name: str | None = None
) -> Tensor:
    """Matrix product over the last two axes: x [..., M, K], y [..., K, N] -> [..., M, N]."""
    return _one("matmul", name, x=x, y=y, transpose_x=transpose_x, transpose_y=transpose_y)


def linear(x: Tensor, weight: Operand, bias: Operand | None = None, *, name: str | None = None) -> Tensor:
    """Product with a constant matrix: x [..., I], weight [O, I], bias [O] -> x weight^T + bias [..., O]."""
    return _one("linear", name, x=x, weight=weight, bias=bias)


def scaled_dot_product_attention(
    query: Operand, key: Operand, value: Operand, attn_mask: Operand | None = None, *, name: str | None = None
) -> Tensor:
    """Attention: softmax(query key^T / sqrt(E) + mask) value.

    query [..., L, E], key [..., S, E], value [..., S, V] -> [..., L, V].

    `attn_mask` broadcasts to [..., L, S]; engines are known that ignore it. Needs opset ios18.
    """
    return _one("scaled_dot_product_attention", name, query=query, key=key, value=value, attn_mask=attn_mask)


# Arithmetic, element by element; shapes broadcast as in numpy


def add(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Sum x + y."""
    return _one("add", name, x=x, y=y)


def sub(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Difference x - y."""
    return _one("sub", name, x=x, y=y)


def mul(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Product x * y."""
    return _one("mul", name, x=x, y=y)


def real_div(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Quotient x / y."""
    return _one("real_div", name, x=x, y=y)


def maximum(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """The larger of x and y."""
    return _one("maximum", name, x=x, y=y)


def minimum(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """The smaller of x and y."""
    return _one("minimum", name, x=x, y=y)


def pow(x: Operand, y: Operand, *, name: str | None = None) -> Tensor:
    """Power: x to the y."""
    return _one("pow", name, x=x, y=y)


# Functions of one tensor, element by element


def abs(x: Tensor, *, name: str | None = None) -> Tensor:
    """Absolute value of x."""
    return _one("abs", name, x=x)


def exp(x: Tensor, *, name: str | None = None) -> Tensor:
    """Exponential of x; infinite in fp16 from x = 11.09 on."""
    return _one("exp", name, x=x)


def gelu(
    x: Tensor,
    mode: Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"] = "EXACT",
    *,
    name: str | None = None,
) -> Tensor:
    """Product x Phi(x), Phi being the normal distribution function or an approximation of it.

    Hendrycks & Gimpel 2016.
    """
    return _one("gelu", name, x=x, mode=mode)


def log(x: Tensor, epsilon: float = 0.0, *, name: str | None = None) -> Tensor:
    """The natural logarithm of x + epsilon."""
    return _one("log", name, x=x, epsilon=epsilon)


def relu(x: Tensor, *, name: str | None = None) -> Tensor:
    """Maximum of x and 0."""
    return _one("relu", name, x=x)


def rsqrt(x: Tensor, epsilon: float = 0.0, *, name: str | None = None) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return _one("rsqrt", name, x=x, epsilon=epsilon)


def sigmoid(x: Tensor, *, name: str | None = None) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _one("sigmoid", name, x=x)


def silu(x: Tensor, *, name: str | None = None) -> Tensor:
    """Product x sigmoid(x)."""
    return _one("silu", name, x=x)


def sqrt(x: Tensor, *, name: str | None = None) -> Tensor:
    """The square root of x."""
    return _one("sqrt", name, x=x)


def square(x: Tensor, *, name: str | None = None) -> Tensor:
    """Product x * x."""
    return _one("square", name, x=x)


def tanh(x: Tensor, *, name: str | None = None) -> Tensor:
    """The hyperbolic tangent of x."""
    return _one("tanh", name, x=x)


# Along axes; negative axes count from the end


def softmax(x: Tensor, axis: int = -1, *, name: str | None = None) -> Tensor:
    """Softmax along `axis`: exp(x - max(x)) divided by its sum."""
    return _one("softmax", name, x=x, axis=axis)


def reduce_sum(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The sum over `axes`, which stay as 1 or go."""
    return _one("reduce_sum", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_mean(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The mean over `axes`, which stay as 1 or go."""
    return _one("reduce_mean", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_max(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The maximum over `axes`, which stay as 1 or go."""
    return _one("reduce_max", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_min(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The minimum over `axes`, which stay as 1 or go."""
    return _one("reduce_min", name, x=x, axes=axes, keep_dims=keep_dims)


def layer_norm(
    x: Tensor,
    axes: Sequence[int],
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *,
    name: str | None = None,
) -> Tensor:
    """Layer normalisation: (x - mean) / sqrt(variance + epsilon) over `axes`, times gamma, plus beta.

    gamma and beta have the sizes of the axes. (Ba, Kiros & Hinton 2016)
    """
    return _one("layer_norm", name, x=x, axes=axes, gamma=gamma, beta=beta, epsilon=epsilon)


# Shapes


def reshape(x: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
    """The same elements, row by row, as `shape`; one axis may be -1."""
    return _one("reshape", name, x=x, shape=shape)


def transpose(x: Tensor, perm: Sequence[int], *, name: str | None = None) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return _one("transpose", name, x=x, perm=perm)


def expand_dims(x: Tensor, axes: Sequence[int], *, name: str | None = None) -> Tensor:
    """Add an axis of size 1 at each of the result's `axes`."""
    return _one("expand_dims", name, x=x, axes=axes)


def squeeze(x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
    """Drop `axes`, which must have size 1; every such axis if none is named."""
    return _one("squeeze", name, x=x, axes=axes)


def slice_by_size(x: Tensor, begin: Sequence[int], size: Sequence[int], *, name: str | None = None) -> Tensor:
    """Take `size` elements from `begin` on, for each axis; size -1 reaches to the end."""
    return _one("slice_by_size", name, x=x, begin=begin, size=size)


def slice_by_index(
    x: Tensor,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Slice each axis as begin:end:stride.

    Where a mask is true, begin_mask and end_mask ignore the bound; squeeze_mask takes begin alone and drops
    the axis.
    """
    return _one(
        "slice_by_index",
        name,
        x=x,
        begin=begin,
        end=end,
        stride=stride,
        begin_mask=begin_mask,
        end_mask=end_mask,
        squeeze_mask=squeeze_mask,
    )


def concat(
    values: Sequence[Operand], axis: int, interleave: bool = False, *, name: str | None = None
) -> Tensor:
    """Tensors joined along `axis`; interleaved, they take turns, one index each."""
    return _one("concat", name, values=values, axis=axis, interleave=interleave)


def split(x: Tensor, num_splits: int, axis: int, *, name: str | None = None) -> tuple[Tensor, ...]:
    """Cut x into `num_splits` equal parts along `axis`."""
    return apply("split", name, x=x, num_splits=num_splits, axis=axis)


# Element types


def cast(x: Tensor, dtype: DType, *, name: str | None = None) -> Tensor:
    """Convert x to `dtype`, from or to fp16."""
    return _one("cast", name, x=x, dtype=dtype)


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
    return _one(
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
    return _one("dequantize", name, input=x, scale=scale, zero_point=zero_point, axis=axis)


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
    return _one(
        "constexpr_affine_dequantize",
        name,
        quantized_data=data,
        zero_point=zero_point,
        scale=scale,
        axis=axis,
    )
