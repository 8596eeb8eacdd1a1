"""Convolutions, matrix products and attention."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .rounding import ELEMENTARY, UNIT, Array, Expected, doubles

# Contracts two arrays by an equation of einsum: the sums, and those of the products' magnitudes.
Contract = Callable[[str, Array, Array], tuple[Array, Array]]


def in_doubles(equation: str, x: Array, y: Array) -> tuple[Array, Array]:
    return np.einsum(equation, x, y), np.einsum(equation, np.abs(x), np.abs(y))


@np.errstate(all="ignore")
def matmul(
    x: NDArray,
    y: NDArray,
    transpose_x: bool = False,
    transpose_y: bool = False,
    contract: Contract = in_doubles,
) -> Expected:
    x, y = doubles(x, y)
    x, y = x.swapaxes(-1, -2) if transpose_x else x, y.swapaxes(-1, -2) if transpose_y else y
    value, size = contract("...ik,...kj->...ij", x, y)
    return Expected(value, x.shape[-1] * UNIT * size)


@np.errstate(all="ignore")
def linear(
    x: NDArray, weight: NDArray, bias: NDArray | None = None, contract: Contract = in_doubles
) -> Expected:
    value, size = contract("...k,ok->...o", *doubles(x, weight))
    return _started(value, x.shape[-1] * UNIT * size, bias, -1)


def _started(value: NDArray, error: NDArray, bias: NDArray | None, axis: int) -> Expected:
    """Add the bias along `axis` before the one rounding."""
    if bias is None:
        return Expected(value, error)
    offset = np.asarray(bias, np.float64).reshape(-1, *[1] * (value.ndim - 1 - axis % value.ndim))
    return Expected(value + offset, error + UNIT * (np.abs(value) + np.abs(offset) + error))


@np.errstate(all="ignore")
def conv(
    x: NDArray,
    weight: NDArray,
    strides: Sequence[int] | None = None,
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    bias: NDArray | None = None,
    contract: Contract = in_doubles,
) -> Expected:
    x, weight = doubles(x, weight)
    out_channels, in_channels, *kernel = weight.shape
    axes = range(len(kernel))
    strides, dilations, pad = strides or [1] * len(kernel), dilations or [1] * len(kernel), pad or [0] * 6
    padded = np.pad(x, ((0, 0), (0, 0), *((pad[2 * i], pad[2 * i + 1]) for i in axes)))
    positions = [(padded.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in axes]
    value = np.zeros((x.shape[0], out_channels, *positions))
    size = np.zeros_like(value)
    for tap in itertools.product(*map(range, kernel)):
        first = [tap[i] * dilations[i] for i in axes]
        places = [slice(first[i], first[i] + (positions[i] - 1) * strides[i] + 1, strides[i]) for i in axes]
        for group in range(groups):
            channels = slice(group * in_channels, (group + 1) * in_channels)
            outs = slice(group * out_channels // groups, (group + 1) * out_channels // groups)
            seen, factors = padded[(slice(None), channels, *places)], weight[(outs, slice(None), *tap)]
            sums, sizes = contract("nc...,oc->no...", seen, factors)
            value[:, outs] += sums
            size[:, outs] += sizes
    return _started(value, in_channels * math.prod(kernel) * UNIT * size, bias, 1)


@np.errstate(all="ignore")
def conv_transpose(
    x: NDArray,
    weight: NDArray,
    extents: Sequence[int],
    strides: Sequence[int] | None = None,
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    bias: NDArray | None = None,
    contract: Contract = in_doubles,
) -> Expected:
    """Add each element of x times the kernel to the result, which is `extents` large once the
    padding is cut off."""
    x, weight = doubles(x, weight)
    in_channels, out_channels, *kernel = weight.shape
    axes = range(len(kernel))
    strides, dilations, pad = strides or [1] * len(kernel), dilations or [1] * len(kernel), pad or [0] * 6
    whole = [
        max((x.shape[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1, pad[2 * i] + extents[i])
        for i in axes
    ]
    value = np.zeros((x.shape[0], out_channels * groups, *whole))
    size = np.zeros_like(value)
    for tap in itertools.product(*map(range, kernel)):
        first = [tap[i] * dilations[i] for i in axes]
        places = [slice(first[i], first[i] + (x.shape[2 + i] - 1) * strides[i] + 1, strides[i]) for i in axes]
        for group in range(groups):
            channels = slice(group * in_channels // groups, (group + 1) * in_channels // groups)
            outs = slice(group * out_channels, (group + 1) * out_channels)
            seen, factors = x[:, channels], weight[(channels, slice(None), *tap)]
            at = (slice(None), outs, *places)
            sums, sizes = contract("nc...,co->no...", seen, factors)
            value[at] += sums
            size[at] += sizes
    kept = tuple(slice(pad[2 * i], pad[2 * i] + extents[i]) for i in axes)
    terms = in_channels // groups * math.prod(kernel)
    return _started(value[(..., *kept)], terms * UNIT * size[(..., *kept)], bias, 1)


@np.errstate(all="ignore")
def einsum(x: NDArray, y: NDArray, contract: Contract = in_doubles) -> Expected:
    value, size = contract("...chw,...whu->...chu", *doubles(x, y))
    return Expected(value, x.shape[-1] * UNIT * size)


@np.errstate(all="ignore")
def attention(query: NDArray, key: NDArray, value: NDArray, mask: NDArray | None = None) -> Expected:
    query, key, value = doubles(query, key, value)
    features, length = query.shape[-1], key.shape[-2]
    offset = np.zeros(()) if mask is None else np.asarray(mask, np.float64)
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(features) + offset
    sizes = np.abs(query) @ np.abs(key).swapaxes(-1, -2) / math.sqrt(features) + np.abs(offset)
    below = scores - scores.max(-1, keepdims=True)
    powers = np.exp(below)
    weights = powers / powers.sum(-1, keepdims=True)
    # A score that errs by e changes its weight by a factor of exp(e), and all weights by their sum's at most.
    wrong = np.where(weights > 0, (features + 6) * UNIT * sizes - UNIT * below, 0.0)
    wrong = wrong + wrong.max(-1, keepdims=True) + (length + 2) * UNIT + 2 * ELEMENTARY
    size = (weights * np.exp(wrong)) @ np.abs(value)
    return Expected(weights @ value, (weights * np.expm1(wrong)) @ np.abs(value) + length * UNIT * size)
