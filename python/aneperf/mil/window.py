# mypy: disable-error-code=empty-body
"""Look through windows: pooling, resizing, affine maps.

A pool takes x [N, C, L], [N, C, H, W] or [N, C, D, H, W]. `kernel_sizes` and `strides` have a number for each
axis behind C; strides are 1 by default. `pad` is (before, after) for each of these axes, as in (top, bottom,
left, right), and needs pad_type "custom". With `ceil_mode` the last window may reach past the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import operation
from .graph import Operand, Tensor
from .types import PadType

__all__ = [
    "affine",
    "avg_pool",
    "l2_pool",
    "max_pool",
    "resize_bilinear",
    "resize_nearest_neighbor",
    "upsample_bilinear",
    "upsample_nearest_neighbor",
]

SamplingMode = Literal[
    "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"
]


@operation
def max_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: PadType = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """Return the largest element of each window."""


@operation
def avg_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: PadType = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """Return the mean of each window.

    Padding counts as zeros unless it is excluded.
    """


@operation
def l2_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: PadType = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """Return the square root of each window's sum of squares."""


@operation
def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1, *, name: str | None = None
) -> Tensor:
    """Scale the last two axes by factors, of which H and W have whole multiples.

    Element i of n comes from element floor(i H / n) of H.
    """


@operation
def resize_nearest_neighbor(
    x: Tensor, target_size_height: int, target_size_width: int, *, name: str | None = None
) -> Tensor:
    """Resize the last two axes: element i of n comes from element floor(i H / n) of H."""


@operation
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    *,
    name: str | None = None,
) -> Tensor:
    """Scale the last two axes by a factor, rounded down, with linear interpolation.

    Either the corners are aligned, or the areas that the elements cover.
    """


@operation
def resize_bilinear(
    x: Tensor,
    target_size_height: int,
    target_size_width: int,
    sampling_mode: SamplingMode = "DEFAULT",
    *,
    name: str | None = None,
) -> Tensor:
    """Resize the last two axes with linear interpolation.

    On an axis of size H, element i of n is sampled at i H / n for DEFAULT, at i (H - 1) / (n - 1) for aligned
    corners, at (i + 1/2) max(1, H - 1) / n for OFFSET_CORNERS, and at (i + 1/2) H / n - 1/2 for
    UNALIGN_CORNERS. With aligned corners a single element is sampled at 0 if strict, else at (H - 1) / 2.
    """


@operation
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
    """Map images: x [N, C, H, W], transform_matrix [N or 1, 6] -> [N, C, output_height, output_width].

    With a matrix (a, b, c, d, e, f), position (x, y) of the result comes from (a x + b y + c, d x + e y + f),
    interpolated linearly, 0 outside. Coordinates run from -1 in the center of the first element to 1 in the
    center of the last. Each option has the one value that the engine takes.
    """
