"""Convolutions, matrix products, attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .reduction import softmax
from .window import padding, windows

Array = NDArray[Any]


def conv(
    x: Array, weight: Array, strides: Array, pad_type: str, pad: Array, dilations: Array, groups: Array
) -> Array:
    """Convolution: x [N, C, H, W], weight [O, C / groups, kH, kW] -> [N, O, H', W']."""
    kernel = weight.shape[2:]
    edges = padding(x.shape[2:], kernel, strides, dilations, pad_type, pad)
    seen = windows(np.pad(x, ((0, 0), (0, 0), *edges)), kernel, strides, dilations)
    parts = zip(np.split(seen, int(groups), 1), np.split(weight, int(groups), 0), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", part, factors) for part, factors in parts], 1)


def conv_transpose(
    x: Array,
    weight: Array,
    strides: Array,
    pad_type: str,
    pad: Array,
    dilations: Array,
    groups: Array,
    output_shape: Array | None = None,
) -> Array:
    """The transpose of `conv`: a convolution of x, its elements set apart, with the kernel turned around."""
    kernel, steps, apart = weight.shape[2:], [int(s) for s in strides], [int(d) for d in dilations]
    spread = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], steps, strict=True)]
    reach = [(taps - 1) * gap for taps, gap in zip(kernel, apart, strict=True)]
    if output_shape is not None:
        extents = [int(size) for size in output_shape[-2:]]
    elif pad_type == "same":
        extents = [size * step for size, step in zip(x.shape[2:], steps, strict=True)]
    else:
        edges = padding(x.shape[2:], kernel, strides, dilations, pad_type, pad)
        extents = [a + b - sum(edge) for a, b, edge in zip(spread, reach, edges, strict=True)]
    edges = padding(extents, kernel, strides, dilations, pad_type, pad)
    # Zeros around x, so that the result begins behind the padding and has its extents.
    size = [e + before + r for e, (before, _), r in zip(extents, edges, reach, strict=True)]
    around = np.zeros(
        (*x.shape[:2], *(max(s, n + 2 * r) for s, n, r in zip(size, spread, reach, strict=True)))
    )
    rows, columns = (slice(r, r + n, step) for r, n, step in zip(reach, spread, steps, strict=True))
    around[:, :, rows, columns] = x
    (top, _), (left, _) = edges
    seen = windows(around[:, :, top : size[0], left : size[1]], kernel, (1, 1), dilations)
    turned = weight[:, :, ::-1, ::-1]
    parts = zip(np.split(seen, int(groups), 1), np.split(turned, int(groups), 0), strict=True)
    return np.concatenate([np.einsum("nchwij,coij->nohw", part, factors) for part, factors in parts], 1)


def einsum(values: Sequence[Array], equation: str) -> Array:
    """Sums of products over shared letters."""
    result: Array = np.einsum(equation, *values)
    return result


def matmul(x: Array, y: Array, transpose_x: Any = False, transpose_y: Any = False) -> Array:
    """Matrix product over the last two axes."""
    return (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Product with a matrix: x [..., I], weight [O, I], bias [O] -> [..., O]."""
    return x @ weight.T + (0 if bias is None else bias)


def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None = None
) -> Array:
    """Attention: softmax(query key^T / sqrt(E) + mask) value."""
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    attended: Array = softmax(scores + (0 if attn_mask is None else attn_mask), -1) @ value
    return attended


OPERATIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (conv, conv_transpose, einsum, matmul, linear, scaled_dot_product_attention)
}
