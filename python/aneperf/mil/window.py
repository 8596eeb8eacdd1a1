"""Windows over height and width, the last two axes: pooling, resizing, affine maps.

A pool's `pad` is (top, bottom, left, right) and needs pad_type "custom". With `ceil_mode` the last window may
reach past it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import apply_one
from .graph import Operand, Tensor
from .types import PadType

SamplingMode = Literal[
    "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"
]


def max_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: PadType = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """The largest element of each window: x [N, C, H, W] -> [N, C, H', W']."""
    return _pool("max_pool", name, x, kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode)


def avg_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: PadType = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """The mean of each window: x [N, C, H, W] -> [N, C, H', W'].

    Padding counts as zeros unless it is excluded.
    """
    options = {"ceil_mode": ceil_mode, "exclude_padding_from_average": exclude_padding_from_average}
    return _pool("avg_pool", name, x, kernel_sizes, strides, pad_type, pad, **options)


def l2_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: PadType = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    *,
    name: str | None = None,
) -> Tensor:
    """The square root of each window's sum of squares: x [N, C, H, W] -> [N, C, H', W']."""
    return _pool("l2_pool", name, x, kernel_sizes, strides, pad_type, pad)


def _pool(
    op: str,
    name: str | None,
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int],
    pad_type: PadType,
    pad: Sequence[int],
    **options: bool,
) -> Tensor:
    window = {"kernel_sizes": kernel_sizes, "strides": strides, "pad_type": pad_type, "pad": pad}
    return apply_one(op, name, x=x, **window, **options)


def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1, *, name: str | None = None
) -> Tensor:
    """Repeat each element of the last two axes a whole number of times."""
    return apply_one(
        "upsample_nearest_neighbor",
        name,
        x=x,
        scale_factor_height=scale_factor_height,
        scale_factor_width=scale_factor_width,
    )


def resize_nearest_neighbor(
    x: Tensor, target_size_height: int, target_size_width: int, *, name: str | None = None
) -> Tensor:
    """The last two axes at another size: element i of n comes from floor(i H / n)."""
    return apply_one(
        "resize_nearest_neighbor",
        name,
        x=x,
        target_size_height=target_size_height,
        target_size_width=target_size_width,
    )


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    *,
    name: str | None = None,
) -> Tensor:
    """The last two axes times a factor, rounded down, interpolated linearly.

    Corners fall on corners, or, if not aligned, the elements' areas on each other.
    """
    return apply_one(
        "upsample_bilinear",
        name,
        x=x,
        scale_factor_height=scale_factor_height,
        scale_factor_width=scale_factor_width,
        align_corners=align_corners,
    )


def affine(
    x: Tensor,
    transform_matrix: Operand,
    output_height: int,
    output_width: int,
    sampling_mode: Literal["bilinear"] = "bilinear",
    padding_mode: Literal["constant"] = "constant",
    padding_value: float = 0.0,
    coordinates_mode: Literal["normalized_minus_one_to_one"] = "normalized_minus_one_to_one",
    align_corners: Literal[True] = True,
    *,
    name: str | None = None,
) -> Tensor:
    """Images mapped: x [N, C, H, W], transform_matrix [N or 1, 6] -> [N, C, output_height, output_width].

    Of a matrix (a, b, c, d, e, f), place (x, y) of the result comes from (a x + b y + c, d x + e y + f),
    interpolated linearly, 0 outside. Both count from -1 in the middle of the first element to 1 in that of
    the last. The options have one value each that the engine takes.
    """
    return apply_one(
        "affine",
        name,
        x=x,
        transform_matrix=transform_matrix,
        output_height=output_height,
        output_width=output_width,
        sampling_mode=sampling_mode,
        padding_mode=padding_mode,
        padding_value=padding_value,
        coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )


def resize_bilinear(
    x: Tensor,
    target_size_height: int,
    target_size_width: int,
    sampling_mode: SamplingMode = "DEFAULT",
    *,
    name: str | None = None,
) -> Tensor:
    """The last two axes at another size, interpolated linearly.

    Of an axis of size H, element i of n is sampled at i (H - 1) / (n - 1) if corners are aligned,
    i H / n by DEFAULT, (i + 1/2) max(1, H - 1) / n for OFFSET_CORNERS, (i + 1/2) H / n - 1/2 for
    UNALIGN_CORNERS. A single element of aligned corners comes from 0 if strict, else from (H - 1) / 2.
    """
    return apply_one(
        "resize_bilinear",
        name,
        x=x,
        target_size_height=target_size_height,
        target_size_width=target_size_width,
        sampling_mode=sampling_mode,
    )
