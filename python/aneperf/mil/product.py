"""Products, arithmetic and comparisons.

An operation adds itself to the builder of its operands and returns its result.

An operand is a tensor, a Python number (a constant of the other operand's dtype) or a numpy array (whose
floats are rounded to the other operand's dtype). Types and shapes are checked at once: CompileError says what
the engine does not take, ArgumentError what cannot be a constant. A result is called name=, or after its
operation.
"""

from __future__ import annotations

from collections.abc import Sequence

from .call import apply_one
from .graph import Operand, Tensor
from .types import PadType

# Convolution and matrix products


def conv(
    x: Tensor,
    weight: Operand,
    *,
    strides: Sequence[int] = (1, 1),
    pad_type: PadType = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    name: str | None = None,
) -> Tensor:
    """Convolution: x [N, C, H, W], weight [O, C / groups, kH, kW] -> [N, O, H', W'].

    `pad` is (top, bottom, left, right) and needs pad_type "custom". The engine takes no bias: add it.
    """
    return apply_one(
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


def conv_transpose(
    x: Tensor,
    weight: Operand,
    *,
    strides: Sequence[int] = (1, 1),
    pad_type: PadType = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    output_shape: Sequence[int] | None = None,
    name: str | None = None,
) -> Tensor:
    """The transpose of `conv` with the same arguments, which also is its gradient.

    x [N, C, H, W], constant weight [C, O / groups, kH, kW] -> [N, O, H', W']. H' is (H - 1) stride plus the
    reach of the kernel, less `pad`; for "same", H stride. Where `conv` takes several sizes to H, such as
    strides above 1, `output_shape` [N, O, H', W'] may name any of them. The engine takes no bias: add it.
    """
    return apply_one(
        "conv_transpose",
        name,
        x=x,
        weight=weight,
        strides=strides,
        pad_type=pad_type,
        pad=pad,
        dilations=dilations,
        groups=groups,
        output_shape=output_shape,
    )


def matmul(
    x: Operand, y: Operand, *, transpose_x: bool = False, transpose_y: bool = False, name: str | None = None
) -> Tensor:
    """Matrix product over the last two axes: x [..., M, K], y [..., K, N] -> [..., M, N]."""
    return apply_one("matmul", name, x=x, y=y, transpose_x=transpose_x, transpose_y=transpose_y)


def einsum(
    values: Sequence[Operand], equation: str = "nchw,nwhu->nchu", *, name: str | None = None
) -> Tensor:
    """Matrix products over axes -1 of the first and -3 of the second value.

    [N, C, H, W], [N, W, H, U] -> [N, C, H, U], or "chw,whu->chu" without N; any letters will do. N and H
    broadcast.
    """
    return apply_one("einsum", name, values=values, equation=equation)


def linear(x: Tensor, weight: Operand, bias: Operand | None = None, *, name: str | None = None) -> Tensor:
    """Product with a constant matrix: x [..., I], weight [O, I], bias [O] -> x weight^T + bias [..., O]."""
    return apply_one("linear", name, x=x, weight=weight, bias=bias)


def scaled_dot_product_attention(
    query: Operand, key: Operand, value: Operand, attn_mask: Operand | None = None, *, name: str | None = None
) -> Tensor:
    """Attention: softmax(query key^T / sqrt(E) + mask) value.

    query [..., L, E], key [..., S, E], value [..., S, V] -> [..., L, V].

    `attn_mask` broadcasts to [..., L, S]; engines are known that ignore it. Needs opset ios18.
    """
    return apply_one(
        "scaled_dot_product_attention", name, query=query, key=key, value=value, attn_mask=attn_mask
    )
