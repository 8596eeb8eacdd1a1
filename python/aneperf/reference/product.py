"""Multiply: convolutions, matrix products, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operation import Reference, weights
from .reduction import softmax
from .window import padding, windows

Array = NDArray[Any]


def conv(
    x: Array, weight: Array, strides: Array, pad_type: str, pad: Array, dilations: Array, groups: Array
) -> Array:
    """Convolve: x [N, C, H, W], weight [O, C / groups, kH, kW] -> [N, O, H', W']."""
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
    """Apply the transpose of `conv`: convolve x, with zeros between its elements, with the rotated kernel."""
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
    # Zeros around x make the result begin behind the padding and have its extents.
    size = [e + before + r for e, (before, _), r in zip(extents, edges, reach, strict=True)]
    around = np.zeros(
        (*x.shape[:2], *(max(s, n + 2 * r) for s, n, r in zip(size, spread, reach, strict=True)))
    )
    rows, columns = (slice(r, r + n, step) for r, n, step in zip(reach, spread, steps, strict=True))
    around[:, :, rows, columns] = x
    (top, _), (left, _) = edges
    seen = windows(around[:, :, top : size[0], left : size[1]], kernel, (1, 1), dilations)
    rotated = weight[:, :, ::-1, ::-1]
    parts = zip(np.split(seen, int(groups), 1), np.split(rotated, int(groups), 0), strict=True)
    return np.concatenate([np.einsum("nchwij,coij->nohw", part, factors) for part, factors in parts], 1)


def einsum(values: Sequence[Array], equation: str) -> Array:
    """Sum products over shared letters."""
    result: Array = np.einsum(equation, *values)
    return result


def matmul(x: Array, y: Array, transpose_x: Any, transpose_y: Any) -> Array:
    """Multiply matrices over the last two axes."""
    return (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Multiply by a matrix: x [..., I], weight [O, I], bias [O] -> [..., O]."""
    return x @ weight.T + (0 if bias is None else bias)


def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None = None
) -> Array:
    """Compute attention: softmax(query key^T / sqrt(E) + mask) value."""
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    attended: Array = softmax(scores + (0 if attn_mask is None else attn_mask), -1) @ value
    return attended


OPERATIONS: dict[str, Reference] = {
    "conv": Reference(conv, {"weight": weights(64, 32, 3, 3, scale=0.06), "pad_type": "same"}),
    "conv_transpose": Reference(
        conv_transpose, {"weight": weights(32, 16, 3, 3, scale=0.06), "strides": (2, 2), "pad_type": "same"}
    ),
    "einsum": Reference(einsum, shapes=((1, 4, 8, 32), (1, 32, 8, 64))),
    "matmul": Reference(matmul, shapes=((1, 4, 64, 32), (1, 4, 32, 64)), measured=1.9e-3),
    "linear": Reference(linear, {"weight": weights(64, 32), "bias": weights(64)}, measured=1.1e-3),
    "scaled_dot_product_attention": Reference(
        scaled_dot_product_attention, shapes=((1, 4, 32, 64), (1, 4, 64, 64), (1, 4, 64, 64))
    ),
}
