# mypy: disable-error-code=empty-body
"""Move elements without computing: shapes, slices, joins, shuffles, sorting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .call import operation
from .graph import Operand, Tensor

__all__ = [
    "batch_to_space",
    "concat",
    "crop",
    "depth_to_space",
    "expand_dims",
    "flatten2d",
    "gather",
    "gather_along_axis",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "reshape",
    "reverse",
    "slice_by_index",
    "slice_by_size",
    "space_to_batch",
    "space_to_depth",
    "split",
    "squeeze",
    "stack",
    "tile",
    "topk",
    "transpose",
]


@operation
def reshape(x: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
    """Give the elements, in row-major order, another `shape`; one axis may be -1."""


@operation
def transpose(x: Tensor, perm: Sequence[int], *, name: str | None = None) -> Tensor:
    """Permute the axes: axis i of the result is axis perm[i] of x."""


@operation
def expand_dims(x: Tensor, axes: Sequence[int], *, name: str | None = None) -> Tensor:
    """Add an axis of size 1 at each of the result's `axes`."""


@operation
def squeeze(x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
    """Drop `axes`, which must have size 1, or by default every axis of size 1."""


@operation
def slice_by_size(x: Tensor, begin: Sequence[int], size: Sequence[int], *, name: str | None = None) -> Tensor:
    """Take `size` elements from `begin` on, for each axis; size -1 reaches to the end."""


@operation
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

    Where a mask is true, begin_mask and end_mask ignore the bound, and squeeze_mask takes the element at
    begin and drops the axis.
    """


@operation
def concat(
    values: Sequence[Operand], axis: int, interleave: bool = False, *, name: str | None = None
) -> Tensor:
    """Join tensors along `axis`; interleaved, they take turns with one index each."""


@operation
def split(x: Tensor, num_splits: int, axis: int, *, name: str | None = None) -> tuple[Tensor, ...]:
    """Cut x into `num_splits` equal parts along `axis`."""


@operation
def gather(
    x: Tensor, indices: Operand, axis: int = 0, batch_dims: int = 0, *, name: str | None = None
) -> Tensor:
    """Take elements along `axis`, whose place the axes of the constant `indices` take.

    Negative indices count from the end. The first `batch_dims` axes of x and indices go together. Computed
    indices run on the CPU.
    """


@operation
def gather_along_axis(x: Tensor, indices: Operand, axis: int = 0, *, name: str | None = None) -> Tensor:
    """Take the element of x that each of the constant `indices` names along `axis`, at its other places.

    indices is as large as x, but for `axis`; negative ones count from the end. The result is as large as
    indices.
    """


@operation
def stack(values: Sequence[Operand], axis: int, *, name: str | None = None) -> Tensor:
    """Join tensors of one shape along a new `axis`."""


@operation
def flatten2d(x: Tensor, axis: int = 1, *, name: str | None = None) -> Tensor:
    """Merge the axes before `axis` into one, and the others into a second."""


@operation
def reverse(x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
    """Reverse the order of the elements along `axes`, by default along every axis."""


@operation
def tile(x: Tensor, reps: Sequence[int], *, name: str | None = None) -> Tensor:
    """Repeat x reps[i] times along axis i. Reported to corrupt later evaluations on M3 Max: use concat."""


@operation
def pad(
    x: Tensor,
    pad: Sequence[int],
    mode: Literal["constant", "reflect", "replicate"] = "constant",
    constant_val: float = 0.0,
    *,
    name: str | None = None,
) -> Tensor:
    """Add elements around the last axes: `pad` is (before, after) for each of them, in order."""


@operation
def crop(
    x: Tensor, crop_height: Sequence[int], crop_width: Sequence[int], *, name: str | None = None
) -> Tensor:
    """Drop (top, bottom) and (left, right) elements of the last two axes."""


@operation
def depth_to_space(x: Tensor, block_size: int, *, name: str | None = None) -> Tensor:
    """Move channels to blocks: x [N, b b C, H, W] -> [N, C, b H, b W].

    The position in a block is the slowest part of the channels, as in TensorFlow.
    """


@operation
def space_to_depth(x: Tensor, block_size: int, *, name: str | None = None) -> Tensor:
    """Move blocks to channels: x [N, C, b H, b W] -> [N, b b C, H, W].

    The position in a block is the slowest part of the channels, as in TensorFlow.
    """


@operation
def pixel_shuffle(x: Tensor, upscale_factor: int, *, name: str | None = None) -> Tensor:
    """Move channels to blocks: x [N, C b b, H, W] -> [N, C, b H, b W].

    The position in a block is the fastest part of the channels, as in PyTorch.
    """


@operation
def pixel_unshuffle(x: Tensor, downscale_factor: int, *, name: str | None = None) -> Tensor:
    """Move blocks to channels: x [N, C, b H, b W] -> [N, C b b, H, W].

    The position in a block is the fastest part of the channels, as in PyTorch.
    """


@operation
def space_to_batch(
    x: Tensor, block_shape: Sequence[int], paddings: Sequence[Sequence[int]], *, name: str | None = None
) -> Tensor:
    """Pad x to [N, C, a H, b W] and move blocks to the batch: [a b N, C, H, W], for block_shape (a, b).

    `paddings` are ((top, bottom), (left, right)), filled with 0. The position in a block is the slowest part
    of the batch, as in TensorFlow.
    """


@operation
def batch_to_space(
    x: Tensor, block_shape: Sequence[int], crops: Sequence[Sequence[int]], *, name: str | None = None
) -> Tensor:
    """Move the batch to blocks: x [a b N, C, H, W] -> [N, C, a H, b W], for block_shape (a, b); then crop it.

    `crops` are ((top, bottom), (left, right)). The position in a block is the slowest part of the batch, as
    in TensorFlow.
    """


@operation
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    output_indices_dtype: Literal["int32", "uint16"] | None = None,
    *,
    name: str | None = None,
) -> tuple[Tensor, ...]:
    """Return the `k` largest elements along `axis`, or the smallest if ascending, and their indices.

    The first of equal elements comes first. Indices are int32 by default; those of uint16 can be cast to
    fp16. Engines before h14 (M2) do not have topk.
    """
