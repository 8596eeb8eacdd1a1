"""Move elements: shapes, slices, joins, shuffles, sorting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operation import Reference

Array = NDArray[Any]


def _integers(values: Sequence[Any] | Array) -> list[int]:
    return [int(value) for value in values]


def reshape(x: Array, shape: Array) -> Array:
    """Give the elements, in row-major order, another shape."""
    return x.reshape(_integers(shape))


def transpose(x: Array, perm: Array) -> Array:
    """Permute the axes: axis i of the result is axis perm[i] of x."""
    return x.transpose([axis % x.ndim for axis in _integers(perm)])


def expand_dims(x: Array, axes: Array) -> Array:
    """Add axes of size 1 at these axes of the result."""
    return np.expand_dims(x, tuple(_integers(axes)))


def squeeze(x: Array, axes: Array | None = None) -> Array:
    """Drop these axes of size 1, or all."""
    return x.squeeze(None if axes is None else tuple(_integers(axes)))


def slice_by_size(x: Array, begin: Array, size: Array) -> Array:
    """Take `size` elements from `begin` on; -1 takes the rest."""
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
    """Slice each axis as begin:end:stride, with the exceptions of the masks."""
    index: list[int | slice] = []
    for axis, (first, last) in enumerate(zip(_integers(begin), _integers(end), strict=True)):
        if squeeze_mask is not None and squeeze_mask[axis]:
            index.append(first)
            continue
        start = None if begin_mask is not None and begin_mask[axis] else first
        stop = None if end_mask is not None and end_mask[axis] else last
        index.append(slice(start, stop, None if stride is None else int(stride[axis])))
    return x[tuple(index)]


def concat(values: Sequence[Array], axis: Any, interleave: Any) -> Array:
    """Join along `axis`; interleaved, the values take turns."""
    if not interleave:
        return np.concatenate(values, int(axis))
    at = int(axis) % values[0].ndim
    shape = list(values[0].shape)
    shape[at] *= len(values)
    return np.stack(values, at + 1).reshape(shape)


def split(x: Array, axis: Any, num_splits: Any = None, split_sizes: Array | None = None) -> tuple[Array, ...]:
    """Cut into equal parts along `axis`, or into parts of `split_sizes`."""
    if split_sizes is None:
        return tuple(np.split(x, int(num_splits), int(axis)))
    return tuple(np.split(x, np.cumsum(_integers(split_sizes))[:-1], int(axis)))


def flatten2d(x: Array, axis: Any) -> Array:
    """Merge the axes before `axis` into one, and the others into a second."""
    return x.reshape(int(np.prod(x.shape[: int(axis)])), -1)


def reverse(x: Array, axes: Array | None = None) -> Array:
    """Reverse the order along `axes`, or along all."""
    return np.flip(x, None if axes is None else tuple(_integers(axes)))


def pad(x: Array, pad: Array, mode: str, constant_val: Any) -> Array:
    """Add elements around the last axes."""
    sides = np.asarray(pad).reshape(-1, 2).tolist()
    widths = [(0, 0)] * (x.ndim - len(sides)) + [(int(before), int(after)) for before, after in sides]
    if mode == "constant":
        return np.pad(x, widths, constant_values=float(constant_val))
    return np.pad(x, widths, "reflect" if mode == "reflect" else "edge")


def crop(x: Array, crop_height: Array, crop_width: Array) -> Array:
    """Drop (top, bottom) and (left, right) elements of the last two axes."""
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
    """Make an image of the batch from each position in blocks of height and width."""
    (tall, wide), around = _integers(block_shape), np.asarray(paddings)
    x = np.pad(x, ((0, 0), (0, 0), *map(tuple, around)))
    n, c, h, w = x.shape
    places = x.reshape(n, c, h // tall, tall, w // wide, wide).transpose(3, 5, 0, 1, 2, 4)
    return places.reshape(tall * wide * n, c, h // tall, w // wide)


def batch_to_space(x: Array, block_shape: Array, crops: Array) -> Array:
    """Invert `space_to_batch`, then drop the crops."""
    tall, wide = _integers(block_shape)
    n, c, h, w = x.shape
    places = x.reshape(tall, wide, n // (tall * wide), c, h, w).transpose(2, 3, 4, 0, 5, 1)
    whole = places.reshape(n // (tall * wide), c, h * tall, w * wide)
    (top, bottom), (left, right) = np.asarray(crops)
    return whole[:, :, top : h * tall - bottom, left : w * wide - right]


def topk(
    x: Array,
    k: Any,
    axis: Any,
    ascending: Any,
    output_indices_dtype: str | None = None,
    sort: Any = True,
    return_indices: Any = True,
) -> tuple[Array, ...]:
    """Return the largest elements along `axis`, the first of equal ones first, and their indices."""
    order = np.argsort(x if ascending else -x, int(axis), kind="stable")
    places = np.take(order, np.arange(int(k)), int(axis))
    largest = np.take_along_axis(x, places, int(axis))
    return (largest, places) if return_indices else (largest,)


def gather(
    x: Array, indices: Array, axis: Any = 0, batch_dims: Any = 0, validate_indices: Any = False
) -> Array:
    """Take elements along an axis; the first `batch_dims` axes of x and indices go together."""
    batch, axis = int(batch_dims), int(axis) % x.ndim
    if not batch:
        return x.take(indices, axis)
    pairs = zip(x, indices, strict=True)
    return np.stack([gather(each, index, axis - 1, batch - 1) for each, index in pairs])


def gather_along_axis(x: Array, indices: Array, axis: Any = 0, validate_indices: Any = False) -> Array:
    """Take the element that each index names along an axis."""
    return np.take_along_axis(x, indices.astype(np.intp), int(axis))


OPERATIONS: dict[str, Reference] = {
    "gather": Reference(gather, {"indices": np.array([[3, 0], [31, 3]]), "axis": 3}, exact=True),
    "gather_along_axis": Reference(
        gather_along_axis,
        {"indices": np.arange(1 * 40 * 4 * 32).reshape(1, 40, 4, 32) * 7 % 32, "axis": 1},
        exact=True,
    ),
    "reshape": Reference(reshape, {"shape": [1, 64, 2, 32]}, exact=True),
    "transpose": Reference(transpose, {"perm": [0, 3, 2, 1]}, exact=True),
    "expand_dims": Reference(expand_dims, {"axes": [2]}, exact=True),
    "squeeze": Reference(squeeze, {"axes": [0]}, exact=True),
    "slice_by_size": Reference(slice_by_size, {"begin": [0, 8, 0, 0], "size": [1, 16, 4, 32]}, exact=True),
    "slice_by_index": Reference(
        slice_by_index, {"begin": [0, 8, 0, 0], "end": [1, 32, 4, 32], "stride": [1, 2, 1, 1]}, exact=True
    ),
    "space_to_batch": Reference(
        space_to_batch, {"block_shape": (2, 2), "paddings": ((1, 1), (0, 0))}, exact=True
    ),
    "batch_to_space": Reference(
        batch_to_space,
        {"block_shape": (2, 2), "crops": ((1, 1), (0, 0))},
        shapes=((4, 8, 4, 32),),
        exact=True,
    ),
    "concat": Reference(concat, {"axis": 1}, exact=True),
    "split": Reference(split, {"num_splits": 2, "axis": 1}, exact=True),
    "flatten2d": Reference(flatten2d, exact=True),
    "reverse": Reference(reverse, {"axes": [1]}, exact=True),
    "pad": Reference(pad, {"pad": [1, 1, 16, 16]}, exact=True),
    "crop": Reference(crop, {"crop_height": (1, 1), "crop_width": (0, 0)}, exact=True),
    "topk": Reference(topk, {"k": 5, "axis": 1, "output_indices_dtype": "uint16"}, exact=True),
    "stack": Reference(lambda values, axis: np.stack(values, int(axis)), {"axis": 1}, exact=True),
    "tile": Reference(lambda x, reps: np.tile(x, _integers(reps)), {"reps": [1, 2, 1, 1]}, exact=True),
    "depth_to_space": Reference(
        lambda x, block_size: _to_blocks(x, block_size, slowest=True), {"block_size": 2}, exact=True
    ),
    "space_to_depth": Reference(
        lambda x, block_size: _from_blocks(x, block_size, slowest=True),
        {"block_size": 2},
        shapes=((1, 8, 4, 64),),
        exact=True,
    ),
    "pixel_shuffle": Reference(
        lambda x, upscale_factor: _to_blocks(x, upscale_factor, slowest=False),
        {"upscale_factor": 2},
        exact=True,
    ),
    "pixel_unshuffle": Reference(
        lambda x, downscale_factor: _from_blocks(x, downscale_factor, slowest=False),
        {"downscale_factor": 2},
        shapes=((1, 8, 4, 64),),
        exact=True,
    ),
}
