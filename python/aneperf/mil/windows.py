"""Windows over height and width, the last two axes: pooling, resizing.

A pool's `pad` is (top, bottom, left, right) and needs pad_type "custom". With `ceil_mode` the last window may
reach past it.

"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .apply import apply_one
from .graph import Tensor


def max_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: Literal["valid", "custom", "same"] = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """The largest element of each window: x [N, C, H, W] -> [N, C, H', W']."""
    return apply_one(
        "max_pool",
        name,
        x=x,
        kernel_sizes=kernel_sizes,
        strides=strides,
        pad_type=pad_type,
        pad=pad,
        ceil_mode=ceil_mode,
    )


def avg_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: Literal["valid", "custom", "same"] = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
    *,
    name: str | None = None,
) -> Tensor:
    """The mean of each window: x [N, C, H, W] -> [N, C, H', W'].

    Padding counts as zeros unless it is excluded.
    """
    return apply_one(
        "avg_pool",
        name,
        x=x,
        kernel_sizes=kernel_sizes,
        strides=strides,
        pad_type=pad_type,
        pad=pad,
        ceil_mode=ceil_mode,
        exclude_padding_from_average=exclude_padding_from_average,
    )


def l2_pool(
    x: Tensor,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pad_type: Literal["valid", "custom", "same"] = "valid",
    pad: Sequence[int] = (0, 0, 0, 0),
    *,
    name: str | None = None,
) -> Tensor:
    """The square root of each window's sum of squares: x [N, C, H, W] -> [N, C, H', W']."""
    return apply_one(
        "l2_pool",
        name,
        x=x,
        kernel_sizes=kernel_sizes,
        strides=strides,
        pad_type=pad_type,
        pad=pad,
    )
