"""Operations that move elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _integers(values: Sequence[Any] | Array) -> list[int]:
    return [int(value) for value in values]


def reshape(x: Array, shape: Array) -> Array:
    """The same elements, row by row."""
    return x.reshape(_integers(shape))


def transpose(x: Array, perm: Array) -> Array:
    """Axis i of the result is axis perm[i] of x."""
    return x.transpose([axis % x.ndim for axis in _integers(perm)])


def expand_dims(x: Array, axes: Array) -> Array:
    """Axes of size 1 at these places of the result."""
    return np.expand_dims(x, tuple(_integers(axes)))


def squeeze(x: Array, axes: Array | None = None) -> Array:
    """Without these axes of size 1, or without any."""
    return x.squeeze(None if axes is None else tuple(_integers(axes)))


def slice_by_size(x: Array, begin: Array, size: Array) -> Array:
    """`size` elements from `begin` on, -1 being all."""
    pairs = zip(_integers(begin), _integers(size), strict=True)
    return x[tuple(slice(first, None if count == -1 else first + count) for first, count in pairs)]


def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """Each axis as begin:end:stride, as far as the masks do not say otherwise."""
    index: list[int | slice] = []
    for axis, (first, last) in enumerate(zip(_integers(begin), _integers(end), strict=True)):
        if squeeze_mask is not None and squeeze_mask[axis]:
            index.append(first)
            continue
        start = None if begin_mask is not None and begin_mask[axis] else first
        stop = None if end_mask is not None and end_mask[axis] else last
        index.append(slice(start, stop, None if stride is None else int(stride[axis])))
    return x[tuple(index)]


def concat(values: Sequence[Array], axis: Any, interleave: Any = False) -> Array:
    """Joined along `axis`, or taking turns."""
    if not interleave:
        return np.concatenate(values, int(axis))
    at = int(axis) % values[0].ndim
    shape = list(values[0].shape)
    shape[at] *= len(values)
    return np.stack(values, at + 1).reshape(shape)


def split(x: Array, num_splits: Any, axis: Any) -> tuple[Array, ...]:
    """Equal parts along `axis`."""
    return tuple(np.split(x, int(num_splits), int(axis)))


def flatten2d(x: Array, axis: Any = 1) -> Array:
    """The axes before `axis` as one, the others as another."""
    return x.reshape(int(np.prod(x.shape[: int(axis)])), -1)


def reverse(x: Array, axes: Array | None = None) -> Array:
    """In opposite order along `axes`, or all."""
    return np.flip(x, None if axes is None else tuple(_integers(axes)))


def pad(x: Array, pad: Array, mode: str, constant_val: Any = 0.0) -> Array:
    """Elements around the last axes."""
    sides = np.asarray(pad).reshape(-1, 2).tolist()
    widths = [(0, 0)] * (x.ndim - len(sides)) + [(int(before), int(after)) for before, after in sides]
    if mode == "constant":
        return np.pad(x, widths, constant_values=float(constant_val))
    return np.pad(x, widths, "reflect" if mode == "reflect" else "edge")


def crop(x: Array, crop_height: Array, crop_width: Array) -> Array:
    """Without (top, bottom) and (left, right) elements of the last two axes."""
    (top, bottom), (left, right) = _integers(crop_height), _integers(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _to_blocks(x: Array, block: Any, slowest: bool) -> Array:
    b, (n, channels, h, w) = int(block), x.shape
    depth = channels // (b * b)
    parts = x.reshape((n, b, b, depth, h, w) if slowest else (n, depth, b, b, h, w))
    order = (0, 3, 4, 1, 5, 2) if slowest else (0, 1, 4, 2, 5, 3)
    return parts.transpose(order).reshape(n, depth, h * b, w * b)


def _from_blocks(x: Array, block: Any, slowest: bool) -> Array:
    b, (n, depth, h, w) = int(block), x.shape
    parts = x.reshape(n, depth, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if slowest else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(n, depth * b * b, h // b, w // b)


def space_to_batch(x: Array, block_shape: Array, paddings: Array) -> Array:
    """Each place in blocks of height and width becomes an image of the batch."""
    (tall, wide), around = _integers(block_shape), np.asarray(paddings)
    x = np.pad(x, ((0, 0), (0, 0), *map(tuple, around)))
    n, c, h, w = x.shape
    places = x.reshape(n, c, h // tall, tall, w // wide, wide).transpose(3, 5, 0, 1, 2, 4)
    return places.reshape(tall * wide * n, c, h // tall, w // wide)


def batch_to_space(x: Array, block_shape: Array, crops: Array) -> Array:
    """The reverse of `space_to_batch`; crops are taken off."""
    tall, wide = _integers(block_shape)
    n, c, h, w = x.shape
    places = x.reshape(tall, wide, n // (tall * wide), c, h, w).transpose(2, 3, 4, 0, 5, 1)
    whole = places.reshape(n // (tall * wide), c, h * tall, w * wide)
    (top, bottom), (left, right) = np.asarray(crops)
    return whole[:, :, top : h * tall - bottom, left : w * wide - right]


def topk(
    x: Array, k: Any, axis: Any, ascending: Any = False, output_indices_dtype: str | None = None
) -> tuple[Array, Array]:
    """The largest elements along `axis` and their places; of equal ones the first."""
    order = np.argsort(x if ascending else -x, int(axis), kind="stable")
    places = np.take(order, np.arange(int(k)), int(axis))
    return np.take_along_axis(x, places, int(axis)), places


OPERATIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (reshape, transpose, expand_dims, squeeze, slice_by_size, slice_by_index)},
    **{f.__name__: f for f in (space_to_batch, batch_to_space)},
    **{f.__name__: f for f in (concat, split, flatten2d, reverse, pad, crop, topk)},
    "stack": lambda values, axis: np.stack(values, int(axis)),
    "tile": lambda x, reps: np.tile(x, _integers(reps)),
    "depth_to_space": lambda x, block_size: _to_blocks(x, block_size, slowest=True),
    "space_to_depth": lambda x, block_size: _from_blocks(x, block_size, slowest=True),
    "pixel_shuffle": lambda x, upscale_factor: _to_blocks(x, upscale_factor, slowest=False),
    "pixel_unshuffle": lambda x, downscale_factor: _from_blocks(x, downscale_factor, slowest=False),
}
