"""Multiply: convolutions, matrix products, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .operation import Reference, weights
from .reduction import softmax
from .window import padding, per_axis, windows

Array: TypeAlias = Any  # a numpy array; numpy's own types do not know indices of any length


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: Any = 1,
) -> Array:
    """Convolve: x [N, C, ...], weight [O, C / groups, kernel...] -> [N, O, ...]."""
    kernel = weight.shape[2:]
    steps, apart = per_axis(strides, kernel), per_axis(dilations, kernel)
    edges = padding(x.shape[2:], kernel, steps, apart, pad_type, pad)
    seen = windows(np.pad(x, ((0, 0), (0, 0), *edges)), kernel, steps, apart)
    return _sum_taps(seen, weight, int(groups), False) + _over_channels(bias, x.ndim)


def _sum_taps(seen: Array, weight: Array, groups: int, inputs_first: bool) -> Array:
    """Multiply the windows [N, C, ..., kernel...] of each group with its weights, and add."""
    axes = range(2, weight.ndim)
    taps = [axis + len(axes) for axis in axes]
    factors = np.split(weight, groups, 0)
    if inputs_first:
        factors = [part.swapaxes(0, 1) for part in factors]
    parts = zip(np.split(seen, groups, 1), factors, strict=True)
    sums = [np.tensordot(part, each, ([1, *taps], [1, *axes])) for part, each in parts]
    return np.moveaxis(np.concatenate(sums, -1), -1, 1)


def _over_channels(bias: Array | None, axes: int) -> Any:
    return 0 if bias is None else bias.reshape(-1, *[1] * (axes - 2))


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: Any = 1,
    output_shape: Array | None = None,
) -> Array:
    """Apply the transpose of `conv`: convolve x, with zeros between its elements, with the rotated kernel."""
    kernel = weight.shape[2:]
    steps, apart = per_axis(strides, kernel), per_axis(dilations, kernel)
    spread = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], steps, strict=True)]
    reach = [(taps - 1) * gap for taps, gap in zip(kernel, apart, strict=True)]
    if output_shape is not None:
        extents = [int(size) for size in output_shape[2:]]
    elif pad_type.startswith("same"):
        extents = [size * step for size, step in zip(x.shape[2:], steps, strict=True)]
    else:
        edges = padding(x.shape[2:], kernel, steps, apart, pad_type, pad)
        extents = [a + b - sum(edge) for a, b, edge in zip(spread, reach, edges, strict=True)]
    edges = padding(extents, kernel, steps, apart, pad_type, pad)
    # Zeros around x make the result begin behind the padding and have its extents.
    size = [e + before + r for e, (before, _), r in zip(extents, edges, reach, strict=True)]
    around: Array = np.zeros(
        (*x.shape[:2], *(max(s, n + 2 * r) for s, n, r in zip(size, spread, reach, strict=True)))
    )
    places = (slice(r, r + n, step) for r, n, step in zip(reach, spread, steps, strict=True))
    around[(..., *places)] = x
    kept = (slice(before, end) for (before, _), end in zip(edges, size, strict=True))
    seen = windows(around[(..., *kept)], kernel, [1] * len(kernel), apart)
    rotated = np.flip(weight, tuple(range(2, weight.ndim)))
    return _sum_taps(seen, rotated, int(groups), True) + _over_channels(bias, x.ndim)


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
    "conv": Reference(
        conv, {"weight": weights(64, 32, 3, 3, scale=0.06), "bias": weights(64), "pad_type": "same"}
    ),
    "conv_transpose": Reference(
        conv_transpose, {"weight": weights(32, 16, 3, 3, scale=0.06), "strides": (2, 2), "pad_type": "same"}
    ),
    "einsum": Reference(einsum, shapes=((1, 4, 8, 32), (1, 32, 8, 64))),
    "matmul": Reference(matmul, shapes=((1, 4, 64, 32), (1, 4, 32, 64)), measured=1.9e-3),
    "linear": Reference(linear, {"weight": weights(64, 32), "bias": weights(64)}, measured=1.1e-3),
    "scaled_dot_product_attention": Reference(
        scaled_dot_product_attention, shapes=((1, 4, 32, 64), (1, 4, 64, 64), (1, 4, 64, 64)), measured=2.2e-3
    ),
}
