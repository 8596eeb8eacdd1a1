"""Windows: pooling, sampling between elements."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .rounding import UNIT, Array, Expected


@np.errstate(all="ignore")
def pool(
    op: str,
    x: NDArray,
    kernel: Sequence[int],
    strides: Sequence[int],
    pad: Sequence[int],
    ceil_mode: bool = False,
    exclude_padding: bool = False,
) -> Expected:
    x = np.asarray(x, np.float64)
    axes = range(len(kernel))
    positions = []
    for axis in axes:
        extent, before, after = x.shape[2 + axis], pad[2 * axis], pad[2 * axis + 1]
        free = extent + before + after - kernel[axis]
        count = (-(-free // strides[axis]) if ceil_mode else free // strides[axis]) + 1
        positions.append(count - (ceil_mode and (count - 1) * strides[axis] >= extent + before))
    value, error = np.zeros((*x.shape[:2], *positions)), np.zeros((*x.shape[:2], *positions))
    for place in itertools.product(*map(range, positions)):
        first = [place[axis] * strides[axis] - pad[2 * axis] for axis in axes]
        inside = [slice(max(0, f), f + k) for f, k in zip(first, kernel, strict=True)]
        window = x[(..., *inside)]
        full = math.prod(
            min(f + k, x.shape[2 + axis] + pad[2 * axis + 1]) - f
            for axis, (f, k) in enumerate(zip(first, kernel, strict=True))
        )
        elements = window.reshape(*x.shape[:2], -1)
        count = elements.shape[2] if exclude_padding else full
        size = elements.shape[2] + 2
        if op == "max_pool":
            value[(..., *place)] = elements.max(2)
        elif op == "avg_pool":
            value[(..., *place)] = elements.sum(2) / count
            error[(..., *place)] = size * UNIT * np.abs(elements).sum(2) / count
        else:
            value[(..., *place)] = np.sqrt((elements**2).sum(2))
            error[(..., *place)] = size * UNIT * value[(..., *place)]
    return Expected(value, error)


def same_padding(
    extents: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Return the padding of pad_type "same": ceil(extent / stride) positions, the odd element last."""
    pad = []
    for extent, taps, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        reach = (-(-extent // stride) - 1) * stride + (taps - 1) * dilation + 1
        total = max(0, reach - extent)
        pad += [total // 2, total - total // 2]
    return pad


def bilinear(x: NDArray, points: Sequence[Array]) -> Expected:
    """Sample the last two axes at `points`, which lie inside them."""
    x = np.asarray(x, np.float64)
    size = np.abs(x).max((-2, -1), keepdims=True)
    for axis, at in zip((-2, -1), points, strict=True):
        at = np.clip(at, 0, x.shape[axis] - 1)
        first = np.floor(at).astype(int)
        second = np.minimum(first + 1, x.shape[axis] - 1)
        fraction = (at - first).reshape([-1, 1] if axis == -2 else [-1])
        x = np.take(x, first, axis) * (1 - fraction) + np.take(x, second, axis) * fraction
    return Expected(x, np.broadcast_to(12 * UNIT * size, x.shape))


def grid(size: int, count: int, mode: str) -> Array:
    """Return where an axis is sampled, as coremltools documents it."""
    i = np.arange(count, dtype=np.float64)
    if mode == "DEFAULT":
        return i * size / count
    if mode == "OFFSET_CORNERS":
        return (i + 0.5) * max(1, size - 1) / count
    if mode == "UNALIGN_CORNERS":
        return (i + 0.5) * size / count - 0.5
    if count == 1:
        return np.array([(size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0])
    return i * (size - 1) / (count - 1)


@np.errstate(all="ignore")
def affine(x: NDArray, matrices: NDArray, height: int, width: int) -> Expected:
    """Sample the images, surrounded by zeros, where the matrices map a grid from -1 to 1."""
    x, matrices = np.asarray(x, np.float64), np.asarray(matrices, np.float64)
    size = np.abs(x).max((-2, -1), keepdims=True)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    column, row = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    value = np.zeros((*x.shape[:2], height, width))
    for image, (a, b, c, d, e, f) in enumerate(np.broadcast_to(matrices, (len(x), 6))):
        points = [
            np.clip((at + 1) / 2 * (extent - 1) + 1, 0, extent + 1)
            for at, extent in zip(
                (d * column + e * row + f, a * column + b * row + c), x.shape[2:], strict=True
            )
        ]
        first = [
            np.minimum(np.floor(at).astype(int), extent)
            for at, extent in zip(points, x.shape[2:], strict=True)
        ]
        fractions = [at - whole for at, whole in zip(points, first, strict=True)]
        for i, j in itertools.product(range(2), repeat=2):
            weights = [
                fraction if step else 1 - fraction for fraction, step in zip(fractions, (i, j), strict=True)
            ]
            value[image] += padded[image][:, first[0] + i, first[1] + j] * weights[0] * weights[1]
    return Expected(value, np.broadcast_to(12 * UNIT * size, value.shape))
