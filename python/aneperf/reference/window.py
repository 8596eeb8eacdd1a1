"""Look through windows: pooling, resizing, affine maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .operation import Reference

Array: TypeAlias = Any  # a numpy array; numpy's own types make every reduction of one Any


def per_axis(numbers: Array | None, kernel: Sequence[int]) -> list[int]:
    """Return a number for each axis of the kernel, by default 1."""
    return [1] * len(kernel) if numbers is None else [int(number) for number in numbers]


def padding(
    extents: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pad_type: str,
    pad: Array | None,
) -> list[tuple[int, int]]:
    """Return (before, after) for each axis of the kernel; "same" gives ceil(extent / stride) positions."""
    if pad_type == "custom" and pad is not None:
        return [(int(before), int(after)) for before, after in zip(pad[::2], pad[1::2], strict=True)]
    if not pad_type.startswith("same"):
        return [(0, 0)] * len(kernel)
    edges = []
    for extent, taps, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        reach = (-(-extent // stride) - 1) * stride + (taps - 1) * dilation + 1
        total = max(0, reach - extent)
        less, more = total // 2, total - total // 2
        edges.append((less, more) if pad_type == "same" else (more, less))
    return edges


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """View every window of x [N, C, ...] as [N, C, positions..., kernel...]."""
    reach = tuple((taps - 1) * step + 1 for taps, step in zip(kernel, dilations, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, x.ndim)))
    return seen[(slice(None), slice(None), *(slice(None, None, step) for step in (*strides, *dilations)))]


def _pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None,
    pad_type: str,
    pad: Array | None,
    ceil_mode: Any,
    outside: float,
) -> tuple[Array, Array]:
    """Return the elements of every window on the last axis, and which of them count.

    Those past the padding, which `ceil_mode` lets a window reach, do not.
    """
    kernel = [int(size) for size in kernel_sizes]
    steps, ones = per_axis(strides, kernel), [1] * len(kernel)
    edges = padding(x.shape[2:], kernel, steps, ones, pad_type, pad)
    extra = [(0, 0)] * len(kernel)
    if ceil_mode:
        for axis, (before, after) in enumerate(edges):
            free = x.shape[2 + axis] + before + after - kernel[axis]
            rest = -free % steps[axis]
            starts_inside = free + rest < x.shape[2 + axis] + before
            extra[axis] = (0, rest if starts_inside else 0)
    none = [(0, 0), (0, 0)]
    values = np.pad(x, [*none, *edges], constant_values=outside)
    counted = np.pad(np.ones(values.shape, bool), [*none, *extra])
    values = np.pad(values, [*none, *extra], constant_values=outside)
    seen = (windows(each, kernel, steps, ones) for each in (values, counted))
    elements, counts = (each.reshape(*each.shape[: x.ndim], -1) for each in seen)
    return elements, counts


def max_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    ceil_mode: Any = False,
) -> Array:
    """Return the largest element of each window."""
    return _pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode, -np.inf)[0].max(-1)


def avg_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    ceil_mode: Any = False,
    exclude_padding_from_average: Any = False,
) -> Array:
    """Return the mean of each window; padding counts as zeros unless it is excluded."""
    seen, counted = _pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)
    if exclude_padding_from_average:
        ones = np.ones_like(x)
        counted = _pool(ones, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)[0]
    return seen.sum(-1) / counted.sum(-1)


def l2_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    ceil_mode: Any = False,
) -> Array:
    """Return the square root of each window's sum of squares."""
    seen, _ = _pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode, 0.0)
    return np.sqrt((seen**2).sum(-1))


def _nearest(x: Array, height: int, width: int) -> Array:
    rows = np.arange(height) * x.shape[-2] // height
    columns = np.arange(width) * x.shape[-1] // width
    return x[..., rows[:, None], columns]


def _grid(size: int, count: int, mode: str) -> Array:
    """Return the positions at which an axis of `size` elements is sampled for `count`."""
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


def _bilinear(x: Array, height: int, width: int, mode: str) -> Array:
    for axis, count in ((-2, height), (-1, width)):
        at = np.clip(_grid(x.shape[axis], count, mode), 0, x.shape[axis] - 1)
        first = np.floor(at).astype(np.intp)
        second = np.minimum(first + 1, x.shape[axis] - 1)
        fraction = (at - first).reshape([-1, 1] if axis == -2 else [-1])
        x = np.take(x, first, axis) * (1 - fraction) + np.take(x, second, axis) * fraction
    return x


def _scaled(x: Array, height: Any, width: Any) -> tuple[int, int]:
    down, across = np.float32(x.shape[-2]) * np.float32(height), np.float32(x.shape[-1]) * np.float32(width)
    return int(down), int(across)


def affine(x: Array, transform_matrix: Array, output_height: Any, output_width: Any, **options: Any) -> Array:
    """Interpolate images where the matrices map a grid from -1 to 1; 0 outside."""
    height, width = x.shape[2:]
    v, u = np.meshgrid(*(np.linspace(-1, 1, int(n)) for n in (output_height, output_width)), indexing="ij")
    result = np.zeros((*x.shape[:2], *u.shape))
    for image, (a, b, c, d, e, f) in enumerate(np.broadcast_to(transform_matrix, (len(x), 6))):
        row, column = (d * u + e * v + f + 1) / 2 * (height - 1), (a * u + b * v + c + 1) / 2 * (width - 1)
        for i in (np.floor(row), np.floor(row) + 1):
            for j in (np.floor(column), np.floor(column) + 1):
                inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
                share = np.where(inside, (1 - np.abs(row - i)) * (1 - np.abs(column - j)), 0)
                at = np.where(inside, i, 0).astype(np.intp), np.where(inside, j, 0).astype(np.intp)
                result[image] += x[image][(slice(None), *at)] * share
    return result


def upsample_nearest_neighbor(x: Array, scale_factor_height: Any, scale_factor_width: Any) -> Array:
    """Repeat the elements of the last two axes."""
    return _nearest(x, *_scaled(x, scale_factor_height, scale_factor_width))


def resize_nearest_neighbor(x: Array, target_size_height: Any, target_size_width: Any) -> Array:
    """Resize the last two axes by repeating or dropping elements."""
    return _nearest(x, int(target_size_height), int(target_size_width))


def upsample_bilinear(
    x: Array,
    scale_factor_height: Any,
    scale_factor_width: Any,
    align_corners: Any,
    half_pixel_centers: Any = None,
) -> Array:
    """Scale the last two axes by a factor with linear interpolation."""
    is_centered = half_pixel_centers is None or bool(half_pixel_centers)
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if is_centered else "DEFAULT"
    return _bilinear(x, *_scaled(x, scale_factor_height, scale_factor_width), mode)


def resize_bilinear(x: Array, target_size_height: Any, target_size_width: Any, sampling_mode: str) -> Array:
    """Resize the last two axes with linear interpolation."""
    return _bilinear(x, int(target_size_height), int(target_size_width), sampling_mode)


OPERATIONS: dict[str, Reference] = {
    "max_pool": Reference(max_pool, {"kernel_sizes": (3, 3), "pad_type": "same"}, exact=True),
    "avg_pool": Reference(avg_pool, {"kernel_sizes": (3, 3), "pad_type": "same"}),
    "l2_pool": Reference(l2_pool, {"kernel_sizes": (3, 3), "pad_type": "same"}),
    "affine": Reference(
        affine,
        {
            "transform_matrix": np.array([[0.75, -0.25, 0.125, 0.25, 0.5, 0.0]]),
            "output_height": 4,
            "output_width": 32,
        },
    ),
    "upsample_nearest_neighbor": Reference(
        upsample_nearest_neighbor, {"scale_factor_height": 2, "scale_factor_width": 2}, exact=True
    ),
    "resize_nearest_neighbor": Reference(
        resize_nearest_neighbor, {"target_size_height": 8, "target_size_width": 64}, exact=True
    ),
    "upsample_bilinear": Reference(upsample_bilinear, {"scale_factor_height": 2, "scale_factor_width": 2}),
    "resize_bilinear": Reference(resize_bilinear, {"target_size_height": 8, "target_size_width": 64}),
}
