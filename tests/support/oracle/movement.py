"""Moving elements without computing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def slice_by_index(
    x: NDArray,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int],
    begin_mask: Sequence[bool],
    end_mask: Sequence[bool],
    squeeze_mask: Sequence[bool],
) -> NDArray:
    index: list[int | slice] = []
    for first, last, step, from_start, to_end, drop in zip(
        begin, end, stride, begin_mask, end_mask, squeeze_mask, strict=True
    ):
        first = 0 if from_start else first
        index.append(first if drop else slice(first, None if to_end else last, step))
    return x[tuple(index)]


def slice_by_size(x: NDArray, begin: Sequence[int], size: Sequence[int]) -> NDArray:
    ends = [None if count == -1 else first + count for first, count in zip(begin, size, strict=True)]
    return x[tuple(slice(first, end) for first, end in zip(begin, ends, strict=True))]


def concat(values: Sequence[NDArray], axis: int, interleave: bool = False) -> NDArray:
    if not interleave:
        return np.concatenate(values, axis)
    axis %= values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


def space_to_batch(x: NDArray, block: Sequence[int], paddings: Sequence[Sequence[int]]) -> NDArray:
    x = np.pad(x, ((0, 0), (0, 0), *map(tuple, paddings)))
    parts = [x[:, :, i :: block[0], j :: block[1]] for i in range(block[0]) for j in range(block[1])]
    return np.concatenate(parts)


def batch_to_space(x: NDArray, block: Sequence[int], crops: Sequence[Sequence[int]]) -> NDArray:
    parts = np.split(x, block[0] * block[1])
    n, c, h, w = parts[0].shape
    whole = np.zeros((n, c, h * block[0], w * block[1]), x.dtype)
    for index, part in enumerate(parts):
        whole[:, :, index // block[1] :: block[0], index % block[1] :: block[1]] = part
    rows, columns = (slice(a, size - b) for (a, b), size in zip(crops, whole.shape[2:], strict=True))
    return whole[:, :, rows, columns]
