"""Convolutions, matrix products, attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .reductions import softmax
from .windows import padding, windows

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
    function.__name__: function for function in (conv, matmul, linear, scaled_dot_product_attention)
}
