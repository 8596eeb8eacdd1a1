"""Operations that move elements: shapes, slices, parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import apply, apply_one
from .graph import Operand, Tensor


def reshape(x: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
    """The same elements, row by row, as `shape`; one axis may be -1."""
    return apply_one("reshape", name, x=x, shape=shape)


def transpose(x: Tensor, perm: Sequence[int], *, name: str | None = None) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return apply_one("transpose", name, x=x, perm=perm)


def expand_dims(x: Tensor, axes: Sequence[int], *, name: str | None = None) -> Tensor:
    """Add an axis of size 1 at each of the result's `axes`."""
    return apply_one("expand_dims", name, x=x, axes=axes)


def squeeze(x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
    """Drop `axes`, which must have size 1; every such axis if none is named."""
    return apply_one("squeeze", name, x=x, axes=axes)


def slice_by_size(x: Tensor, begin: Sequence[int], size: Sequence[int], *, name: str | None = None) -> Tensor:
    """Take `size` elements from `begin` on, for each axis; size -1 reaches to the end."""
    return apply_one("slice_by_size", name, x=x, begin=begin, size=size)


def slice_by_index(
    x: Tensor,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Slice each axis as begin:end:stride.

    Where a mask is true, begin_mask and end_mask ignore the bound; squeeze_mask takes begin alone and drops
    the axis.
    """
    return apply_one(
        "slice_by_index",
        name,
        x=x,
        begin=begin,
        end=end,
        stride=stride,
        begin_mask=begin_mask,
        end_mask=end_mask,
        squeeze_mask=squeeze_mask,
    )


def concat(
    values: Sequence[Operand], axis: int, interleave: bool = False, *, name: str | None = None
) -> Tensor:
    """Tensors joined along `axis`; interleaved, they take turns, one index each."""
    return apply_one("concat", name, values=values, axis=axis, interleave=interleave)


def split(x: Tensor, num_splits: int, axis: int, *, name: str | None = None) -> tuple[Tensor, ...]:
    """Cut x into `num_splits` equal parts along `axis`."""
    return apply("split", name, x=x, num_splits=num_splits, axis=axis)


def stack(values: Sequence[Operand], axis: int, *, name: str | None = None) -> Tensor:
    """Tensors of one shape joined along a new `axis`."""
    return apply_one("stack", name, values=values, axis=axis)


def flatten2d(x: Tensor, axis: int = 1, *, name: str | None = None) -> Tensor:
    """The axes before `axis` as one, and those from it on as another."""
    return apply_one("flatten2d", name, x=x, axis=axis)


def reverse(x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
    """The elements in opposite order along `axes`; along every axis if none is named."""
    return apply_one("reverse", name, x=x, axes=axes)


def tile(x: Tensor, reps: Sequence[int], *, name: str | None = None) -> Tensor:
    """Repeat x reps[i] times along axis i. Reported to corrupt later evaluations on M3 Max: use concat."""
    return apply_one("tile", name, x=x, reps=reps)


def pad(
    x: Tensor,
    pad: Sequence[int],
    mode: Literal["constant", "reflect", "replicate"] = "constant",
    constant_val: float = 0.0,
    *,
    name: str | None = None,
) -> Tensor:
    """Elements around the last axes: `pad` is (before, after) for each of them, in order."""
    return apply_one("pad", name, x=x, pad=pad, mode=mode, constant_val=constant_val)


def crop(
    x: Tensor, crop_height: Sequence[int], crop_width: Sequence[int], *, name: str | None = None
) -> Tensor:
    """Drop (top, bottom) and (left, right) elements of the last two axes."""
    return apply_one("crop", name, x=x, crop_height=crop_height, crop_width=crop_width)


def depth_to_space(x: Tensor, block_size: int, *, name: str | None = None) -> Tensor:
    """Channels to blocks: x [N, b b C, H, W] -> [N, C, b H, b W].

    The place in a block is the channels' slowest part, as in TensorFlow.
    """
    return apply_one("depth_to_space", name, x=x, block_size=block_size)


def space_to_depth(x: Tensor, block_size: int, *, name: str | None = None) -> Tensor:
    """Blocks to channels: x [N, C, b H, b W] -> [N, b b C, H, W].

    The place in a block is the channels' slowest part, as in TensorFlow.
    """
    return apply_one("space_to_depth", name, x=x, block_size=block_size)


def pixel_shuffle(x: Tensor, upscale_factor: int, *, name: str | None = None) -> Tensor:
    """Channels to blocks: x [N, C b b, H, W] -> [N, C, b H, b W].

    The place in a block is the channels' fastest part, as in PyTorch.
    """
    return apply_one("pixel_shuffle", name, x=x, upscale_factor=upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int, *, name: str | None = None) -> Tensor:
    """Blocks to channels: x [N, C, b H, b W] -> [N, C b b, H, W].

    The place in a block is the channels' fastest part, as in PyTorch.
    """
    return apply_one("pixel_unshuffle", name, x=x, downscale_factor=downscale_factor)


def space_to_batch(
    x: Tensor, block_shape: Sequence[int], paddings: Sequence[Sequence[int]], *, name: str | None = None
) -> Tensor:
    """Blocks to batch: x [N, C, a H, b W] once padded -> [a b N, C, H, W], for block_shape (a, b).

    `paddings` are ((top, bottom), (left, right)), filled with 0. The place in a block is the batch's slowest
    part, as in TensorFlow.
    """
    return apply_one("space_to_batch", name, x=x, block_shape=block_shape, paddings=paddings)


def batch_to_space(
    x: Tensor, block_shape: Sequence[int], crops: Sequence[Sequence[int]], *, name: str | None = None
) -> Tensor:
    """Batch to blocks: x [a b N, C, H, W] -> [N, C, a H, b W], then cropped, for block_shape (a, b).

    `crops` are ((top, bottom), (left, right)). The place in a block is the batch's slowest part, as in
    TensorFlow.
    """
    return apply_one("batch_to_space", name, x=x, block_shape=block_shape, crops=crops)


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    output_indices_dtype: Literal["int32", "uint16"] | None = None,
    *,
    name: str | None = None,
) -> tuple[Tensor, ...]:
    """The `k` largest elements along `axis`, or smallest if ascending, and their indices.

    Of equal elements the first comes first. Indices are int32 unless asked to be uint16, which can be
    cast to fp16. Engines before h14 (M2) have no topk.
    """
    return apply(
        "topk", name, x=x, k=k, axis=axis, ascending=ascending, output_indices_dtype=output_indices_dtype
    )
