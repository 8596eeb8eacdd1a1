"""Convolutions, matrix products and attention."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .rounding import ELEMENTARY, UNIT, Expected, doubles


@np.errstate(all="ignore")
def matmul(x: NDArray, y: NDArray, transpose_x: bool = False, transpose_y: bool = False) -> Expected:
    x, y = doubles(x, y)
    x, y = x.swapaxes(-1, -2) if transpose_x else x, y.swapaxes(-1, -2) if transpose_y else y
    return Expected(x @ y, x.shape[-1] * UNIT * (np.abs(x) @ np.abs(y)))


@np.errstate(all="ignore")
def linear(x: NDArray, weight: NDArray, bias: NDArray | None = None) -> Expected:
    value, error = matmul(x, weight, transpose_y=True)
    offset = np.zeros(weight.shape[0]) if bias is None else np.asarray(bias, np.float64)
    return Expected(value + offset, error + UNIT * (np.abs(value) + np.abs(offset) + error))


@np.errstate(all="ignore")
def conv(
    x: NDArray,
    weight: NDArray,
    strides: Sequence[int] = (1, 1),
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Expected:
    x, weight = doubles(x, weight)
    padded = np.pad(x, ((0, 0), (0, 0), tuple(pad[:2]), tuple(pad[2:])))
    out_channels, in_channels, *kernel = weight.shape
    positions = [
        (padded.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(2)
    ]
    value = np.zeros((x.shape[0], out_channels, *positions))
    size = np.zeros_like(value)
    for tap in product(*map(range, kernel)):
        first = [tap[i] * dilations[i] for i in range(2)]
        rows, columns = (
            slice(first[i], first[i] + (positions[i] - 1) * strides[i] + 1, strides[i]) for i in range(2)
        )
        for group in range(groups):
            channels = slice(group * in_channels, (group + 1) * in_channels)
            outs = slice(group * out_channels // groups, (group + 1) * out_channels // groups)
            seen, factors = padded[:, channels, rows, columns], weight[outs, :, tap[0], tap[1]]
            value[:, outs] += np.einsum("nchw,oc->nohw", seen, factors)
            size[:, outs] += np.einsum("nchw,oc->nohw", np.abs(seen), np.abs(factors))
    return Expected(value, in_channels * math.prod(kernel) * UNIT * size)


@np.errstate(all="ignore")
def conv_transpose(
    x: NDArray,
    weight: NDArray,
    extents: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Expected:
    """Add each element of x times the kernel to the result, which is `extents` large once the
    padding is cut off."""
    x, weight = doubles(x, weight)
    in_channels, out_channels, *kernel = weight.shape
    whole = [
        max((x.shape[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1, pad[2 * i] + extents[i])
        for i in range(2)
    ]
    value = np.zeros((x.shape[0], out_channels * groups, *whole))
    size = np.zeros_like(value)
    for tap in product(*map(range, kernel)):
        rows, columns = (
            slice(
                tap[i] * dilations[i],
                tap[i] * dilations[i] + (x.shape[2 + i] - 1) * strides[i] + 1,
                strides[i],
            )
            for i in range(2)
        )
        for group in range(groups):
            channels = slice(group * in_channels // groups, (group + 1) * in_channels // groups)
            outs = slice(group * out_channels, (group + 1) * out_channels)
            seen, factors = x[:, channels], weight[channels, :, tap[0], tap[1]]
            value[:, outs, rows, columns] += np.einsum("nchw,co->nohw", seen, factors)
            size[:, outs, rows, columns] += np.einsum("nchw,co->nohw", np.abs(seen), np.abs(factors))
    kept = tuple(slice(pad[2 * i], pad[2 * i] + extents[i]) for i in range(2))
    terms = in_channels // groups * math.prod(kernel)
    return Expected(value[(..., *kept)], terms * UNIT * size[(..., *kept)])


@np.errstate(all="ignore")
def einsum(x: NDArray, y: NDArray) -> Expected:
    x, y = doubles(x, y)
    equation = "...chw,...whu->...chu"
    return Expected(np.einsum(equation, x, y), x.shape[-1] * UNIT * np.einsum(equation, np.abs(x), np.abs(y)))


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
