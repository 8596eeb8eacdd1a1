# mypy: disable-error-code=empty-body
"""Multiply: convolutions, matrix products, attention."""

from __future__ import annotations

from collections.abc import Sequence

from .call import operation
from .graph import Operand, Tensor
from .types import PadType

__all__ = ["conv", "conv_transpose", "einsum", "linear", "matmul", "scaled_dot_product_attention"]


@operation
def conv(
    x: Tensor,
    weight: Operand,
    bias: Operand | None = None,
    *,
    strides: Sequence[int] | None = None,
    pad_type: PadType = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    name: str | None = None,
) -> Tensor:
    """Convolve x [N, C, H, W] with weight [O, C / groups, kH, kW] to [N, O, H', W'], plus bias [O].

    x may also be [N, C, L] or [N, C, D, H, W], with a weight of as many axes. `strides` and `dilations` have
    a number for each axis behind C, by default 1. `pad` is (before, after) for each of them, as in (top,
    bottom, left, right), and needs pad_type "custom". The bias is a constant.
    """


@operation
def conv_transpose(
    x: Tensor,
    weight: Operand,
    bias: Operand | None = None,
    *,
    strides: Sequence[int] | None = None,
    pad_type: PadType = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    output_shape: Sequence[int] | None = None,
    name: str | None = None,
) -> Tensor:
    """Apply the transpose of `conv` with the same arguments, which is also its gradient; add bias [O].

    x is [N, C, H, W], the constant weight [C, O / groups, kH, kW], the result [N, O, H', W']; or they have
    an axis less or more. For "same" and "same_lower", H' is H times the stride; otherwise it is (H - 1) times
    the stride plus the extent of the kernel, minus `pad`. If `conv` maps several sizes to H, as with strides
    above 1, `output_shape` [N, O, H', W'] may name any of them.
    """


@operation
def matmul(
    x: Operand, y: Operand, *, transpose_x: bool = False, transpose_y: bool = False, name: str | None = None
) -> Tensor:
    """Multiply matrices over the last two axes: x [..., M, K], y [..., K, N] -> [..., M, N].

    With `transpose_x`, x is [..., K, M]; with `transpose_y`, y is [..., N, K]. The other axes broadcast.
    """


@operation
def einsum(
    values: Sequence[Operand], equation: str = "nchw,nwhu->nchu", *, name: str | None = None
) -> Tensor:
    """Multiply matrices over axis -1 of the first value and axis -3 of the second.

    The engine takes [N, C, H, W], [N, W, H, U] -> [N, C, H, U], and "chw,whu->chu" without N, with any
    letters. N and H broadcast.
    """


@operation
def linear(x: Tensor, weight: Operand, bias: Operand | None = None, *, name: str | None = None) -> Tensor:
    """Multiply by a constant matrix: x [..., I], weight [O, I], bias [O] -> x weight^T + bias [..., O]."""


@operation
def scaled_dot_product_attention(
    query: Operand, key: Operand, value: Operand, attn_mask: Operand | None = None, *, name: str | None = None
) -> Tensor:
    """Compute attention: softmax(query key^T / sqrt(E) + attn_mask) value.

    query is [..., L, E], key [..., S, E], value [..., S, V], the result [..., L, V]. `attn_mask` broadcasts
    to [..., L, S]; some engines ignore it. Needs opset ios18.
    """
